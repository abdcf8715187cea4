"""Geometry of recorded responses: each region's category manifolds, compared on equal terms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from neuroalign.data import Responses
from neuroalign.functional import ManifoldStatistics, manifold_capacity, pearson, signal_gram
from neuroalign.types import unknown

_MEASURES = ("capacity", "radius", "dimension", "rms_radius")


class ResponseGeometry(NamedTuple):
    """What :func:`response_geometry` returns.

    Attributes:
        table: A row a region: ``region``, ``num_voxels``, ``reliability`` (median of the voxels used), ``num_classes``,
            ``num_stimuli``, ``repeats`` ("cross-validated" or "none"), and each measure with the ends of its interval,
            ``<measure>_low`` and ``<measure>_high``.
        contrasts: A row for every two regions and measure: ``region``, ``other``, ``measure``, ``difference``, ``low``,
            ``high``, from the same resampled categories for both.
        classes: A row for each region and category, with the measures.
    """

    table: pd.DataFrame
    contrasts: pd.DataFrame
    classes: pd.DataFrame


def response_geometry(
    responses: Responses,
    labels: Mapping[int, int],
    *,
    regions: Sequence[str] | None = None,
    num_voxels: int | None = None,
    match_reliability: bool = True,
    num_subsets: int = 10,
    num_samples: int = 200,
    num_bootstrap: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> ResponseGeometry:
    r"""Capacity, radius and dimension of categories in each region's responses, noise aware and matched between regions.

    Noise makes manifolds larger, and more voxels or cleaner ones make a region look better than another. Therefore

    - every stimulus with two trials or more is measured twice, by the means of its odd and its even trials, and the geometry
      is that of their shared signal (:func:`neuroalign.functional.signal_gram`); without repeats it is that of the noisy
      responses, and the column ``repeats`` says so;
    - regions are compared on equally many voxels of equal reliability: within every tenth of the correlation between the
      two measurements (without repeats, of the noise ceiling's square root) all regions give as many voxels as the one that
      has fewest, chosen anew for each of ``num_subsets`` subsets, over which measures are averaged;
    - intervals come from resampling categories, the same ones for all regions, so that contrasts are paired. They hold the
      centres' shared directions and the mean of all stimuli fixed.

    Capacity is the harmonic mean over categories, the other measures arithmetic ones. ``rms_radius`` is
    :math:`\sqrt{\mathrm{mean}_i|x_i-\mu_c|^2}` relative to the RMS distance of all categories' centres from their mean.

    Args:
        responses: A row a trial, or a row a stimulus; of one subject. z-score sessions first.
        labels: Category of each stimulus, by the stimulus's number; stimuli without one are left out.
        regions: Names in the order wanted; default all, in the order of their first voxel.
        num_voxels: At most so many voxels a region; None as many as matching leaves.
        match_reliability: False matches the number of voxels only.
        num_subsets: Subsets of voxels.
        num_samples: Gaussian draws a manifold.
        num_bootstrap: Resamplings of the categories.
        confidence: Of the intervals.
        seed: Of subsets, draws and resampling.

    Raises:
        ValueError: If a region doesn't exist (with near matches), voxels are invalid, fewer than two categories have two
            stimuli, or no two voxels of every region share a range of reliability.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> signal = np.repeat(rng.standard_normal((5, 40)), 8, axis=0) + 0.5 * rng.standard_normal((40, 40))
        >>> trials = np.repeat(signal, 4, axis=0) + rng.standard_normal((160, 40))
        >>> responses = Responses.from_arrays(trials, stimulus=np.repeat(np.arange(40), 4), roi=["V1"] * 20 + ["TO"] * 20)
        >>> found = response_geometry(responses, {i: i // 8 for i in range(40)}, num_bootstrap=200)
        >>> list(found.table["region"]), list(found.table["repeats"])
        (['V1', 'TO'], ['cross-validated', 'cross-validated'])

    Source:
        Shao et al. 2024, arXiv 2405.02564 (geometry of the regions' manifolds).
    """
    names = list(dict.fromkeys(responses.roi.tolist()))
    regions = names if regions is None else list(regions)
    for region in regions:
        if region not in names:
            raise ValueError(unknown("region", region, names))
    if num_voxels is not None and num_voxels < 2:
        raise ValueError(f"num_voxels must be at least 2; got {num_voxels}")
    if num_subsets < 1 or num_bootstrap < 1:
        raise ValueError("num_subsets and num_bootstrap must be at least 1")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must be between 0 and 1; got {confidence}")
    bad = ~np.isfinite(responses.values).all(0) & np.isin(responses.roi, regions)
    if bad.any():
        raise ValueError(f"{int(bad.sum())} voxels hold NaN or infinite values; use responses.drop_invalid() first")
    first, second, category, repeated = _measurements(responses, labels)
    reliability = _reliability(responses, first, second, repeated)
    voxels = {region: np.flatnonzero(responses.roi == region) for region in regions}
    rng = np.random.default_rng(seed)
    per_class: dict[str, list[np.ndarray]] = {region: [] for region in regions}
    used: dict[str, list[float]] = {region: [] for region in regions}
    for subset in range(num_subsets):
        chosen = _matched(voxels, reliability if match_reliability else None, num_voxels, rng)
        for region, index in chosen.items():
            found = _geometry(first[:, index], second[:, index], category, repeated, num_samples, seed + subset)
            per_class[region].append(found)
            used[region].append(float(np.median(reliability[index])))
    common = {
        "num_voxels": len(chosen[regions[0]]),
        "num_stimuli": len(category),
        "repeats": "cross-validated" if repeated else "none",
    }
    rows = {region: common | {"reliability": float(np.mean(used[region]))} for region in regions}
    measured = {region: np.mean(values, axis=0) for region, values in per_class.items()}
    return _tables(measured, rows, category.unique().tolist(), num_bootstrap, confidence, rng)


def _tables(
    measured: Mapping[str, np.ndarray],
    rows: Mapping[str, dict[str, object]],
    categories: Sequence[int],
    num_bootstrap: int,
    confidence: float,
    rng: np.random.Generator,
) -> ResponseGeometry:
    """Means and paired contrasts over resampled categories, of values (class, measure) by region."""
    draws = rng.integers(len(categories), size=(num_bootstrap, len(categories)))
    ends = [(1 - confidence) / 2, (1 + confidence) / 2]
    values = {region: _summary(x) for region, x in measured.items()}
    resampled = {region: _summary(x[draws]) for region, x in measured.items()}
    table = []
    for region, value in values.items():
        low, high = np.quantile(resampled[region], ends, axis=0)
        columns = {
            f"{name}{end}": float(x[k])
            for k, name in enumerate(_MEASURES)
            for end, x in (("", value), ("_low", low), ("_high", high))
        }
        table.append({"region": region, "num_classes": len(categories)} | rows[region] | columns)
    contrasts = []
    for region, other in combinations(values, 2):
        low, high = np.quantile(resampled[region] - resampled[other], ends, axis=0)
        difference = values[region] - values[other]
        contrasts += [(region, other, name, difference[k], low[k], high[k]) for k, name in enumerate(_MEASURES)]
    classes = [
        {"region": region, "class": c, "capacity": 1 / row[0]} | dict(zip(_MEASURES[1:], row[1:]))
        for region, x in measured.items()
        for c, row in zip(categories, x)
    ]
    names = ["region", "other", "measure", "difference", "low", "high"]
    return ResponseGeometry(pd.DataFrame(table), pd.DataFrame(contrasts, columns=names), pd.DataFrame(classes))


def _measurements(responses: Responses, labels: Mapping[int, int]) -> tuple[Tensor, Tensor, Tensor, bool]:
    """Two measurements (stimulus, voxel) of every stimulus with a category, the categories, and whether they differ."""
    stimuli, inverse, counts = np.unique(responses.stimulus, return_inverse=True, return_counts=True)
    has_label = np.array([int(s) in labels for s in stimuli])
    repeated = has_label & (counts >= 2)
    category = np.array([labels.get(int(s), -1) for s in stimuli])

    def usable(kept: np.ndarray) -> np.ndarray:
        present, sizes = np.unique(category[kept], return_counts=True)
        return kept & np.isin(category, present[sizes >= 2])

    cross_validated = len(np.unique(category[usable(repeated)])) >= 2
    kept = usable(repeated if cross_validated else has_label)
    num = len(np.unique(category[kept]))
    if num < 2:
        raise ValueError(
            f"the geometry of categories needs at least two with two stimuli each; got {num} "
            f"({int(has_label.sum())} of {len(stimuli)} stimuli have a label)"
        )
    order = np.argsort(inverse, kind="stable")
    trial = np.empty(len(order), dtype=np.int64)  # 0, 1, 2, ... within its stimulus
    trial[order] = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)

    def mean(rows: np.ndarray) -> Tensor:
        sums = np.zeros((len(stimuli), responses.values.shape[1]))
        np.add.at(sums, inverse[rows], responses.values[rows])
        return torch.from_numpy(sums[kept] / np.bincount(inverse[rows], minlength=len(stimuli))[kept, None])

    if cross_validated:
        first, second = mean(trial % 2 == 0), mean(trial % 2 == 1)
    else:
        first = second = mean(np.ones(len(trial), dtype=bool))
    return first, second, torch.from_numpy(category[kept]), cross_validated


def _reliability(responses: Responses, first: Tensor, second: Tensor, repeated: bool) -> np.ndarray:
    """How well each voxel repeats itself, (voxel,): correlation of the measurements, or what the noise ceiling says."""
    if repeated:
        return pearson(first, second).nan_to_num(0).numpy()
    if responses.noise_ceiling is not None:
        return np.sqrt(np.nan_to_num(responses.noise_ceiling).clip(0, 1))
    return np.ones(responses.num_voxels)


def _matched(
    voxels: Mapping[str, np.ndarray], reliability: np.ndarray | None, most: int | None, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """As many voxels of every region, and as many in every tenth of reliability."""
    level = {region: np.zeros(len(index), dtype=int) for region, index in voxels.items()}
    if reliability is not None:
        level = {region: np.floor(reliability[index] * 10).astype(int) for region, index in voxels.items()}
    bins = np.unique(np.concatenate(list(level.values())))
    share = {b: min(int((x == b).sum()) for x in level.values()) for b in bins}
    total = sum(share.values())
    if total < 2:
        raise ValueError(
            "the regions share no two voxels of like reliability; pass match_reliability=False, or fewer regions"
        )
    if most is not None and total > most:
        pool = rng.permutation(np.repeat(bins, [share[b] for b in bins]))[:most]
        share = {b: int((pool == b).sum()) for b in bins}
    return {
        region: np.sort(
            np.concatenate([rng.permutation(index[level[region] == b])[: share[b]] for b in bins]).astype(np.int64)
        )
        for region, index in voxels.items()
    }


def _geometry(
    first: Tensor, second: Tensor, category: Tensor, repeated: bool, num_samples: int, seed: int
) -> np.ndarray:
    """Inverse capacity, radius, dimension and relative RMS radius of each category, (class, measure)."""
    gram = signal_gram(first, second, shrink=repeated)
    statistics = ManifoldStatistics.from_gram(gram, category, num_features=first.shape[1])
    found = manifold_capacity(statistics, num_samples=num_samples, seed=seed)
    spread = statistics.within.diagonal(dim1=1, dim2=2).sum(1) / statistics.sizes
    between = statistics.centers.diagonal().mean()
    columns = (
        1 / found.capacity_per_manifold,
        found.radius_per_manifold,
        found.dimension_per_manifold,
        (spread / between).sqrt(),
    )
    return torch.stack(columns, 1).numpy()


def _summary(values: np.ndarray) -> np.ndarray:
    """Means over classes (..., class, measure); the first measure is an inverse capacity and comes back as a capacity."""
    means = values.mean(-2)
    means[..., 0] = 1 / means[..., 0]
    return means
