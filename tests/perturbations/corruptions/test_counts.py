"""Poisson counts from uniform numbers, against their law."""

import numpy as np
import pytest
import torch
from scipy import stats

from neuroalign.functional.draws import image_keys, uniform
from neuroalign.perturbations.corruptions import counts

N = 200_000


def drawn(rate, largest, num=N):
    first, second = (uniform(image_keys(torch.tensor([3]), seed=s), num)[0] for s in (0, 1))
    return counts.poisson(torch.full((num,), float(rate)), largest, first, second)


@pytest.mark.parametrize("largest", [3.0, 60.0, 500.0])
@pytest.mark.parametrize("share", [0.001, 0.0039, 0.3, 0.71, 1.0])
def test_counts_are_poisson(largest, share):
    rate = float(torch.tensor(share * largest))
    found = drawn(rate, largest).long()
    low, high = (int(stats.poisson.ppf(q, rate)) for q in (5e-5, 1 - 5e-5))
    seen = np.bincount(found.clamp(low, high).numpy() - low, minlength=high - low + 1)
    chance = stats.poisson.pmf(np.arange(low, high + 1), rate)
    chance[0] += stats.poisson.cdf(low - 1, rate)
    chance[-1] += stats.poisson.sf(high, rate)
    assert stats.chisquare(seen, N * chance / chance.sum()).pvalue > 1e-3


def test_nothing_comes_of_a_rate_of_nothing():
    assert not drawn(0.0, 60.0).any()


def test_a_shape_and_parts_of_any_size():
    rates = 60 * torch.rand(2, 3, 211, 103)
    first, second = torch.rand_like(rates), torch.rand_like(rates)
    whole = counts.poisson(rates, 60.0, first, second)
    assert whole.shape == rates.shape and torch.equal(whole, whole.round()) and whole.min() >= 0
    part = (slice(1, 2), slice(0, 2), slice(100, 200))
    assert torch.equal(counts.poisson(rates[part], 60.0, first[part], second[part]), whole[part])
    transposed = (x.mT for x in (rates, first, second))
    assert torch.equal(counts.poisson(next(transposed), 60.0, *transposed), whole.mT)


def test_alias_tables_hold_the_chances():
    chances = torch.rand(50, 33, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) ** 8
    chances[0], chances[1] = 1.0, torch.eye(33, dtype=torch.float64)[7]
    chances /= chances.sum(1, keepdim=True)
    share, other = counts.alias_tables(chances)
    assert share.min() >= 0 and share.max() <= 1 + 1e-12
    held = (share / 33).scatter_add(1, other, (1 - share) / 33)
    torch.testing.assert_close(held, chances, atol=1e-12, rtol=0)
