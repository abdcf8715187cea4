"""Images travel as uint8 inside a Trainer and are divided on the device; everybody sees the same floats."""

import pickle
import warnings
from types import SimpleNamespace

import lightning as L
import numpy as np
import pytest
import torch
from lightning.pytorch.core.hooks import DataHooks
from PIL import Image
from torch.utils.data import DataLoader
from torchvision.transforms import v2

from neuroalign import GuidanceDataModule, Responses, ResponsesDataModule
from neuroalign.data import collate
from neuroalign.data.datamodules.joined import JoinedResponses
from neuroalign.data.image_files import read_image
from neuroalign.data.images import ArrayDataset, LabelledDataset, ShiftFlip, class_folders, stored, to_pixels

BYTES = torch.randint(0, 256, (20, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
LABELS = np.arange(20) % 4


class Seen(L.LightningModule):
    """Keeps the images of its hooks by name, and what was moved to the device."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.images = {}

    def training_step(self, batch, batch_idx):
        self.images.setdefault("train", []).append(batch)
        return self.weight * batch["image"].sum()

    def validation_step(self, batch, batch_idx):
        self.images.setdefault("val", []).append(batch)

    def predict_step(self, batch, batch_idx):
        return batch["image"]

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


@pytest.fixture
def moved(monkeypatch):
    """The types of the images that Lightning moved to the device."""
    kinds, move = [], DataHooks.transfer_batch_to_device

    def transfer_batch_to_device(self, batch, device, dataloader_idx):
        kinds.append(batch["image"].dtype)
        return move(self, batch, device, dataloader_idx)

    monkeypatch.setattr(DataHooks, "transfer_batch_to_device", transfer_batch_to_device)
    return kinds


def trainer(tmp_path, **kwargs):
    return L.Trainer(
        accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False, max_epochs=1,
        enable_model_summary=False, default_root_dir=tmp_path, **kwargs,
    )  # fmt: skip


def data(images=BYTES, cls=GuidanceDataModule, **kwargs):
    return cls((images, LABELS), val=(images, LABELS), batch_size=5, **kwargs)


def test_every_byte_becomes_the_same_float():
    every = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(to_pixels(every), every.float() / 255)
    floats = torch.rand(3)
    assert to_pixels(floats) is floats


def test_only_whoever_asks_gets_bytes():
    plain = ArrayDataset(BYTES, label=torch.arange(20))
    raw = stored(plain)
    assert torch.equal(raw.__getitems__([3, 1])["image"], BYTES[[3, 1]])
    assert torch.equal(raw.__getitems__([3, 1])["label"], torch.tensor([3, 1]))
    assert torch.equal(pickle.loads(pickle.dumps(raw))[4]["image"], BYTES[4])
    assert torch.equal(plain.__getitems__([3, 1])["image"], BYTES[[3, 1]].float() / 255)
    assert torch.equal(stored(ArrayDataset(BYTES, image_size=8))[2]["image"], BYTES[2])
    resized = ArrayDataset(BYTES, image_size=4)
    assert torch.equal(stored(resized)[2]["image"], resized[2]["image"])
    assert torch.equal(stored(ArrayDataset(BYTES / 255))[2]["image"], BYTES[2] / 255)


def test_a_dataset_that_makes_its_own_batches_is_left_alone():
    class Inverted(ArrayDataset):
        def __getitems__(self, indices):
            batch = super().__getitems__(indices)
            return {**batch, "image": 1 - batch["image"]}

    own = Inverted(BYTES)
    assert stored(own) is own
    assert stored([1, 2]) == [1, 2]


def test_several_subjects_share_the_way():
    parts = [Responses.from_arrays(np.ones((3, 2)), stimulus=rows) for rows in ([0, 3, 4], [3, 5, 6])]
    images = BYTES.permute(0, 2, 3, 1).contiguous().numpy()
    joined = JoinedResponses(images, parts, None)
    raw, plain = stored(joined).__getitems__([1, 2]), joined.__getitems__([1, 2])
    assert raw["image"].dtype == torch.uint8
    assert torch.equal(to_pixels(raw["image"]), plain["image"])
    torch.testing.assert_close(raw["response"], plain["response"], equal_nan=True)
    assert raw["response"].shape == (2, 4)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_trainer_moves_bytes_and_hooks_see_floats(tmp_path, moved, workers):
    module, module_data = Seen(), data(num_workers=workers)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*pin.*memory")
        trainer(tmp_path).fit(module, module_data)
    assert set(moved) == {torch.uint8}
    for batches in module.images.values():
        for batch in batches:
            assert torch.equal(batch["image"], BYTES[batch["stimulus"]].float() / 255)
    predicted = torch.cat(trainer(tmp_path).predict(module, module_data))
    assert torch.equal(predicted, BYTES.float() / 255)


def test_floats_stay_floats(tmp_path, moved):
    module = Seen()
    trainer(tmp_path).fit(module, data(BYTES.float() / 255))
    assert set(moved) == {torch.float32}
    batch = module.images["train"][0]
    assert torch.equal(batch["image"], BYTES[batch["stimulus"]].float() / 255)


def test_after_and_during_a_run_others_see_floats(tmp_path):
    found = {}

    class Looking(L.Callback):
        def on_train_batch_end(self, trainer, *_):
            found["during"] = next(iter(trainer.datamodule.val_dataloader()))["image"]

    module_data = data()
    run = trainer(tmp_path, callbacks=[Looking()])
    run.fit(Seen(), module_data)
    assert run.train_dataloader.dataset.as_stored
    found["after"] = next(iter(module_data.val_dataloader()))["image"]
    found["before"] = next(iter(data().train_dataloader()))["image"]
    for name, images in found.items():
        assert images.dtype == torch.float32, name
        assert images.min() >= 0 and images.max() <= 1


def test_a_run_with_other_data_gets_floats(tmp_path):
    """Whoever transfers the batches of another DataModule doesn't divide ours."""
    ours, found = data(), {}

    class Joined(L.LightningDataModule):
        def train_dataloader(self):
            loader = ours.train_dataloader()
            found["image"] = next(iter(loader))["image"]
            return loader

        def val_dataloader(self):
            return ours.val_dataloader()

    run = trainer(tmp_path)
    run.fit(Seen(), ours)
    assert ours.trainer is run
    run.fit(Seen(), Joined())
    assert found["image"].is_floating_point()


class OwnTransfer(Seen):
    def transfer_batch_to_device(self, batch, device, dataloader_idx):
        return super().transfer_batch_to_device(batch, device, dataloader_idx)


class OwnBefore(GuidanceDataModule):
    def on_before_batch_transfer(self, batch, dataloader_idx):
        assert batch["image"].is_floating_point()
        return batch


class OwnAfter(GuidanceDataModule):
    def on_after_batch_transfer(self, batch, dataloader_idx):
        assert batch["image"].is_floating_point()
        return {**batch, "image": batch["image"] + 1}


@pytest.mark.filterwarnings("ignore:You have overridden `transfer_batch_to_device` in `LightningModule`")
@pytest.mark.parametrize(("cls", "module"), [(OwnBefore, Seen), (OwnAfter, Seen), (GuidanceDataModule, OwnTransfer)])
def test_own_transfers_see_floats(tmp_path, cls, module):
    seen = module()
    trainer(tmp_path).fit(seen, data(cls=cls))
    batch = seen.images["train"][0]
    torch.testing.assert_close(batch["image"] - float(cls is OwnAfter), BYTES[batch["stimulus"]].float() / 255)


def test_augmentation_sees_floats_and_draws_the_same(tmp_path):
    kinds = []

    class Noting(ShiftFlip):
        def forward(self, images):
            kinds.append(images.dtype)
            return super().forward(images)

    seen = [Seen(), Seen()]
    for module, images in zip(seen, (BYTES, BYTES.float() / 255)):
        trainer(tmp_path).fit(module, data(images, augment=Noting(2)))
    assert set(kinds) == {torch.float32}
    for a, b in zip(*(module.images["train"] for module in seen), strict=True):
        assert torch.equal(a["image"], b["image"])


def test_responses_data_module(tmp_path, moved):
    module_data = ResponsesDataModule(BYTES, np.random.default_rng(0).standard_normal((20, 2)), batch_size=6)
    module = Seen()
    trainer(tmp_path).fit(module, module_data)
    assert set(moved) == {torch.uint8}
    batch = module.images["train"][0]
    assert torch.equal(batch["image"], BYTES[batch["stimulus"]].float() / 255)


def test_folders_hold_bytes(tmp_path):
    (tmp_path / "cat").mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (30, 41, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "cat" / "a.png")
    folder = class_folders(tmp_path, 16)
    steps = [v2.ToImage(), v2.Resize(16, antialias=True), v2.CenterCrop(16), v2.ToDtype(torch.float32, scale=True)]
    expected = v2.Compose(steps)(read_image(tmp_path / "cat" / "a.png"))
    images = folder[0]["image"]
    assert stored(folder)[0]["image"].dtype == torch.uint8
    assert torch.equal(to_pixels(stored(folder)[0]["image"]), images)
    torch.testing.assert_close(images, torch.Tensor(expected), rtol=2e-7, atol=0)  # torchvision multiplies by 1 / 255
    loader = DataLoader(LabelledDataset(folder.dataset), batch_size=1, collate_fn=collate)
    assert torch.equal(next(iter(loader))["image"][0], images)


@pytest.mark.parametrize("kind", ["cpu", "mps", "cuda", "xpu"])
def test_memory_is_pinned_for_a_gpu_alone(kind):
    module_data = data()
    asking = SimpleNamespace(
        state=SimpleNamespace(status="running", fn="fit"), strategy=SimpleNamespace(root_device=torch.device(kind)),
        lightning_module=Seen(), world_size=1, global_rank=0, datamodule=module_data,
    )  # fmt: skip
    module_data.trainer = asking
    for loader in (module_data.train_dataloader(), module_data.val_dataloader()):
        assert loader.pin_memory == (kind in ("cuda", "xpu"))
    asking.state.status = "finished"
    assert not module_data.val_dataloader().pin_memory
