"""Checkpoints of compiled networks load into plain ones and the other way round; versions of modules survive."""

from collections import OrderedDict

import pytest
import torch
from torch import nn

from neuroalign import (
    GuidanceDataModule,
    GuidedClassificationTask,
    GuidedNetwork,
    NeuralPredictionTask,
    NeuralPredictor,
    PredictedGuidance,
    ResponsesDataModule,
)
from neuroalign.tasks.state_dicts import as_in, renamed, uncompiled

SHAPE, V = (3, 8, 8), 5


def compiled(module):
    torch.compiler.reset()
    return torch.compile(module, backend="eager")


def task(wrapped):
    torch.manual_seed(0)
    network = GuidedNetwork("small_resnet", 10, {"V4": (None, V)}, image_shape=SHAPE)
    predictor = NeuralPredictor("small_resnet", V, image_shape=SHAPE)
    made = GuidedClassificationTask(network, PredictedGuidance({"V4": predictor}), 0.5, lr=0.01)
    if wrapped:
        made.network = compiled(made.network)
        made.guidance.predictors["V4"].module = compiled(made.guidance.predictors["V4"].module)
    return made


def data(digits):
    images, labels = digits
    return GuidanceDataModule((images[:40], labels[:40]), batch_size=20)


@pytest.mark.slow
@pytest.mark.parametrize("saved", [False, True], ids=["plain", "compiled"])
@pytest.mark.parametrize("loaded", [False, True], ids=["into plain", "into compiled"])
def test_weights_go_from_compiled_networks_to_plain_ones_and_back(digits, quiet_trainer, tmp_path, saved, loaded):
    first = task(saved)
    trainer = quiet_trainer(limit_val_batches=0)
    trainer.fit(first, data(digits))
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    names = torch.load(tmp_path / "a.ckpt", weights_only=True)["state_dict"]
    assert not any("_orig_mod" in name for name in names)
    images = digits[0][:10]
    again = GuidedClassificationTask.load_from_checkpoint(tmp_path / "a.ckpt")
    assert torch.equal(again.eval()(images), first.eval()(images))
    straight, resumed = task(saved), task(loaded)
    for module, path in ((straight, None), (resumed, tmp_path / "a.ckpt")):
        quiet_trainer(max_epochs=2, limit_val_batches=0).fit(module, data(digits), ckpt_path=path)
    for a, b in zip(straight.state_dict().values(), resumed.state_dict().values()):
        assert torch.equal(a, b)


@pytest.mark.slow
def test_a_file_that_holds_compiled_names_loads(digits, tmp_path, quiet_trainer):
    """As earlier versions, and other programs, wrote them."""
    first = task(True)
    trainer = quiet_trainer(limit_val_batches=0)
    trainer.fit(first, data(digits))
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    file = torch.load(tmp_path / "a.ckpt", weights_only=True)
    file["state_dict"] = first.state_dict()
    assert any("_orig_mod" in name for name in file["state_dict"])
    torch.save(file, tmp_path / "b.ckpt")
    again = GuidedClassificationTask.load_from_checkpoint(tmp_path / "b.ckpt")
    assert torch.equal(again.eval()(digits[0][:10]), first.eval()(digits[0][:10]))


def test_a_network_that_was_compiled_before(digits, quiet_trainer, tmp_path):
    torch.manual_seed(0)
    network = compiled(GuidedNetwork("small_resnet", 10, {"V4": (None, V)}, image_shape=SHAPE))
    predictor = NeuralPredictor("small_resnet", V, image_shape=SHAPE)
    first = GuidedClassificationTask(network, PredictedGuidance({"V4": predictor}), 0.5, lr=0.01)
    trainer = quiet_trainer(limit_val_batches=0)
    trainer.fit(first, data(digits))
    assert "alignment/features/V4/mse" in trainer.callback_metrics
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    again = GuidedClassificationTask.load_from_checkpoint(tmp_path / "a.ckpt")
    assert torch.equal(again.eval()(digits[0][:10]), first.eval()(digits[0][:10]))


def test_a_compiled_predictor_guides_by_its_checkpoint(quiet_trainer, tmp_path):
    first = NeuralPredictionTask(NeuralPredictor("small_resnet", V, image_shape=SHAPE))
    first.predictor = compiled(first.predictor)
    trainer = quiet_trainer()
    trainer.fit(first, ResponsesDataModule(torch.rand(40, *SHAPE), torch.randn(40, V), batch_size=20))
    trainer.save_checkpoint(tmp_path / "p.ckpt")
    images = torch.rand(4, *SHAPE)
    guidance = PredictedGuidance({"V4": tmp_path / "p.ckpt"})
    torch.testing.assert_close(guidance.targets({"image": images})["V4"], first.eval()(images))


class Versioned(nn.Linear):
    """Loads what it wrote itself, and tells by its version."""

    _version = 3

    def _load_from_state_dict(self, state_dict, prefix, local_metadata, *args):
        if local_metadata.get("version") != 3:
            raise ValueError(f"version should be 3 instead of {local_metadata.get('version')}")
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *args)


@pytest.mark.parametrize("wrapped", [False, True], ids=["plain", "compiled"])
def test_modules_find_their_version(digits, quiet_trainer, tmp_path, wrapped):
    def make():
        network = GuidedNetwork(nn.Sequential(nn.Flatten(), Versioned(192, 8)), 10, image_shape=SHAPE)
        made = GuidedClassificationTask(network, lr=0.01)
        if wrapped:
            made.network = compiled(made.network)
        return made

    trainer = quiet_trainer(limit_val_batches=0)
    first, resumed = make(), make()
    trainer.fit(first, data(digits))
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    again = quiet_trainer(max_epochs=2, limit_val_batches=0)
    again.fit(resumed, data(digits), ckpt_path=tmp_path / "a.ckpt")
    assert again.current_epoch == 2 and again.global_step == 2 * trainer.global_step
    loaded = GuidedClassificationTask.load_from_checkpoint(tmp_path / "a.ckpt", network=make().network)
    assert all(
        torch.equal(*pair) for pair in zip(loaded.state_dict().values(), first.state_dict().values(), strict=True)
    )


@pytest.mark.filterwarnings("ignore")
def test_mnasnet(quiet_trainer, tmp_path):
    """torchvision's, which reads its version."""
    first = GuidedClassificationTask(GuidedNetwork("mnasnet0_5", 10, image_shape=(3, 32, 32)))
    trainer = quiet_trainer()
    trainer.strategy.connect(first)
    trainer.save_checkpoint(tmp_path / "m.ckpt")
    again = GuidedClassificationTask.load_from_checkpoint(tmp_path / "m.ckpt")
    images = torch.rand(2, 3, 32, 32)
    assert torch.equal(again.eval()(images), first.eval()(images))


def test_renaming_is_of_names_alone():
    network = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    state, wrapped = network.state_dict(), compiled(network).state_dict()
    back = renamed(wrapped, uncompiled)
    assert list(back) == list(state) and back._metadata == state._metadata | {"": back._metadata[""]}
    there = as_in(state, wrapped)
    assert list(there) == list(wrapped)
    assert all(there._metadata[key] == value for key, value in wrapped._metadata.items() if key in there._metadata)
    assert as_in(OrderedDict(a=1), wrapped) == {"a": 1}


def test_a_file_of_weights_alone_says_what_it_lacks(tmp_path):
    torch.save({"state_dict": {}}, tmp_path / "a.ckpt")
    with pytest.raises(ValueError, match=r"a\.ckpt is no checkpoint .*it lacks '.*'; weights alone are not enough"):
        GuidedClassificationTask.load_from_checkpoint(tmp_path / "a.ckpt")


def test_a_version_that_is_none_is_told_by_the_files_name(digits, quiet_trainer, tmp_path):
    trainer = quiet_trainer(limit_val_batches=0)
    network = GuidedNetwork("small_resnet", 10, image_shape=SHAPE)
    trainer.fit(GuidedClassificationTask(network, lr=0.01), data(digits))
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    content = torch.load(tmp_path / "a.ckpt", weights_only=True)
    torch.save({**content, "pytorch-lightning_version": "x" * 100_000}, tmp_path / "a.ckpt")
    with pytest.raises(ValueError, match=r"a\.ckpt: ") as refused:
        GuidedClassificationTask.load_from_checkpoint(tmp_path / "a.ckpt")
    assert len(str(refused.value)) < 1000
