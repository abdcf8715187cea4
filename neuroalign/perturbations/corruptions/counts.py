"""Poisson counts of many rates in one call, from uniform numbers.

A rate is a multiple of a 256th of the largest rate plus a rest, and its count the sum of two independent Poisson counts: of
the multiple by an alias table, of the rest by inversion, which needs a few terms only. Probabilities are exact up to 2^-24,
the grid of the uniform numbers.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

__all__: list[str] = []

LEVELS = 256
_BLOCK = 1 << 16  # numbers that stay in a CPU's cache
_SMALL = 2.0**-26  # probabilities that the uniform numbers can't tell from 0


def poisson(rates: Tensor, largest: float, first: Tensor, second: Tensor) -> Tensor:
    """Poisson counts with means ``rates``, of their shape.

    Args:
        rates: Means, any shape, from 0 to ``largest``.
        largest: The largest mean that can occur.
        first: Uniform numbers in [0, 1), of the shape of ``rates``.
        second: The same, independent of ``first``.

    Example:
        >>> first, second = (
        ...     torch.rand(100_000, generator=torch.Generator().manual_seed(i)) for i in (0, 1)
        ... )
        >>> counts = poisson(torch.full((100_000,), 7.3), 60.0, first, second)
        >>> (counts.mean() - 7.3).abs() < 0.05, (counts.var() - 7.3).abs() < 0.2
        (tensor(True), tensor(True))
    """
    counts = torch.empty_like(rates, memory_format=torch.contiguous_format)
    block = _BLOCK if rates.device.type == "cpu" else max(rates.numel(), 1)
    parts = (x.reshape(-1).split(block) for x in (rates, first, second, counts))
    for part, one, two, found in zip(*parts):
        found.copy_(_poisson(part, largest, one, two))
    return counts


def _poisson(rates: Tensor, largest: float, first: Tensor, second: Tensor) -> Tensor:
    share, other, num = _tables(float(largest), rates.device)
    step = largest / LEVELS
    level = (rates / step).floor_().clamp_(0, LEVELS - 1)
    place = first * num
    bucket = place.floor()
    entry = (level * num).add_(bucket).int()
    counts = torch.where(place.sub_(bucket) < share.index_select(0, entry), bucket, other.index_select(0, entry))
    rest = (rates - level.mul_(step)).clamp_min_(0)
    chance = (-rest).exp_()  # of k events of the rest
    below = chance.clone()
    for k in range(1, _num_terms(step)):
        counts += torch.ge(second, below, out=place)
        below += chance.mul_(rest).div_(k)
    return counts


def _num_terms(rate: float) -> int:
    """How many counts of a Poisson variable can occur, up to a negligible probability."""
    num, chance, left = 1, math.exp(-rate), 1 - math.exp(-rate)
    while left > _SMALL:
        chance *= rate / num
        left -= chance
        num += 1
    return num + 1


@lru_cache(maxsize=16)
def _tables(largest: float, device: torch.device) -> tuple[Tensor, Tensor, int]:
    """Alias tables of Poisson counts with means ``level * largest / LEVELS``, flat, and their number of buckets a level."""
    mean = torch.arange(LEVELS, dtype=torch.float64)[:, None] * (largest / LEVELS)
    count = torch.arange(math.ceil(largest + 6 * math.sqrt(largest) + 20), dtype=torch.float64)
    chance = (torch.xlogy(count, mean) - mean - torch.lgamma(count + 1)).exp()
    chance = chance[:, : int((chance.amax(0) > _SMALL).nonzero().max()) + 1]
    share, other = alias_tables(chance / chance.sum(1, keepdim=True))
    return share.flatten().float().to(device), other.flatten().float().to(device), share.shape[1]


def alias_tables(chances: Tensor) -> tuple[Tensor, Tensor]:
    """Walker's alias tables of discrete distributions, one a row: which value a uniform bucket gives.

    Of a bucket i, a share ``share[i]`` belongs to the value i and the rest to the value ``other[i]``.

    Args:
        chances: (level, value) probabilities that sum to 1 in each row, float64.

    Returns:
        ``share`` (level, value) float64 in [0, 1] and ``other`` (level, value) int64.

    Example:
        >>> alias_tables(torch.tensor([[0.25, 0.75]], dtype=torch.float64))
        (tensor([[0.5000, 1.0000]], dtype=torch.float64), tensor([[1, 1]]))

    Source:
        Walker 1977, ACM Transactions on Mathematical Software 3(3); built by one sweep over light and heavy values
        (Hübschle-Schneider & Sanders 2022, arXiv 1903.00227), for all rows together.
    """
    levels, num = chances.shape
    weight, row = chances * num, torch.arange(levels)
    light = weight <= 1
    lights, heavies = (~light).long().argsort(dim=1, stable=True), light.long().argsort(dim=1, stable=True)
    num_light, num_heavy = light.sum(1), (~light).sum(1)
    share, other = torch.ones_like(weight), torch.arange(num).repeat(levels, 1)
    i, j = torch.zeros(levels, dtype=torch.int64), torch.zeros(levels, dtype=torch.int64)
    heavy = heavies[:, 0]
    left = weight[row, heavy]  # what of the heavy value has no bucket yet
    for _ in range(num):
        # A heavy value fills up the bucket of the next light one; when it has become light itself, the next heavy one fills
        # up its own bucket.
        fills = (left > 1) & (i < num_light) & (j < num_heavy)
        ends = (left <= 1) & (j + 1 < num_heavy)
        small, following = lights[row, i.clamp_max(num - 1)], heavies[row, (j + 1).clamp_max(num - 1)]
        filled, by = torch.where(fills, small, heavy), torch.where(fills, heavy, following)
        part = torch.where(fills, weight[row, small], left)
        moves = fills | ends
        share[row, filled] = torch.where(moves, part, share[row, filled])
        other[row, filled] = torch.where(moves, by, other[row, filled])
        gained = torch.where(fills, weight[row, small], weight[row, following]) - 1
        left = torch.where(moves, left + gained, left)
        i, j, heavy = i + fills, j + ends, torch.where(ends, following, heavy)
    return share, other
