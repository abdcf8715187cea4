import lightning as L
import pytest
import torch

from neuroalign.guidance import PredictedGuidance
from neuroalign.models import GuidedNetwork, NeuralPredictor, RidgePredictor, VisualFeatures
from neuroalign.models.network_files import load_module, save_module
from neuroalign.tasks import GuidedClassificationTask

SHAPE = (3, 8, 8)


def predictor():
    return NeuralPredictor("small_resnet", 5, layer="layer3", size=2, image_shape=SHAPE)


@pytest.mark.parametrize(
    "module",
    [
        GuidedNetwork("small_resnet", 4, {"brain": ("layer2", 6)}, image_shape=SHAPE),
        predictor(),
        RidgePredictor(VisualFeatures(8, wavelengths=(4,), grid=2), 5).fit(torch.rand(20, 3, 8, 8), torch.randn(20, 5)),
    ],
    ids=["network", "predictor", "ridge"],
)
def test_a_described_module_comes_back_from_its_file(module, tmp_path):
    images = torch.rand(3, *SHAPE)
    save_module(module.eval(), tmp_path / "module.safetensors")
    read = load_module(tmp_path / "module.safetensors", "network").eval()
    assert type(read) is type(module)
    assert torch.equal(read(images), module(images))


def test_a_module_without_description_is_refused(tmp_path):
    class Mine(NeuralPredictor):
        pass

    with pytest.raises(ValueError, match=r"no description to save.*register"):
        save_module(Mine("small_resnet", 3, image_shape=SHAPE), tmp_path / "p.safetensors")
    assert not (tmp_path / "p.safetensors").exists()


def test_the_network_of_a_tasks_checkpoint_is_read(tmp_path):
    network = GuidedNetwork("small_resnet", 4, {"brain": (None, 5)}, image_shape=SHAPE)
    task = GuidedClassificationTask(network, PredictedGuidance({"brain": predictor()}), 0.5)
    trainer = L.Trainer(max_epochs=0, logger=False, enable_checkpointing=False, accelerator="cpu")
    trainer.strategy.connect(task)
    trainer.save_checkpoint(tmp_path / "task.ckpt")
    read = load_module(tmp_path / "task.ckpt", "network").eval()
    images = torch.rand(2, *SHAPE)
    assert torch.equal(read(images), network.eval()(images))


def test_messages_name_what_is_missing(tmp_path):
    with pytest.raises(FileNotFoundError, match="no network at"):
        load_module(tmp_path / "none.safetensors", "network")
