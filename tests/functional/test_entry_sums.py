"""Sums of entries' losses on the CPU: the plain formulas' values and gradients, whatever is missing."""

import pytest
import torch

from neuroalign.functional import blocks
from neuroalign.functional.entry_sums import poisson_deviances, squared_differences

KINDS = {
    "squares": (squared_differences, lambda p, t: (p - t).square()),
    "deviance": (poisson_deviances, lambda p, t: p.exp() - t + torch.xlogy(t, t) - t * p),
}


def responses(missing, shape=(40, 23)):
    g = torch.Generator().manual_seed(0)
    preds = torch.randn(shape, generator=g, dtype=torch.float64)
    target = torch.poisson(preds.abs(), generator=g)
    if missing:
        target[10:][torch.rand(target[10:].shape, generator=g) < 0.3] = torch.nan
        target[:, 2] = torch.nan
    return preds.requires_grad_(), target


def by_hand(formula, preds, target):
    valid = ~target.isnan()
    return torch.where(valid, formula(preds, torch.where(valid, target, 0)), 0).sum(0), valid.sum(0).double()


@pytest.mark.parametrize("size", [1, 50, 2**18])
@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_equals_the_formula(kind, missing, size, monkeypatch):
    monkeypatch.setattr(blocks, "_NUMBERS", size)
    function, formula = KINDS[kind]
    preds, target = responses(missing)
    slope = torch.arange(1.0, 24).double()
    expected, number = by_hand(formula, preds, target)
    reference = torch.autograd.grad(expected @ slope, preds)[0]
    found, count = function(preds, target, by_voxel=True)
    torch.testing.assert_close((found, count), (expected, number))
    torch.testing.assert_close(torch.autograd.grad(found @ slope, preds)[0], reference)
    whole, count = function(preds, target, by_voxel=False)
    torch.testing.assert_close((whole, count), (expected.sum(), number))
    torch.testing.assert_close(
        torch.autograd.grad(whole, preds)[0], torch.autograd.grad(by_hand(formula, preds, target)[0].sum(), preds)[0]
    )


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_gradients(kind, missing):
    preds, target = responses(missing, (12, 3))
    for by_voxel in (False, True):

        def value(x, by_voxel=by_voxel):
            return KINDS[kind][0](x, target, by_voxel=by_voxel)[0]

        assert torch.autograd.gradcheck(value, preds)
        assert torch.autograd.gradgradcheck(value, preds)


@pytest.mark.parametrize("kind", KINDS)
def test_a_second_backward_pass_gives_the_same(kind):
    preds, target = responses(True)
    value, _ = KINDS[kind][0](preds, target, by_voxel=False)
    first = torch.autograd.grad(value, preds, retain_graph=True)[0].clone()
    torch.testing.assert_close(torch.autograd.grad(3 * value, preds)[0], 3 * first)


@pytest.mark.parametrize("wrong", [torch.inf, -torch.inf, torch.nan])
@pytest.mark.parametrize("side", ["preds", "target"])
@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_declines_what_is_not_finite(kind, missing, side, wrong):
    preds, target = (x.detach().clone() for x in responses(missing))
    (preds if side == "preds" else target)[0, 0] = wrong
    found = KINDS[kind][0](preds, target, by_voxel=True)
    fine = side == "target" and wrong != wrong  # a gap
    assert (found is not None) == fine


@pytest.mark.parametrize("missing", [False, True])
def test_a_wrong_guess_changes_nothing(missing):
    preds, target = responses(missing)
    found, expected = (squared_differences(preds, target, by_voxel=True, incomplete=guess) for guess in (True, False))
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_declines_negative_counts_and_sums_that_overflow():
    preds, target = (x.detach().clone() for x in responses(True))
    assert squared_differences(1e200 * preds, target, by_voxel=False) is None
    target[0, 0] = -1.0
    assert poisson_deviances(preds, target, by_voxel=False) is None
