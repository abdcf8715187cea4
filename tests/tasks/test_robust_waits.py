"""How often a GPU would make the host wait in adversarial training, attacks and corruptions."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import neuroalign as na
from neuroalign.perturbations import COMMON_CORRUPTIONS, EXTRA_CORRUPTIONS
from tests.stand_in_device import StandIn, on_stand_in

TRAININGS = {
    "adversarial": lambda: na.AdversarialTraining(8 / 255, steps=3),
    "adversarial l2": lambda: na.AdversarialTraining(0.5, "l2", steps=3),
    "trades": lambda: na.TRADES(8 / 255, steps=3),
    "trades l2": lambda: na.TRADES(0.5, "l2", steps=3),
    "noise": lambda: na.GaussianNoiseTraining(0.1),
    "gradient": lambda: na.GradientRegularization(0.1),
}


def classifier():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 14 * 14, 5))


def data():
    return on_stand_in((torch.rand(6, 3, 16, 16), torch.arange(6) % 5))


@pytest.mark.parametrize("name", TRAININGS)
def test_no_step_waits_after_the_first(name):
    training, network, (images, labels) = TRAININGS[name](), on_stand_in(classifier()), data()
    waits = []
    for _ in range(3):
        with StandIn() as device:
            logits = network(training.inputs(network, images, labels))
            loss = F.cross_entropy(logits, labels) + training.penalty(network, images, labels, logits)
            loss.backward()
        waits.append(device.waits)
        assert not device.mixes and not device.copies
    assert waits[0] and not waits[1] and not waits[2], waits


@pytest.mark.parametrize("name", ["adversarial", "trades"])
def test_a_step_on_the_device_is_that_of_the_cpu(name):
    found = []
    for move in (lambda x: x, on_stand_in):
        training, network = TRAININGS[name](), move(classifier())
        images, labels = torch.rand(6, 3, 16, 16, generator=torch.Generator().manual_seed(1)), torch.arange(6) % 5
        images, labels = move(images), move(labels)
        torch.manual_seed(2)
        with StandIn():
            inputs = training.inputs(network, images, labels)
            loss = F.cross_entropy(network(inputs), labels) + training.penalty(network, images, labels, network(inputs))
            found.append(float(loss))
    assert found[1] == pytest.approx(found[0], rel=1e-4)


@pytest.mark.parametrize("bad", ["images", "logits", "labels"])
def test_the_first_batch_is_refused_in_words_and_later_ones_become_nan(bad):
    """Where what is wrong would go on unseen."""
    training, network, (images, labels) = TRAININGS["adversarial"](), on_stand_in(classifier()), data()
    wrong_images = images + 1 if bad == "images" else images
    wrong_labels = labels - 6 if bad == "labels" else labels

    def broken(x):
        return network(x) * (torch.inf if bad == "logits" else 1)

    wrong = Wrapped(broken)
    with StandIn():
        with pytest.raises(ValueError, match=r"pixels in|NaN or infinite|labels run from"):
            TRAININGS["adversarial"]().inputs(wrong, wrong_images, wrong_labels)
        training.inputs(network, images, labels)
        if bad == "labels":
            return  # a GPU stops with an error of its own when cross-entropy meets them
        assert bool(training.inputs(wrong, wrong_images, wrong_labels).isnan().all())


class Wrapped(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


@pytest.mark.parametrize(
    ("attack", "a_pass"),
    [(na.PGD(steps=6), 2), (na.PGD.two_losses(steps=6), 2), (na.APGD(steps=6), 2), (na.SquareAttack(num_queries=6), 3)],
    ids=lambda value: repr(value)[:20],
)
def test_attacks_that_stop_early_wait_for_the_logits_and_for_what_is_left(attack, a_pass):
    network, (images, _) = on_stand_in(classifier().eval()), data()
    with StandIn():
        labels = network(images).argmax(1)
    with StandIn() as device:
        attack(network, images, labels, 1e-4)
    passes = 2 * 7 if isinstance(attack, na.PGD) and attack.restarts == 2 else 7
    assert sum(device.waits.values()) <= a_pass * passes + 5
    assert not device.mixes


@pytest.mark.parametrize("name", COMMON_CORRUPTIONS + EXTRA_CORRUPTIONS)
def test_corruptions_wait_once(name):
    """For the check of the images; glass blur follows chains of unknown length, a solution is checked, JPEG is of the CPU."""
    images = on_stand_in(torch.rand(2, 3, 32, 32))
    with StandIn() as device:
        na.Corruption(name, 2)(images)
    more = {"elastic_transform": 1, "jpeg_compression": 1}.get(name, 0)
    assert sum(device.waits.values()) <= 1 + more or name == "glass_blur"
    assert not device.mixes
