"""The search for a weight decay: a known law, targets out of reach, noise, refusals; and a real training."""

import math

import pytest
from torch import nn

from neuroalign import GuidanceDataModule, GuidedNetwork, evaluate_smoothness
from neuroalign.study import Recipe, match_smoothness, train_classifier


class Decayed(nn.Module):
    def __init__(self, weight_decay):
        super().__init__()
        self.weight_decay = weight_decay


def law(network):
    return network.weight_decay**-0.5


@pytest.mark.parametrize("decay", [3e-5, 1e-3, 0.05])
def test_a_known_law_is_inverted(decay):
    found = match_smoothness(Decayed, law, decay**-0.5)
    assert found.matched
    assert abs(math.log(found.smoothness / found.target)) <= math.log(1.1)
    assert found.weight_decay == found.network.weight_decay
    assert len(found.trials) <= 8


def test_out_of_reach_is_told_after_two_trainings():
    found = match_smoothness(Decayed, law, 1e-3)
    assert not found.matched
    assert len(found.trials) == 2
    assert found.weight_decay == 1e-1


def test_few_trainings_return_the_closest():
    found = match_smoothness(Decayed, law, 100.0, max_trainings=3, tolerance=1e-6)
    assert not found.matched
    assert len(found.trials) == 3
    assert found.trials["log_ratio"].abs().min() == pytest.approx(abs(math.log(found.smoothness / 100)))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"target": 0}, "must be positive"),
        ({"target": 1, "low": 2, "high": 1}, "low below high"),
        ({"target": 1, "max_trainings": 1}, "at least 2"),
    ],
)
def test_refusals(arguments, message):
    with pytest.raises(ValueError, match=message):
        match_smoothness(Decayed, law, **arguments)


def test_divergence_is_told():
    with pytest.raises(ValueError, match="did training diverge"):
        match_smoothness(Decayed, lambda n: math.nan, 1.0)


@pytest.mark.slow
def test_weight_decay_smooths_a_real_network(digits):
    images, labels = digits
    data = GuidanceDataModule((images[:600], labels[:600]), (images[600:800], labels[600:800]), batch_size=50)

    def train(weight_decay):
        make = lambda: GuidedNetwork("small_resnet", 10, image_shape=(3, 8, 8))  # noqa: E731
        return train_classifier(make, data, Recipe(4, 0.05, weight_decay), 0)

    def smoothness(network):
        return evaluate_smoothness(network, data.val_dataloader(), loss="margin").clean

    rough, smooth = smoothness(train(1e-5)), smoothness(train(0.1))
    assert smooth < rough
    found = match_smoothness(train, smoothness, math.sqrt(rough * smooth), tolerance=0.5, max_trainings=6)
    assert found.trials["smoothness"].between(0.5 * smooth, 2 * rough).all()
    assert len(found.trials) <= 6
