"""What suites consist of, and that nothing in one takes another's place."""

import math

import pytest
import torch
from torch import nn

from neuroalign import FGSM, PGD, CarliniWagner, DeepFool, LowPass
from neuroalign.evaluation import Suite, robustness_suite
from neuroalign.evaluation.suite_result import evaluate_suite

SHAPE = (3, 32, 32)


def attacks(suite):
    return {attack.name: (attack, eps) for attack, eps in suite.attacks}


def test_the_papers_suite_has_the_published_settings(monkeypatch):
    monkeypatch.setattr("neuroalign.evaluation.suites._has_foolbox", lambda: True)
    suite = robustness_suite("paper", SHAPE, seed=3)
    found = attacks(suite)
    assert list(found) == ["fgsm-linf", "pgd40-linf", "fgsm-l2", "cw-l2", "deepfool-l2", "brendel-bethge-l2"]
    pgd = found["pgd40-linf"][0]
    assert (pgd.steps, pgd.loss, pgd.random_start, pgd.restarts) == (40, "ce", True, 1)
    assert pgd.rel_step_size == pytest.approx(1 / 30) and pgd.momentum == 0 and pgd.patience is None
    assert found["cw-l2"][0].steps == 10_000 and found["cw-l2"][0].search_steps == 9
    assert found["deepfool-l2"][0].steps == 40
    assert {found[name][0].loss for name in ("fgsm-linf", "fgsm-l2")} == {"ce"}
    linf, l2 = found["pgd40-linf"][1], found["cw-l2"][1]
    assert linf == pytest.approx([0.001 + 0.002 * i for i in range(10)])
    assert l2 == pytest.approx([e * math.sqrt(3 * 32 * 32) for e in linf])
    assert suite.exhaustive


def test_the_stronger_one_has_the_same_budgets():
    suite = robustness_suite("paper", SHAPE, stronger=True)
    found, published = attacks(suite), attacks(robustness_suite("paper", SHAPE))
    assert {"pgd40-linf-margin+ce-cosine", "pgd40-l2-margin+ce-cosine"} <= set(found)
    assert found["pgd40-linf-margin+ce-cosine"][1] == published["pgd40-linf"][1]
    assert not suite.exhaustive
    with pytest.raises(ValueError, match="stronger goes with the suite 'paper'"):
        robustness_suite("fast", SHAPE, stronger=True)


def test_two_of_one_name_are_refused():
    with pytest.raises(ValueError, match="two perturbations are named 'pgd5-linf'"):
        Suite("mine", ((PGD.madry(steps=5), (0.1,)), (PGD.madry(steps=5, seed=1), (0.2,))))
    with pytest.raises(ValueError, match="two perturbations are named"):
        Suite("mine", ((FGSM(), (0.1,)),), transforms=(LowPass(4), LowPass(4)))
    with pytest.raises(ValueError, match="'fog' is in the suite twice"):
        Suite("mine", ((FGSM(), (0.1,)),), corruptions=("fog", "snow", "fog"))


def test_an_exhaustive_suite_attacks_each_budget_on_its_own(monkeypatch):
    asked = {}

    class Asked(Exception):
        """Ends the suite once it has asked for a curve."""

    def curve(model, loader, attack, eps, options, *, exhaustive):
        asked[attack.name] = exhaustive
        raise Asked

    monkeypatch.setattr("neuroalign.evaluation.suite_result.measure_curve", curve)
    network, batch = nn.Sequential(nn.Flatten(), nn.Linear(12, 2)), torch.rand(4, 3, 2, 2)
    loader = [(batch, network(batch).argmax(1))]
    for attack in (PGD.madry(), CarliniWagner(), DeepFool()):
        with pytest.raises(Asked):
            evaluate_suite(network, loader, Suite("mine", ((attack, (0.1,)),), exhaustive=True))
    assert asked == {"pgd40-linf": True, "cw-l2": False, "deepfool-l2": False}


@pytest.mark.parametrize("shape", [(3, 96, 96), (1, 224, 320), (3, 32, 48)])
def test_corruptions_of_any_size_from_32_pixels(shape):
    assert len(robustness_suite("fast", shape).corruptions) == 15
    assert len(robustness_suite("standard", shape).corruptions) == 19


@pytest.mark.parametrize("shape", [(3, 28, 28), (3, 31, 64), (4, 96, 96)])
def test_no_corruptions_below_it_or_of_other_channels(shape):
    assert robustness_suite("standard", shape).corruptions == ()
