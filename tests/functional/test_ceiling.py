"""Noise ceilings: against an analysis of variance, and against known signals in simulations."""

import numpy as np
import pytest
import scipy.stats
import torch

from neuroalign.functional import (
    ceiling,
    noise_ceiling,
    noise_ceiling_error,
    noise_ceiling_of_trials,
    pearson,
    rescale_ceiling,
)
from tests import references as ref


def anova(responses, num_averaged=None):
    """The unclamped ceiling of (stimulus, repeat, voxel) with NaN, by loops over the one-way analysis of variance."""
    out = []
    for v in range(responses.shape[2]):
        groups = [x[~np.isnan(x)] for x in responses[:, :, v]]
        groups = [x for x in groups if len(x)]
        n = np.array([len(x) for x in groups])
        grand = np.concatenate(groups).mean()
        within = sum(((x - x.mean()) ** 2).sum() for x in groups) / (n.sum() - len(n))
        between = sum(len(x) * (x.mean() - grand) ** 2 for x in groups) / (len(n) - 1)
        between *= (len(n) - 1) / (len(n) - 3)
        signal = (between - within) / ((n.sum() - (n**2).sum() / n.sum()) / (len(n) - 1))
        share = np.mean(1 / n) if num_averaged is None else 1 / num_averaged
        out.append(signal / (signal + within * share))
    return np.array(out)


def trials(truth, num_stimuli, num_voxels=4000, repeats=3, seed=0, single=False):
    """Responses whose average over repeats (or single trial) has a known noise ceiling."""
    g = torch.Generator().manual_seed(seed)
    noise = torch.randn(num_stimuli, repeats, num_voxels, generator=g)
    if truth == 0:
        return noise
    variance = (1 / truth - 1) * (1 if single else repeats)
    return torch.randn(num_stimuli, 1, num_voxels, generator=g) + variance**0.5 * noise


def missing(responses, share=0.3, seed=1):
    g = torch.Generator().manual_seed(seed)
    return torch.where(torch.rand(responses.shape, generator=g) < share, torch.nan, responses)


@pytest.mark.parametrize("num_averaged", [None, 1, 2])
@pytest.mark.parametrize("share", [0.0, 0.4])
def test_noise_ceiling_against_loops(num_averaged, share):
    responses = missing(trials(0.5, 40, 6), share).double()
    expected = anova(responses.numpy(), num_averaged)
    np.testing.assert_allclose(noise_ceiling(responses, num_averaged=num_averaged, clamp=False), expected, rtol=1e-9)
    clamped = noise_ceiling(responses, num_averaged=num_averaged)
    np.testing.assert_allclose(clamped, np.maximum(expected, 0), rtol=1e-9)


def test_noise_ceiling_against_the_f_statistic_of_scipy():
    responses = trials(0.3, 30, 5).double()
    f = np.array([scipy.stats.f_oneway(*responses[:, :, v].numpy()).statistic for v in range(5)])
    np.testing.assert_allclose(noise_ceiling(responses, clamp=False), 1 - 27 / 29 / f, rtol=1e-9)


@pytest.mark.parametrize("num_stimuli", [100, 1000])
def test_noise_ceiling_is_nsds_but_for_terms_of_one_over_the_number_of_stimuli(num_stimuli):
    responses = trials(0.5, num_stimuli, 10).double()
    flat = responses.reshape(-1, 10)
    z = ((flat - flat.mean(0)) / flat.std(0, correction=0)).reshape(responses.shape)
    np.testing.assert_allclose(noise_ceiling(z), ref.nsd_noise_ceiling(z.numpy()), atol=3 / num_stimuli)
    np.testing.assert_allclose(noise_ceiling(z), ref.noise_ceiling(responses.numpy()), atol=3 / num_stimuli)


@pytest.mark.parametrize(("num_stimuli", "tolerance"), [(5, 0.1), (10, 0.04), (20, 0.02), (100, 0.01)])
def test_a_single_trials_ceiling_from_few_stimuli(num_stimuli, tolerance):
    """Read as .461, .524, .566 and .593 by a total variance with ddof 0."""
    found = noise_ceiling(trials(0.6, num_stimuli, single=True), num_averaged=1).mean()
    assert float(found) == pytest.approx(0.6, abs=tolerance)


@pytest.mark.parametrize("truth", [0.0, 0.058, 0.6])
@pytest.mark.parametrize("num_stimuli", [10, 20, 100])
def test_the_unclamped_ceiling_of_averages_is_unbiased(truth, num_stimuli):
    found = noise_ceiling(trials(truth, num_stimuli, 20_000), clamp=False)
    assert float(found.mean()) == pytest.approx(truth, abs=4 * float(found.std()) / 20_000**0.5)


@pytest.mark.parametrize(("num_stimuli", "stated"), [(20, 0.162), (100, 0.069), (1000, 0.021)])
def test_the_stated_bias_of_a_clamped_ceiling_of_noise(num_stimuli, stated):
    assert float(noise_ceiling(trials(0, num_stimuli, 2000)).mean()) == pytest.approx(stated, abs=0.012)


@pytest.mark.parametrize("truth", [0.0, 0.6])
@pytest.mark.parametrize("share", [0.0, 0.3])
def test_the_standard_error_is_the_spread_over_recordings(truth, share):
    responses = missing(trials(truth, 50, 4000), share)
    spread = float(noise_ceiling(responses, clamp=False).std())
    assert float(noise_ceiling_error(responses).mean()) == pytest.approx(spread, rel=0.06)


def test_the_standard_error_by_leaving_out():
    responses = missing(trials(0.4, 12, 3)).double()
    left_out = [anova(np.delete(responses.numpy(), i, 0)) for i in range(12)]
    expected = np.sqrt(11 / 12 * ((np.array(left_out) - np.mean(left_out, 0)) ** 2).sum(0))
    np.testing.assert_allclose(noise_ceiling_error(responses), expected, rtol=1e-8)
    assert noise_ceiling_error(responses[:4]).isnan().all()


def test_trials_in_any_order_give_the_ceiling_of_the_grid():
    responses = missing(trials(0.5, 30, 7))
    order = torch.randperm(90, generator=torch.Generator().manual_seed(2))
    stimulus = torch.arange(30).repeat_interleave(3) * 11 - 5
    flat = responses.reshape(90, 7)
    found = noise_ceiling_of_trials(flat[order], stimulus[order], num_averaged=1)
    torch.testing.assert_close(found, noise_ceiling(responses, num_averaged=1))
    here = ~flat[:, 0].isnan()  # rows that aren't there are values that are missing
    found = noise_ceiling_of_trials(flat[here][:, :1], stimulus[here])
    torch.testing.assert_close(found, noise_ceiling(responses[:, :, :1]))


def test_blocks_of_voxels(monkeypatch):
    responses = missing(trials(0.5, 30, 7))
    whole, error = noise_ceiling(responses), noise_ceiling_error(responses)
    monkeypatch.setattr(ceiling, "_BLOCK", 60)
    torch.testing.assert_close(noise_ceiling(responses), whole)
    torch.testing.assert_close(noise_ceiling_error(responses), error)
    assert noise_ceiling(responses[:, :, :0]).shape == (0,)


@pytest.mark.parametrize(("scale", "shift"), [(1e-20, 0.0), (1e18, 0.0), (1.0, 100.0)])
def test_unit_and_baseline_do_not_matter(scale, shift):
    responses = trials(0.5, 50, 4)
    torch.testing.assert_close(noise_ceiling(scale * responses + shift), noise_ceiling(responses), atol=1e-4, rtol=0)


def test_noise_ceiling_is_the_explainable_share():
    """The squared correlation of the true signal with the average of three trials is what the ceiling estimates."""
    g = torch.Generator().manual_seed(0)
    signal = torch.randn(5000, 1, 3, generator=g, dtype=torch.float64)
    trials = signal + torch.tensor([0.5, 1.0, 2.0]) * torch.randn(5000, 3, 3, generator=g, dtype=torch.float64)
    explained = pearson(signal[:, 0], trials.mean(1)) ** 2
    torch.testing.assert_close(noise_ceiling(trials), explained, atol=0.02, rtol=0)
    torch.testing.assert_close(noise_ceiling(trials), torch.tensor([12 / 13, 3 / 4, 3 / 7]).double(), atol=0.03, rtol=0)


def test_noise_ceiling_with_missing_repeats():
    g = torch.Generator().manual_seed(0)
    trials = torch.randn(4000, 1, 2, generator=g) + torch.randn(4000, 3, 2, generator=g)
    trials[:1000, 2] = torch.nan
    trials[:500, 1] = torch.nan
    inverse = (3000 / 3 + 500 / 2 + 500) / 4000  # the mean of 1/n, as Algonauts 2023 has it
    torch.testing.assert_close(noise_ceiling(trials), torch.full((2,), 1 / (1 + inverse)), atol=0.03, rtol=0)
    assert (noise_ceiling(trials, num_averaged=1) < noise_ceiling(trials, num_averaged=3)).all()


def test_noise_ceiling_of_noise_is_zero_and_of_nothing_nan():
    noise = torch.randn(2000, 3, 1)
    assert float(noise_ceiling(noise)) < 0.1
    assert float(noise_ceiling(torch.ones(10, 3, 1)).isnan())
    with pytest.raises(ValueError, match="at least 2 repeats"):
        noise_ceiling(torch.randn(10, 1, 3))
    with pytest.raises(ValueError, match="num_averaged must be at least 1; got 0"):
        noise_ceiling(torch.randn(10, 3, 3), num_averaged=0)
    with pytest.raises(ValueError, match=r"stimulus \(trial,\); got \(6, 2\), \(5,\)"):
        noise_ceiling_of_trials(torch.randn(6, 2), torch.arange(5))
    with pytest.raises(ValueError, match="no stimulus was repeated"):
        noise_ceiling_of_trials(torch.randn(6, 2), torch.arange(6))


def test_too_little_for_a_ceiling():
    assert noise_ceiling(torch.randn(1, 3, 2)).isnan().all(), "one stimulus"
    once = torch.randn(10, 3, 2)
    once[:, 1:, 0] = torch.nan
    once[:, :, 1] = torch.nan
    assert noise_ceiling(once).isnan().all(), "no repeats, and no values"
    assert noise_ceiling(torch.randn(3, 3, 100)).isfinite().all()
    equal = torch.tensor([-1.0, 1.0]).expand(10, 2)[..., None]  # repeats differ, their averages don't
    assert float(noise_ceiling(equal)) == 0
    assert -torch.inf < float(noise_ceiling(equal, clamp=False)) < -1e9
    one_off = torch.cat([equal, torch.tensor([[[2.0], [4.0]]])])  # without the last stimulus the averages are all equal
    assert float(noise_ceiling_error(one_off)) > 1e9


def test_rescaled_ceilings():
    nc = torch.tensor([-0.2, 0.0, 0.3, 1.0], dtype=torch.float64)
    torch.testing.assert_close(rescale_ceiling(rescale_ceiling(nc, 1 / 3), 3), nc)
    average, single = (noise_ceiling(trials(0.05, 50, 200).double(), num_averaged=k, clamp=False) for k in (3, 1))
    torch.testing.assert_close(rescale_ceiling(single, 1 / 3), average)
    far = rescale_ceiling(torch.linspace(-5, 0, 50), 1 / 20)
    assert (far <= 0).all() and (far.diff() > 0).all(), "far below 0 it stays below, and in order"
