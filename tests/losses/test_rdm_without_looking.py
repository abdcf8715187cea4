"""RDMAlignmentLoss on a device whose values are not looked at after the first batch, and as one compiled graph."""

import pytest
import torch

from neuroalign import RDMAlignmentLoss
from neuroalign.functional import host, rdm

COMPARISONS = ["pearson", "soft_spearman", "whitened_cosine", "cosine"]
BATCHES = {
    "distinct": [4, 1, 3, 17, 11, 0, 19, 2],
    "repeated": [4, 1, 4, 17, 1, 4, 19, 2],
    "unknown": [4, 1, 40, 17, -1, 0, 19, 2],
    "unknown and repeated": [4, 1, 40, 17, 40, 4, 19, 2],
    "too few": [4, 4, 40, 1, 41, 42, 43, 1],
    "none": [30, 31, 32, 33, 34, 35, 36, 37],
}


def make(comparison, dissimilarity, dtype=torch.float64, missing=True, **options):
    g = torch.Generator().manual_seed(0)
    target = rdm(torch.randn(20, 6, generator=g, dtype=dtype) - 0.2, dissimilarity="correlation") - 0.3
    if missing and comparison != "whitened_cosine":
        target[::9] = torch.nan
    return RDMAlignmentLoss(target, comparison=comparison, dissimilarity=dissimilarity, **options)


def answer(loss, x, stimulus):
    x = x.clone().requires_grad_()
    value = loss(x, stimulus)
    return value.detach(), torch.autograd.grad(value, x)[0], loss.last_valid


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("dissimilarity", ["sqeuclidean", "correlation", "cosine"])
@pytest.mark.parametrize("comparison", COMPARISONS)
def test_the_same_without_looking(monkeypatch, comparison, dissimilarity, batch):
    for unit, dtype in ((1.0, torch.float64), (1e-15, torch.float64), (1.0, torch.float32)):
        loss = make(comparison, dissimilarity, dtype, stimuli=range(20))
        x = unit * torch.randn(8, 5, generator=torch.Generator().manual_seed(1), dtype=dtype)
        x[0, 0] = x[1, 0] = 3 * unit
        stimulus = torch.tensor(BATCHES[batch])
        expected = answer(loss, x, stimulus)
        with monkeypatch.context() as patch:
            patch.setattr(host, "readable", lambda x: False)
            loss(x, stimulus)  # the first batch, which is looked at
            found = answer(loss, x, stimulus)
        tolerance = 1e-8 if dtype == torch.float64 else 2e-4
        torch.testing.assert_close(found[0], expected[0], rtol=tolerance, atol=tolerance)
        scale = max(float(expected[1].abs().max()), 1e-3 / unit)
        torch.testing.assert_close(found[1], expected[1], rtol=tolerance, atol=tolerance * scale)
        assert torch.equal(found[2], expected[2])


def test_a_row_without_a_target_may_hold_anything(monkeypatch):
    monkeypatch.setattr(host, "readable", lambda x: False)
    loss, stimulus = make("pearson", "correlation", stimuli=range(20)), torch.tensor(BATCHES["unknown"])
    x = torch.randn(8, 5, dtype=torch.float64)
    loss(x, stimulus)
    x[2] = torch.nan
    assert bool(loss(x, stimulus).isfinite())


@pytest.mark.parametrize("wrong", [-1, 20])
def test_a_stimulus_without_a_row_is_refused_in_words_first_and_is_nan_later(monkeypatch, wrong):
    monkeypatch.setattr(host, "readable", lambda x: False)
    x, right = torch.randn(4, 5, dtype=torch.float64), torch.tensor([3, 4, 5, 6])
    with pytest.raises(ValueError, match="no row of the RDM"):
        make("pearson", "correlation")(x, torch.tensor([3, 4, wrong, 6]))
    loss = make("pearson", "correlation")
    loss(x, right)
    value, gradient, _ = answer(loss, x, torch.tensor([3, 4, wrong, 6]))
    assert bool(value.isnan()) and bool(gradient.isnan()[[0, 1, 3]].all())  # of all that a network gave
    assert bool(loss(x, right).isfinite())


@pytest.mark.one_graph
def test_one_graph():
    loss, stimulus = make("pearson", "correlation", stimuli=range(20)), torch.tensor(BATCHES["unknown and repeated"])
    x = torch.randn(8, 5, dtype=torch.float64)
    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(answer(compiled, x, stimulus)[:2], answer(loss, x, stimulus)[:2])
