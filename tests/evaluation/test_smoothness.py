"""Refusals of the smoothness measure; its values are tested with the training that lowers it."""

import re

import pytest

from neuroalign import PGD, evaluate_smoothness
from tests.evaluation.test_curve import images, loader, network


def test_an_attack_needs_a_budget():
    model, x = network(), images(4)
    attack = PGD()
    with pytest.raises(ValueError, match=re.escape(f"eps is missing: {attack.name} needs a budget")):
        evaluate_smoothness(model, loader(x, model(x).argmax(1)), attack)


def test_an_attack_must_be_one():
    with pytest.raises(TypeError, match=r"make an object of it, PGD\(\)"):
        evaluate_smoothness(network(), [], PGD, 0.1)
    with pytest.raises(TypeError, match="must be an Attack"):
        evaluate_smoothness(network(), [], "pgd", 0.1)
