"""Correlations in blocks: the general forms' values and gradients, for any data."""

import pytest
import torch

from neuroalign.functional import blocks, cosine, pearson
from neuroalign.functional.block_correlation import block_correlation, general_correlation

FORMS = [(0, True, False), (1, True, False), (1, True, True), (1, False, False), (1, False, True)]


def responses(kind, shape=(40, 23), seed=0, dtype=torch.float64):
    g = torch.Generator().manual_seed(seed)
    preds, target = torch.randn(2, *shape, generator=g, dtype=dtype)
    if "missing" in kind:
        target[torch.rand(shape, generator=g) < 0.2] = torch.nan
        target[3], target[:, 4] = torch.nan, torch.nan
    if "constant" in kind:
        preds[:, 1], target[:, 2], preds[5], target[6] = 0.1, 7.0, 0.1, 0.0
    if "mean" in kind:
        preds, target = preds + 1e4, target - 300
    if "unit" in kind:
        preds, target = preds * 1e20, target * 1e-20
    return preds.requires_grad_(), target


def both(kind, dim, centered, weighted, **how):
    preds, target = responses(kind, **how)
    weight = torch.rand(target.shape[1], generator=torch.Generator().manual_seed(2)).to(target) if weighted else None
    if weight is not None:
        weight[::3] = 0
    found, count = block_correlation(preds, target, dim=dim, centered=centered, weight=weight)
    general = general_correlation(preds, target, weight, dim, centered)
    slope = torch.arange(1.0, len(found) + 1).to(found)
    gradients = [torch.autograd.grad(value @ slope, preds)[0] for value in (found, general)]
    return found, general, *gradients, count, (target, weight)


@pytest.mark.parametrize("size", [1, 64, 2**18])
@pytest.mark.parametrize("kind", ["complete", "missing", "constant", "mean", "unit", "missing, constant, unit"])
@pytest.mark.parametrize(("dim", "centered", "weighted"), FORMS)
def test_equals_the_general_form(kind, dim, centered, weighted, size, monkeypatch):
    monkeypatch.setattr(blocks, "_NUMBERS", size)
    found, general, gradient, expected, count, (target, weight) = both(kind, dim, centered, weighted)
    some = count > 1
    torch.testing.assert_close(found[some], general[some], rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(gradient, expected, rtol=1e-7, atol=1e-9 * float(expected.abs().max()))
    used = ~target.isnan() if weight is None else ~target.isnan() & (weight > 0)
    assert torch.equal(count, used.sum(dim).to(count.dtype))


@pytest.mark.parametrize(("dim", "centered", "weighted"), FORMS)
def test_single_precision_is_as_good_as_the_general_form(dim, centered, weighted):
    found, general, gradient, expected, *_ = both("missing", dim, centered, weighted, dtype=torch.float32)
    torch.testing.assert_close(found, general, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max()))


@pytest.mark.parametrize("kind", ["complete", "missing", "constant"])
def test_equals_the_public_formulas(kind):
    preds, target = responses(kind)
    for dim in (0, 1):
        found, _ = block_correlation(preds, target, dim=dim, centered=True)
        torch.testing.assert_close(found, pearson(preds, target, dim=dim).nan_to_num(0.0))
    found, _ = block_correlation(preds, target, dim=1, centered=False)
    torch.testing.assert_close(1 - found, cosine(preds, target).nan_to_num(0.0))


@pytest.mark.parametrize(("dim", "centered", "weighted"), FORMS)
def test_gradients(dim, centered, weighted):
    preds, target = responses("missing", (6, 5))
    weight = torch.linspace(0, 1, 5, dtype=torch.float64) if weighted else None

    def value(x):
        return block_correlation(x, target, dim=dim, centered=centered, weight=weight)[0]

    assert torch.autograd.gradcheck(value, preds)
    assert torch.autograd.gradgradcheck(value, preds)


def test_predictions_that_are_nan_stay_so_and_infinite_targets_are_refused():
    preds, target = responses("missing")
    preds = preds.detach().clone()
    preds[0, 0] = torch.nan
    target[0, 0] = 1.0
    assert block_correlation(preds, target, dim=0, centered=True)[0].isnan().tolist() == [True] + [False] * 22
    target[1, 1] = torch.inf
    with pytest.raises(ValueError, match="target has infinite values"):
        block_correlation(preds, target, dim=0, centered=True)
