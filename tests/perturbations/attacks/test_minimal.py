"""Shortest perturbations between two classes of a linear model, where the closed form is each image's own."""

import numpy as np
import pytest

from neuroalign import FMN, CarliniWagner, robustness_curve
from tests.evaluation.test_curve import arrays, images, linear, loader
from tests.perturbations.attacks import linear_references as exact


def distances(attack):
    """Found, and true."""
    model, x = linear(2), images(30)
    labels = model(x).argmax(1)
    found = robustness_curve(model, loader(x, labels), attack, [0.01]).images["distance"].to_numpy()
    return found, exact.minimal_norm(*arrays(model, x, labels), attack.norm, True)


def test_carlini_wagner_keeps_the_shortest_that_it_met():
    found, truth = distances(CarliniWagner(steps=300, lr=0.003))
    np.testing.assert_allclose(found, truth, rtol=0.03)
    assert np.median(found / truth) == pytest.approx(1, abs=0.003)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_fmn_settles_on_the_boundary(norm):
    found, truth = distances(FMN(norm))
    np.testing.assert_allclose(found, truth, rtol=2e-4)
