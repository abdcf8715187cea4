"""Predictions are written in the order of the data, by one process or two, whole or not at all."""

import h5py
import lightning as L
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset

from neuroalign import GuidedClassificationTask, GuidedNetwork, NeuralPredictionTask, NeuralPredictor, Responses
from neuroalign.callbacks import PredictionWriter
from neuroalign.data import GuidanceDataModule, ResponsesDataModule
from tests.distributed import run_on_ranks


def predict(task, data, path, **options):
    writer = PredictionWriter(path)
    trainer = L.Trainer(accelerator="cpu", logger=False, callbacks=[writer], enable_progress_bar=False, **options)
    loaders = {"datamodule": data} if isinstance(data, L.LightningDataModule) else {"dataloaders": data}
    returned = trainer.predict(task, **loaders)
    return writer, returned


@pytest.fixture
def predictor():
    torch.manual_seed(0)
    return NeuralPredictionTask(NeuralPredictor("small_resnet", 5, image_shape=(3, 8, 8)))


@pytest.fixture
def classifier():
    torch.manual_seed(0)
    return GuidedClassificationTask(GuidedNetwork("small_resnet", 4, image_shape=(3, 8, 8)))


def test_responses_are_a_file_of_responses(tmp_path, predictor):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (40, 8, 8, 3), dtype=np.uint8)
    stimulus = rng.permutation(40)[:30]
    recorded = Responses.from_arrays(
        rng.normal(size=(30, 5)),
        stimulus=stimulus,
        roi=["V1", "V1", "V4", "V4", "V4"],
        voxel_index=np.arange(15).reshape(5, 3),
    )
    data = ResponsesDataModule(images, recorded, val=np.arange(12), batch_size=5)
    writer, returned = predict(predictor, data, tmp_path / "p.h5")
    assert writer.written == [tmp_path / "p.h5"]
    found = Responses.load(tmp_path / "p.h5")
    assert found.stimulus.tolist() == data.val_responses.stimulus.tolist()
    np.testing.assert_array_equal(found.values, torch.cat(returned).numpy())
    assert found.roi.tolist() == recorded.roi.tolist() and found.info["content"] == "predicted responses"
    assert found.voxel_index.tolist() == recorded.voxel_index.tolist()
    assert found.noise_ceiling is None


def test_logits(tmp_path, classifier):
    images, labels = np.random.default_rng(0).random((11, 3, 8, 8), dtype=np.float32), np.arange(11) % 4
    data = GuidanceDataModule((images, labels), (images, labels), batch_size=4)
    _, returned = predict(classifier, data, tmp_path / "p.h5")
    with h5py.File(tmp_path / "p.h5") as file:
        logits = torch.cat(returned).numpy()
        np.testing.assert_array_equal(file["logits"][:], logits)
        assert file["class"][:].tolist() == logits.argmax(1).tolist()
        assert file["label"][:].tolist() == labels.tolist()
        assert file["stimulus"][:].tolist() == list(range(11))


@pytest.mark.filterwarnings("ignore:.*sampler has shuffling enabled")
def test_a_shuffled_loader_and_pairs(tmp_path, classifier):
    """Rows are those of the data set, whatever the order in which a loader takes them."""
    images, labels = torch.rand(9, 3, 8, 8), torch.arange(9) % 4
    pairs = torch.utils.data.TensorDataset(images, labels)
    loader = DataLoader(pairs, batch_size=4, shuffle=True)
    predict(classifier, loader, tmp_path / "p.h5")
    with h5py.File(tmp_path / "p.h5") as file:
        assert file["stimulus"][:].tolist() == list(range(9)) and file["label"][:].tolist() == labels.tolist()
        with torch.no_grad():
            torch.testing.assert_close(torch.from_numpy(file["logits"][:]), classifier.eval()(images))


def test_several_loaders_have_a_file_each(tmp_path, classifier):
    loaders = [DataLoader(torch.rand(n, 3, 8, 8), batch_size=2) for n in (3, 4)]
    writer, _ = predict(classifier, loaders, tmp_path / "p.h5")
    assert [path.name for path in writer.written] == ["p.h5", "p-1.h5"]
    with h5py.File(tmp_path / "p-1.h5") as file:
        assert file["logits"].shape == (4, 4) and "label" not in file


def test_the_default_place(tmp_path, classifier):
    writer, _ = predict(classifier, DataLoader(torch.rand(3, 3, 8, 8)), None, default_root_dir=tmp_path)
    assert writer.written == [tmp_path / "predictions.h5"] and writer.written[0].exists()


def test_what_is_no_tensor_is_refused(tmp_path, classifier):
    classifier.predict_step = lambda batch, batch_idx: {"logits": batch}
    with pytest.raises(TypeError, match="GuidedClassificationTask returned dict"):
        predict(classifier, DataLoader(torch.rand(3, 3, 8, 8)), tmp_path / "p.h5")
    assert not list(tmp_path.iterdir())


class _Stream(IterableDataset):
    def __iter__(self):
        return iter(torch.rand(4, 3, 8, 8))


def _on_rank(rank, world, folder, streamed):
    torch.manual_seed(0)
    task = GuidedClassificationTask(GuidedNetwork("small_resnet", 4, image_shape=(3, 8, 8)))
    images = torch.rand(7, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    loader = DataLoader(_Stream() if streamed else images, batch_size=2)
    writer = PredictionWriter(f"{folder}/p.h5")
    strategy = L.pytorch.strategies.DDPStrategy(cluster_environment=_Ready(rank, world), process_group_backend="gloo")
    trainer = L.Trainer(accelerator="cpu", devices=world, strategy=strategy, logger=False, callbacks=[writer],
                        enable_progress_bar=False, barebones=False)  # fmt: skip
    try:
        trainer.predict(task, loader, return_predictions=False)
    except ValueError as error:
        return str(error)
    return [len(writer.written)]


class _Ready(L.fabric.plugins.environments.LightningEnvironment):
    """Processes that were started already."""

    def __init__(self, rank, world):
        super().__init__()
        self._rank, self._world = rank, world

    creates_processes_externally = True

    def world_size(self):
        return self._world

    def global_rank(self):
        return self._rank

    def local_rank(self):
        return self._rank

    def node_rank(self):
        return 0

    def set_world_size(self, size):
        pass

    def set_global_rank(self, rank):
        pass


@pytest.mark.slow
def test_two_processes_write_one_file(tmp_path):
    assert run_on_ranks(_on_rank, 2, str(tmp_path), False) == [[1], [1]]
    torch.manual_seed(0)
    task = GuidedClassificationTask(GuidedNetwork("small_resnet", 4, image_shape=(3, 8, 8))).eval()
    images = torch.rand(7, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    with h5py.File(tmp_path / "p.h5") as file:
        assert file["stimulus"][:].tolist() == list(range(7))
        with torch.no_grad():
            torch.testing.assert_close(torch.from_numpy(file["logits"][:]), task(images))


@pytest.mark.slow
def test_two_processes_need_rows(tmp_path):
    said = run_on_ranks(_on_rank, 2, str(tmp_path), True)
    assert "predict in one process" in said[0]
    assert not list(tmp_path.iterdir())
