"""Heads that don't fit the guidance are told when a task is made, not at its first batch."""

import pytest
import torch

from neuroalign import (
    CategoryManifolds,
    GuidedClassificationTask,
    GuidedNetwork,
    LabelOnlyGuidance,
    ManifoldGuidance,
    MeasuredGuidance,
    NeuralPredictor,
    PredictedGuidance,
    RDMGuidance,
    ShuffledGuidance,
    WeightedGuidance,
)
from neuroalign.losses import NeuralAlignmentLoss

SHAPE = (3, 8, 8)


def network():
    return GuidedNetwork("small_resnet", 4, {"V1": ("layer1", 5), "V4": ("layer3", 7)}, image_shape=SHAPE)


def predictor(num_voxels):
    return NeuralPredictor("small_resnet", num_voxels, image_shape=SHAPE)


def manifolds(width):
    return CategoryManifolds.from_features(torch.randn(40, width), torch.arange(40) % 4)


@pytest.mark.parametrize(
    ("guidance", "message"),
    [
        (lambda: PredictedGuidance({"V5": predictor(7)}), r"unknown response head 'V5'; did you mean 'V[14]'"),
        (
            lambda: PredictedGuidance({"V4": predictor(6)}),
            "has 7 outputs and its target 6 voxels, .*'mse'.* give the head 6",
        ),
        (lambda: PredictedGuidance({"V1": predictor(5), "V4": predictor(6)}, "pearson"), "head 'V4' has 7 outputs"),
        (lambda: ShuffledGuidance(PredictedGuidance({"V4": predictor(6)})), "head 'V4' has 7 outputs and its target 6"),
        (
            lambda: WeightedGuidance([PredictedGuidance({"V4": predictor(6)})]),
            "head 'V4' has 7 outputs and its target 6",
        ),
        (lambda: MeasuredGuidance({"V1": [0, 1]}), "head 'V1' has 5 outputs and its target 2 voxels"),
        (lambda: MeasuredGuidance(), "unknown response head 'response'"),
        (lambda: ManifoldGuidance({"V4": manifolds(6)}), "head 'V4' has 7 outputs and its target 6"),
        (lambda: ManifoldGuidance({"TO": manifolds(6)}), "unknown response head 'TO'"),
    ],
)
def test_guidance_that_does_not_fit(guidance, message):
    with pytest.raises(ValueError, match=message):
        GuidedClassificationTask(network(), guidance())
    GuidedClassificationTask(network(), guidance(), 0.0)  # never compared


@pytest.mark.parametrize(
    "guidance",
    [
        lambda: None,
        lambda: PredictedGuidance({"V1": predictor(5), "V4": predictor(7)}),
        lambda: PredictedGuidance({"V4": predictor(6)}, "cka"),  # sets of any widths
        lambda: PredictedGuidance(
            {"V1": predictor(5), "V4": predictor(6)}, {"V1": "mse", "V4": NeuralAlignmentLoss("rsa")}
        ),
        lambda: PredictedGuidance({"V4": torch.nn.Flatten()}),  # a width that is not known
        lambda: MeasuredGuidance("V4"),
        lambda: MeasuredGuidance({"V1": 5, "V4": list(range(7))}),
        lambda: ManifoldGuidance({"V4": manifolds(7)}),
        lambda: LabelOnlyGuidance(4, {"V4": 7}),
        lambda: RDMGuidance({"V4": torch.rand(6)}, stimuli=torch.arange(4)),
        lambda: torch.nn.Identity(),  # somebody's own
    ],
)
def test_guidance_that_fits(guidance):
    GuidedClassificationTask(network(), guidance())


def test_guidance_of_ones_own_says_what_it_needs():
    class Mine(torch.nn.Identity):
        def heads_needed(self):
            return {"V4": (6, "my loss")}

    with pytest.raises(ValueError, match="head 'V4' has 7 outputs and its target 6 voxels, which my loss compares"):
        GuidedClassificationTask(network(), Mine())
