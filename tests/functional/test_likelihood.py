"""Gaussian and Poisson likelihoods: the reference, SciPy, torch's own losses."""

import numpy as np
import pytest
import torch
from scipy import stats

from neuroalign.functional import gaussian_nll, poisson_nll
from tests import similarity_references as ref


def pair(missing=0.2):
    g = torch.Generator().manual_seed(0)
    preds = torch.randn(9, 4, generator=g).double()
    counts = torch.poisson(2 * torch.ones(9, 4), generator=g).double()
    counts[torch.rand(9, 4, generator=g) < missing] = torch.nan
    return preds, counts


@pytest.mark.parametrize("weighted", [False, True])
def test_against_the_reference(weighted):
    preds, target = pair()
    w = torch.tensor([0.5, 0.0, 1.0, 0.2]).double() if weighted else None
    wn = None if w is None else w.numpy()
    variance = torch.tensor([0.5, 1.0, 2.0, 3.0]).double()
    value = gaussian_nll(preds, target, variance, weight=w)
    assert float(value) == pytest.approx(ref.gaussian_nll(preds.numpy(), target.numpy(), wn, variance.numpy()))
    for log_input in (True, False):
        p = preds if log_input else preds.exp()
        value = poisson_nll(p, target, log_input=log_input, weight=w)
        assert float(value) == pytest.approx(ref.poisson_nll(p.numpy(), target.numpy(), wn, log_input))


def test_against_scipy_and_torch():
    preds, target = pair(missing=0.0)
    rate = preds.exp()
    saturated = stats.poisson.logpmf(target, target.clamp_min(1e-300)).mean()
    expected = saturated - stats.poisson.logpmf(target, rate).mean()
    assert float(poisson_nll(preds, target)) == pytest.approx(expected)
    preds.requires_grad_()
    ours = torch.autograd.grad(poisson_nll(preds, target), preds)[0]
    torch.testing.assert_close(ours, torch.autograd.grad(torch.nn.PoissonNLLLoss()(preds, target), preds)[0])
    expected = -stats.norm.logpdf(target, preds.detach(), np.sqrt(2)).mean() - 0.5 * np.log(2 * np.pi)
    assert float(gaussian_nll(preds, target, 2.0)) == pytest.approx(expected)


def test_real_spike_counts(data_path):
    """Macaque V1: an image's own mean rate predicts its held-out repeats better than another's, or than the mean rate."""
    d = np.load(data_path / "v1_henaff2021/counts.npz")
    counts = torch.as_tensor(np.where(d["ay3_u002"] == 255, np.nan, d["ay3_u002"]))  # (unit, image, repeat)
    fitted, held_out = counts[:, :, ::2].nanmean(2).T, counts[:, :, 1::2]
    target = held_out.permute(2, 1, 0).reshape(-1, counts.shape[0])

    def loss(rates):
        rates = rates.clamp_min(0.01).repeat(held_out.shape[2], 1)
        return float(poisson_nll(rates, target, log_input=False))

    own, other, mean = loss(fitted), loss(fitted.roll(90, 0)), loss(fitted.mean(0).expand_as(fitted))
    assert own < mean < other


def test_perfect_rates():
    _, target = pair(missing=0.0)
    assert float(poisson_nll(target, target, log_input=False)) == 0
    assert torch.isfinite(poisson_nll(torch.zeros_like(target), target, log_input=False))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda p, t: poisson_nll(p, t - 5),
            "counts, which can't be negative; the target's smallest value is -5.*z-scored",
        ),
        (lambda p, t: poisson_nll(p, t, log_input=False), r"rates can't be negative; the smallest is -.*softplus"),
        (lambda p, t: gaussian_nll(p, t, 0.0), "variance must be positive"),
        (lambda p, t: gaussian_nll(p, t * torch.nan), "no valid value"),
        (lambda p, t: gaussian_nll(p, t[:, :2]), "4 voxels and target 2"),
    ],
)
def test_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call(*pair())
