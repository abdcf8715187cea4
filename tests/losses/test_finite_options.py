"""Weights, temperatures and widths that are not finite are refused where they are given, not found in the loss as NaN."""

import pytest
import torch

from neuroalign import (
    NeuralAlignmentLoss,
    NonNeuralManifoldLoss,
    OddOneOutLoss,
    RandomFourierFeatures,
    SoftMatching,
)
from neuroalign.functional import rbf_cka, soft_matching

X = torch.rand(6, 3)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize(
    ("message", "call"),
    [
        ("temperature must be positive", lambda value: NeuralAlignmentLoss("soft_matching", temperature=value)),
        ("temperature must be positive", lambda value: soft_matching(X, X, temperature=value)),
        ("temperature must be positive", lambda value: SoftMatching(temperature=value)),
        ("temperature must be positive", lambda value: OddOneOutLoss(temperature=value)),
        ("bandwidth must be positive", lambda value: NeuralAlignmentLoss("rbf_cka", bandwidth=value)),
        ("bandwidth must be positive", lambda value: rbf_cka(X, X, bandwidth=value)),
        ("bandwidth must be positive", lambda value: RandomFourierFeatures(3, 4, bandwidth=value)),
        ("radius_weight must not be negative", lambda value: NonNeuralManifoldLoss(radius_weight=value)),
        ("nuclear_weight must not be negative", lambda value: NonNeuralManifoldLoss(nuclear_weight=value)),
        ("radius must not be negative", lambda value: NonNeuralManifoldLoss(radius=value, normalized=False)),
    ],
)
def test_refused(message, call, value):
    with pytest.raises(ValueError, match=rf"^{message}.* finite.*; got {value}"):
        call(value)
