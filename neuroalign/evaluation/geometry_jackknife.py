"""Geometry of one region with categories or voxels left out, from which intervals of response geometry are computed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from neuroalign.functional import ManifoldStatistics, center_directions
from neuroalign.functional.anchor_geometry import GaussianDraws, Normals, anchor_geometry, draw
from neuroalign.functional.capacity import CenterAtMeanError
from neuroalign.functional.signal_grams import shrunk

__all__: list[str] = []

_CATEGORY_GROUPS = 20  # at most; with no more categories than this, each is left out alone
_VOXEL_GROUPS = 10
_COARSE_GROUPS = 4  # of categories, when voxels are left out with them
_STARTS = 10  # of the search for shared directions: few, since results are averaged over subsets of voxels
_ELEMENTS = 1 << 22  # in one block of draws, in float64: 32 MiB


class Left(NamedTuple):
    """Means over categories of (inverse capacity, radius, dimension, RMS radius), with parts of the data left out.

    Attributes:
        nothing: (measure,), from all data.
        categories: (group, measure), without one group of categories.
        coarse: (coarse group, measure), without one larger group of categories.
        voxels: (block, measure), without one block of voxels; no blocks if voxels are fixed.
        both: (coarse group, block, measure), without one larger group of categories and one block of voxels.
    """

    nothing: np.ndarray
    categories: np.ndarray
    coarse: np.ndarray
    voxels: np.ndarray
    both: np.ndarray


class _Sample(NamedTuple):
    """Statistics of the categories that are kept, with and without the shared directions."""

    whole: ManifoldStatistics
    apart: ManifoldStatistics
    kept: Tensor

    def without(self, left_out: Tensor) -> _Sample:
        kept = torch.arange(len(self.kept))[~torch.isin(self.kept, left_out)]
        return _Sample(self.whole.select(kept), self.apart.select(kept), self.kept[kept])


def left_out(
    first: Tensor, second: Tensor, category: Tensor, *, shrink: bool, voxels: bool, num_samples: int, seed: int
) -> tuple[np.ndarray, Left]:
    """Measures of every category, (category, measure), and their means with parts of the data left out.

    Args:
        first: (stimulus, voxel).
        second: (stimulus, voxel), the other measurement; the same as ``first`` if there are no repeats.
        category: (stimulus,), integers.
        shrink: Whether there are two measurements, so that noise can be removed.
        voxels: Whether blocks of voxels are left out, too.
        num_samples: Gaussian draws per category, the same whatever is left out.
        seed: Seed of the draws, and of the search for the directions that centres share.
    """
    num, width = len(category.unique()), first.shape[1]
    blocks = _parts(width, min(_VOXEL_GROUPS, width // 2)) if voxels else []
    one, two = first - first.mean(0), second - second.mean(0)
    products = [one[:, b] @ two[:, b].T for b in blocks] or [one @ two.T]
    products = [(k + k.T) / 2 for k in products]
    total = torch.stack(products).sum(0)

    def statistics(product: Tensor, num_voxels: int) -> ManifoldStatistics:
        gram = shrunk(product) if shrink else product
        return ManifoldStatistics.from_gram(gram, category, num_features=num_voxels)

    whole = statistics(total, width)
    coefficients = center_directions(whole.centers, num_starts=_STARTS, seed=seed).coefficients
    every = torch.arange(num)
    full = _Sample(whole, _without_directions(whole, coefficients), every)
    fewer = []
    for block, product in zip(blocks, products):
        part = statistics(total - product, width - len(block))
        fewer.append(_Sample(part, _without_directions(part, coefficients), every))
    # Neighbours in a list of categories are often alike, so a group takes categories at equal distances in the list.
    single, coarse = (
        [every[i :: min(num, groups)] for i in range(min(num, groups))] if num > 2 else []
        for groups in (_CATEGORY_GROUPS, _COARSE_GROUPS if fewer else 0)
    )
    samples = [full, *(full.without(g) for g in single), *(full.without(g) for g in coarse), *fewer]
    samples += [sample.without(g) for g in coarse for sample in fewer]
    normals = Normals.sample(num, num_samples, whole.within.shape[1], whole.within.shape[1], seed)
    values = _measures(samples, normals)
    means = iter([_mean(*v) for v in values])

    def take(*shape: int) -> np.ndarray:
        width = values[0][0].shape[1]
        return np.array([next(means) for _ in range(int(np.prod(shape)))]).reshape(*shape, width)

    parts = take(), take(len(single)), take(len(coarse)), take(len(fewer)), take(len(coarse), len(fewer))
    return values[0][0].numpy(), Left(*parts)


def variances(left: Left) -> np.ndarray:
    """Jackknife variance of each measure, (measure,), from means with parts left out; NaN if nothing was left out.

    Leaving out categories shows how measures vary with categories and with the noise; leaving out voxels shows how they vary
    with voxels and with the noise again. The part that is counted twice is estimated from leaving out both, and subtracted.
    """
    categories, voxels = _jackknife(left.categories), _jackknife(left.voxels)
    if not left.both.size:
        return categories
    num, blocks = left.both.shape[:2]
    beyond = left.nothing - left.coarse[:, None] - left.voxels + left.both
    beyond = beyond - beyond.mean(0) - beyond.mean(1, keepdims=True) + beyond.mean((0, 1))
    twice = (num - 1) * (blocks - 1) / (num * blocks) * np.square(beyond).sum((0, 1))
    return np.maximum(categories + voxels - twice, np.maximum(categories, voxels))


def _jackknife(values: np.ndarray) -> np.ndarray:
    """Variance (measure,) of an estimate from its values (group, measure), each with one group left out."""
    num = len(values)
    if num < 2:
        return np.full(values.shape[1], np.nan)
    return (num - 1) / num * np.square(values - values.mean(0)).sum(0)


def _parts(num: int, groups: int) -> list[Tensor]:
    """Split 0, 1, ..., num - 1 into runs of nearly equal length; none if there is only one group."""
    return list(torch.arange(num).tensor_split(groups)) if groups > 1 else []


def _without_directions(statistics: ManifoldStatistics, coefficients: Tensor) -> ManifoldStatistics:
    """The categories' statistics without the directions that these combinations of their centres span."""
    values, vectors = torch.linalg.eigh(coefficients.T @ statistics.centers @ coefficients)
    kept = values > 1e-10 * statistics.centers.diagonal().amax()  # with fewer voxels there can be fewer directions
    rank = int(torch.linalg.matrix_rank(statistics.centers, hermitian=True))
    directions = (coefficients @ vectors[:, kept] / values[kept].sqrt()).flip(1)[:, : max(rank - 1, 0)]
    shared, along = statistics.to_centers @ directions, statistics.centers @ directions
    return statistics._replace(
        within=statistics.within - shared @ shared.mT, centers=statistics.centers - along @ along.T
    )


def _measures(samples: Sequence[_Sample], normals: Normals) -> list[tuple[Tensor, Tensor]]:
    """Measures (category, measure) of every sample, and the lengths (category,) of the centres they are relative to."""
    shapes, draws, exists, lengths, ratios = [], [], [], [], []
    found: list[tuple[Tensor, Tensor]] = []
    most = max(1, _ELEMENTS // normals.point[0].numel())
    for i, sample in enumerate(samples):
        length2 = sample.apart.centers_about_grand_mean.diagonal()
        scale = torch.maximum(
            sample.whole.centers.diagonal().amax(), sample.whole.within.diagonal(dim1=1, dim2=2).amax()
        )
        if bool((length2 <= 1e-12 * scale).any()):
            raise CenterAtMeanError(
                f"the centre of category number {int(sample.kept[length2.argmin()])} lies at the mean of all stimuli, so "
                "that nothing has a size relative to it; leave that category out"
            )
        shape = sample.apart.within / length2[:, None, None]
        size = sample.apart.sizes.clamp_max(sample.apart.num_features)
        spread = sample.whole.within.diagonal(dim1=1, dim2=2).sum(1) / sample.whole.sizes
        shapes.append(shape)
        draws.append(draw(shape, size, normals.select(sample.kept)))
        exists.append(sample.apart.exists)
        lengths.append(length2.sqrt())
        ratios.append((spread / sample.whole.centers.diagonal().mean()).sqrt())
        if i + 1 < len(samples) and sum(map(len, shapes)) < most:
            continue
        together = GaussianDraws(*(torch.cat(part) for part in zip(*draws)))
        estimates = anchor_geometry(torch.cat(shapes), together, torch.cat(exists), kappa=0.0, variance_reduction=True)
        columns = (estimates.inverse_capacity, estimates.radius, estimates.dimension, torch.cat(ratios))
        found += zip(torch.stack(columns, 1).split([len(r) for r in ratios]), lengths)
        shapes, draws, exists, lengths, ratios = [], [], [], [], []
    return found


def _mean(values: Tensor, lengths: Tensor) -> np.ndarray:
    """Means over categories, (measure,), of values (category, measure)."""
    means = values.mean(0)
    means[1] = (values[:, 1] * lengths).sum() / lengths.sum()
    return means.numpy()
