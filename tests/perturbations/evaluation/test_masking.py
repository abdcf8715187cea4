"""The masking report passes honest networks and catches those that hide their gradients."""

import pytest
import torch
from torch import nn

from neuroalign import masking_report
from tests.perturbations.evaluation.test_curve import images, loader, network

EPS = 0.006


class Masked(nn.Module):
    def __init__(self, model, kind):
        super().__init__()
        self.first, self.rest, self.kind = model[0], model[1:], kind

    def forward(self, x):
        if self.kind == "noisy layer":
            return self.rest(self.first(x) + 0.05 * torch.randn_like(self.first(x)))
        if self.kind == "quantised activations":
            return self.rest((self.first(x) * 8).round() / 8)
        return 1000 * self.rest(self.first(x))


def report(model, x=None, **kwargs):
    x = images(80) if x is None else x
    with torch.no_grad():
        labels = model(x).argmax(1)
    return masking_report(model, loader(x, labels, 30), **{"eps": EPS, **kwargs})


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_an_honest_network_passes(norm):
    found = report(network(), norm=norm, eps={"linf": EPS, "l2": 0.04}[norm])
    assert found.passed, str(found)
    assert found.num_images == 64
    assert len(found.table) == 8
    assert "passed" in str(found)
    assert "FAILED" not in str(found)


@pytest.mark.parametrize(
    ("kind", "check"),
    [
        ("quantised activations", "white box beats black box"),
        ("quantised activations", "gradients are not zero"),
        ("quantised activations", "unbounded attack succeeds"),
        ("logits x 1000", "gradients are not zero"),
        ("logits x 1000", "iterative attack raises the loss"),
        ("noisy layer", "outputs are the same twice"),
    ],
)
def test_masked_gradients_are_caught(kind, check):
    found = report(Masked(network(), kind).eval())
    assert not found.passed
    assert check in found.failed, str(found)
    assert "FAILED" in str(found)


def test_a_network_without_any_gradient_fails_rather_than_raises():
    model = network()

    class Binary(nn.Module):
        def forward(self, x):
            return model((x > 0.5).float())

    found = report(Binary().eval())
    assert {"gradients are not zero", "unbounded attack succeeds", "white box beats black box"} <= set(found.failed)


def test_a_softmax_inside_is_told():
    model = nn.Sequential(network(), nn.Softmax(1)).eval()
    with pytest.warns(UserWarning, match="rows sum to 1"):
        report(model)


def test_no_trace_and_few_images():
    model = network().train()
    state = torch.get_rng_state()
    assert report(model, num_images=5).num_images == 5
    assert model.training
    assert torch.equal(torch.get_rng_state(), state)
    x = images(4)
    with pytest.raises(ValueError, match="no image is classified right"):
        masking_report(model, loader(x, (model(x).argmax(1) + 1) % 5), eps=EPS)
