"""Lightning's warning about modules in eval mode is left out for frozen predictors, and only for them."""

import warnings

import lightning as L
import pytest
import torch

from neuroalign import GuidanceDataModule, GuidedClassificationTask, GuidedNetwork, NeuralPredictor, PredictedGuidance
from neuroalign.models.heads import ResponseHead

SHAPE = (3, 8, 8)


def warned_of_eval_mode(task):
    images, labels = torch.rand(8, *SHAPE), torch.arange(8) % 2
    quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    trainer = L.Trainer(accelerator="cpu", max_epochs=1, **quiet)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        before = list(warnings.filters)
        trainer.fit(task, GuidanceDataModule((images, labels), (images, labels), batch_size=4))
        assert list(warnings.filters) == before  # no filter of ours is left
    return any("module(s) in eval mode" in str(each.message) for each in caught)


@pytest.fixture
def task():
    predictor = NeuralPredictor("small_resnet", 6, image_shape=SHAPE)
    network = GuidedNetwork("small_resnet", 2, heads={"V4": ("layer3", predictor)}, image_shape=SHAPE)
    return GuidedClassificationTask(network, PredictedGuidance({"V4": predictor}))


def test_a_frozen_predictor_is_no_news(task):
    assert not warned_of_eval_mode(task)


def test_a_network_in_eval_mode_is(task):
    task.network.trunk.eval()
    assert warned_of_eval_mode(task)


def test_a_head_takes_the_width_of_its_predictor(task):
    assert task.network.heads["V4"].num_outputs == 6
    assert task.network.config["init_args"]["heads"]["V4"]["num_outputs"] == 6
    assert task.guidance.head_widths == {"V4": 6}
    with pytest.raises(ValueError, match="a Linear has no num_voxels: give num_outputs as a number"):
        ResponseHead("layer3", torch.nn.Linear(2, 2))
    with pytest.raises(TypeError, match="unknown field of a head: 'num_output'; did you mean 'num_outputs'"):
        ResponseHead.of({"layer": "layer3", "num_output": 6})
