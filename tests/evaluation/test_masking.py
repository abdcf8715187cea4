"""The masking report passes honest networks and catches those that hide their gradients."""

from dataclasses import replace
from math import comb

import pytest
import torch
from torch import nn

from neuroalign import PGD, SquareAttack, masking_report
from neuroalign.functional.logits import margin
from tests.evaluation.test_curve import images, loader, network

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
    assert found.converged
    assert "passed" in str(found) and "  converged" in str(found)
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


def test_saturated_logits_are_told_as_a_possible_reason():
    found = report(Masked(network(), "logits x 1000").eval())
    assert found.failed and found.loss < 1e-3
    assert "The median loss at the images is" in str(found) and "saturated logits may be the reason" in str(found)
    divided = report(Masked(network(), "logits x 1000").eval(), logits=lambda output: output / 1000)
    assert divided.passed and "saturated" not in str(divided), str(divided)  # the way out that the report names
    assert divided.loss > 1e-3
    assert "saturated logits may" not in str(report(Masked(network(), "noisy layer").eval()))


def test_large_logits_are_not_blamed_where_the_margin_has_no_gradient_either():
    model = Masked(network(), "quantised activations").eval()
    found = report(model, logits=lambda output: output * 1000)
    assert found.failed and found.loss < 1e-3 and found.zero_gradient == 1
    assert "The margin has no gradient either, at 100 % of the images" in str(found)
    assert "saturated" not in str(found).replace("saturated or clipped", "")  # the meaning of a check names all reasons
    assert report(Masked(network(), "logits x 1000").eval()).zero_gradient == 0


class Hiding(nn.Module):
    """Three logits of what is added to grey images; where told so, no gradient comes back.

    Of the brightness added to the left half and the right half as a share of eps, class 1 rises with the left one to just
    below class 0, class 2 from further down with the right one to far above it.
    """

    def __init__(self, kind):
        super().__init__()
        self.kind = kind

    def forward(self, x):
        added = (x - 0.5) / EPS
        left, right = added[..., :2].mean((1, 2, 3)), added[..., 2:].mean((1, 2, 3))
        zero = torch.zeros_like(left)
        if self.kind == "but at the image":  # one step along the cross-entropy fools, none along the margin
            logits = torch.stack([zero, 0.1 * left - 1, 4 * right - 2], 1)
            hidden = (added != 0).flatten(1).any(1)
        elif self.kind == "where the first pixel is darker":
            logits = torch.stack([zero, 4 * left - 2, 4 * right - 2], 1)
            hidden = added[:, 0, 0, 0] <= 0
        else:  # in no place; but what fools is a shell about the image, and beyond it the slope leads away
            logits = torch.stack([zero, torch.where(left < 0.7, 5 * left - 1, left - 5), zero - 9], 1)
            hidden = zero.bool()
        return torch.where(hidden[:, None], logits.detach(), logits)


@pytest.mark.parametrize(
    ("kind", "check"),
    [("but at the image", "iterative beats single step"), ("in no place", "larger budgets fool more")],
)
def test_each_check_can_fail(kind, check):
    grey = torch.full((64, 3, 4, 4), 0.5)
    found = masking_report(Hiding(kind).eval(), loader(grey, torch.zeros(64, dtype=torch.long)), EPS)
    assert check in found.failed, str(found)
    assert found.table.set_index("check")["value"][check] == 1


def test_an_attack_that_has_not_converged_is_told_but_no_masking():
    grey = torch.full((64, 3, 4, 4), 0.5)
    found = masking_report(Hiding("where the first pixel is darker").eval(), loader(grey, torch.zeros(64).long()), EPS)
    assert not found.converged
    # The first run's start is dark in half of the images; of these, one of four starts is light in 15 of 16.
    assert 0.3 <= found.table.set_index("check")["value"]["more steps change nothing"] <= 0.6
    assert "NOT CONVERGED: share fooled only by more steps and restarts" in str(found)
    assert "more steps change nothing" not in found.failed
    alone = replace(found, table=found.table.assign(passed=found.table["passed"] | found.table["verdict"]))
    assert alone.passed and not alone.failed and not alone.converged


@pytest.mark.parametrize(("num_images", "allowed"), [(4, 0), (16, 1), (30, 1), (64, 1), (256, 3)])
def test_bounds_follow_the_number_of_images(num_images, allowed):
    """A share of .002 of the images, and what the choice of the images adds to it in 99 % of draws."""
    table = report(network(), images(400), num_images=num_images, num_queries=1).table.set_index("check")
    share = table["bound"]["white box beats black box"]
    assert share == pytest.approx(allowed / num_images)
    more = [
        sum(comb(num_images, k) * 0.002**k * 0.998 ** (num_images - k) for k in range(first, num_images + 1))
        for first in (allowed + 1, allowed)
    ]
    assert more[0] <= 0.01 < more[1]
    assert table["bound"]["iterative attack raises the loss"] == 1 - share


def test_expensive_attacks_try_few_images_and_go_on_only_where_they_find_something(monkeypatch):
    tried, search = [], SquareAttack.search

    def noticing(self, classifier, images, labels, eps, index, start=None):
        tried.append(margin(classifier.logits(images), labels))
        return search(self, classifier, images, labels, eps, index, start)

    monkeypatch.setattr(SquareAttack, "search", noticing)
    model, x = network(), images(80)
    honest = report(model, x).table.set_index("check")["num_tried"]
    assert honest["white box beats black box"] == 8 and honest["more steps change nothing"] == 4
    cheap = honest.drop(["white box beats black box", "more steps change nothing", "iterative beats single step"])
    assert (cheap == 64).all()

    tried.clear()
    found = report(Masked(model, "quantised activations").eval(), x)
    masked = found.table.set_index("check")
    assert masked["num_tried"]["white box beats black box"] == sum(map(len, tried)) > 8
    assert list(map(len, tried))[:3] == [8, 16, 32]
    in_turn = torch.cat(tried)
    assert torch.equal(in_turn, in_turn.sort(descending=True).values), "the smallest margin is tried first"
    assert f"{sum(map(len, tried))} images tried" in str(found)


def test_a_larger_budget_is_not_blamed_for_an_attack_that_gave_up(monkeypatch):
    """The first look at the budgets gives images up early; what it seems to find is looked at without that."""
    search = PGD.search

    def gives_up(self, classifier, images, labels, eps, index, start=None, target=None):
        found, fooled = search(self, classifier, images, labels, eps, index, start, target)
        return found, fooled & (self.patience != 3 or float(eps.max()) < EPS)

    monkeypatch.setattr(PGD, "search", gives_up)
    assert report(network()).passed


def test_noise_is_measured_against_the_largest_logit():
    """Rounding noise passes, although one logit is next to 0."""
    model = network()

    class Rounding(nn.Module):
        calls = 0

        def forward(self, x):
            logits = model(x)
            largest = logits.detach().abs().max()
            logits = torch.cat([logits[:, :-1], (1e-7 * largest).expand(len(x), 1)], 1)
            self.calls += 1
            return logits + 2e-6 * largest * (self.calls % 2)

    noise = report(Rounding().eval()).table.set_index("check").loc["outputs are the same twice"]
    assert noise["passed"]
    assert noise["value"] == pytest.approx(2e-6, rel=0.1)


def test_the_seed_is_that_of_the_attacks_and_more_restarts_start_elsewhere(monkeypatch):
    seen, search = [], PGD.search
    monkeypatch.setattr(PGD, "search", lambda self, *args, **kwargs: seen.append(self) or search(self, *args, **kwargs))
    report(network(), seed=7)
    assert {attack.seed for attack in seen if attack.restarts < 4} == {7}
    assert [attack.seed for attack in seen if attack.restarts == 4] == [8]


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
