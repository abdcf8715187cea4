"""Attacks are what their names say: steps and starts against the literature's definitions written out."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from neuroalign import FGSM, PGD
from neuroalign.perturbations.attacks.budget import random_points
from tests.evaluation.test_curve import network
from tests.perturbations.attacks.test_gradient import images, linear


def smooth(num_classes=4):
    torch.manual_seed(3)
    layers = nn.Conv2d(3, 8, 3), nn.Tanh(), nn.Flatten(), nn.Linear(32, num_classes)
    return nn.Sequential(*layers).eval()


def ce_gradient(model, x, labels):
    x = x.clone().requires_grad_()
    return torch.autograd.grad(F.cross_entropy(model(x), labels, reduction="sum"), x)[0]


def test_fgsm_is_the_sign_of_the_gradient_of_cross_entropy():
    model, x = smooth(), images(30)
    labels = torch.arange(30) % 4
    expected = (x + 0.03 * ce_gradient(model, x, labels).sign()).clamp(0, 1)
    torch.testing.assert_close(FGSM()(model, x, labels, 0.03), expected)
    margin = FGSM(loss="margin")(model, x, labels, 0.03)
    assert bool((margin != expected).any())  # with several classes another attack, so another name


def test_the_fast_gradient_method():
    model, x = smooth(), 0.3 + 0.4 * images(30)
    labels = torch.arange(30) % 4
    gradient = ce_gradient(model, x, labels)
    step = gradient / gradient.flatten(1).norm(dim=1)[:, None, None, None]
    torch.testing.assert_close(FGSM("l2")(model, x, labels, 0.1), x + 0.1 * step)


def test_fgsm_of_a_saturated_network_takes_no_step():
    """So it is in the literature; a confident network looks robust, and the masking report tells."""
    inner, x = linear(3), images(10)
    model = nn.Sequential(inner, Times(1e6)).eval()
    labels = model(x).argmax(1)
    torch.testing.assert_close(FGSM()(model, x, labels, 0.03), x)


class Times(nn.Module):
    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def forward(self, x):
        return self.factor * x


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_madrys_pgd(norm):
    """Cross-entropy, from a random point, constant steps of 2.5 eps / steps, projected each time."""
    model, x, eps, steps = network(), images(40), 0.008 if norm == "linf" else 0.06, 10
    labels = model(x).argmax(1)
    found = PGD.madry(norm, steps=steps, seed=5)(model, x, labels, eps)
    radius = torch.full((40, 1, 1, 1), eps)
    z = random_points(x, radius, norm, torch.arange(40), seed=5, stream=0)
    assert float((z - x).flatten(1).norm(dim=1).min()) > 0
    fooled, result = torch.zeros(40, dtype=torch.bool), z.clone()
    for t in range(steps + 1):
        wrong = model(z).argmax(1) != labels
        result = torch.where((wrong & ~fooled)[:, None, None, None] | ~(wrong | fooled)[:, None, None, None], z, result)
        fooled |= wrong
        if t == steps:
            break
        gradient = ce_gradient(model, z, labels)
        if norm == "linf":
            z = x + (z + 2.5 * eps / steps * gradient.sign() - x).clamp(-eps, eps)
        else:
            z = z + 2.5 * eps / steps * gradient / gradient.flatten(1).norm(dim=1)[:, None, None, None]
            size = (z - x).flatten(1).norm(dim=1)[:, None, None, None]
            z = x + (z - x) * (eps / size).clamp_max(1)
        z = z.clamp(0, 1)
    assert 0 < int(fooled.sum()) < 40
    torch.testing.assert_close(found, result, rtol=0, atol=2e-5)


def test_names_tell_what_is_not_the_literatures():
    assert FGSM().name == "fgsm-linf"
    assert FGSM("l2", loss="dlr").name == "fgsm-l2-dlr"
    assert PGD.madry().name == "pgd40-linf"
    assert PGD.madry("l2", steps=7, restarts=5).name == "pgd7-l2-x5"
    assert PGD().name == "pgd20-linf-margin-cosine"
    assert PGD(loss="ce").name == "pgd20-linf-cosine"
    assert PGD(rel_step_size=0.1, steps=3).name == "pgd3-linf-margin"
    assert PGD.two_losses("l2").name == "pgd20-l2-margin+ce-cosine"
    assert PGD(restarts=4, loss=("margin", "ce")).name == "pgd20-linf-margin+ce-cosine-x4"
