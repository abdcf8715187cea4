"""How well a predictor does on held-out images: the median correlation over voxels, with its interval over images."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from neuroalign.functional.correlation import pearson
from neuroalign.functional.median import nanmedian
from neuroalign.functional.resampling import image_intervals

__all__ = ["HeldOutCorrelation", "held_out_correlation"]


class HeldOutCorrelation(NamedTuple):
    """The median over voxels of the Pearson correlation over held-out images.

    Attributes:
        median: The median, in [-1, 1]. Voxels whose correlation is undefined are left out.
        low: Lower end of its 95 % interval over images; NaN if it is unknown.
        high: Upper end.
        num_images: Number of held-out images.
        num_voxels: Number of voxels that have a correlation.
    """

    median: float
    low: float
    high: float
    num_images: int
    num_voxels: int


def held_out_correlation(
    preds: Tensor | np.ndarray, target: Tensor | np.ndarray, *, num_resamples: int = 1000, seed: int = 0
) -> HeldOutCorrelation:
    """The median correlation over voxels, and its 95 % interval over other images of the same kind.

    The interval is that of the bias-corrected and accelerated bootstrap over images, which keeps the voxels of an image
    together. It says nothing about other subjects or other trainings.

    Args:
        preds: (stimulus, voxel).
        target: (stimulus, voxel), one row per image, NaN where missing.
        num_resamples: Number of resamples.
        seed: Seed of the resamples.

    Raises:
        ValueError: If the shapes differ, a value is infinite, or no voxel has a correlation.

    Example:
        >>> target = torch.randn(100, 8)
        >>> found = held_out_correlation(target + torch.randn(100, 8), target)
        >>> found.low < found.median < found.high, found.num_images
        (True, 100)

    Source:
        Efron 1987, J. Am. Stat. Assoc. 82.
    """
    preds, target = (torch.as_tensor(x).detach().cpu().double() for x in (preds, target))
    per_voxel = pearson(preds, target)
    defined = ~per_voxel.isnan()
    if not bool(defined.any()):
        raise ValueError("no voxel has a correlation: predictions or responses are constant or missing in all of them")
    values = _moments(preds[:, defined].numpy(), target[:, defined].numpy())
    low, high = image_intervals(values, _median_correlation, num_resamples=num_resamples, seed=seed)
    median = float(nanmedian(per_voxel))
    return HeldOutCorrelation(median, float(low[0]), float(high[0]), len(target), int(defined.sum()))


def _moments(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """For each image the values whose means over images give the correlations: (stimulus, 6 * voxel)."""
    valid = ~np.isnan(y)
    x, y = (
        np.where(valid, z - np.mean(z, axis=0, where=valid), 0) for z in (x, y)
    )  # centred, so that squares stay small
    return np.concatenate([valid, x, y, x * x, y * y, x * y], axis=1)


def _median_correlation(means: np.ndarray) -> np.ndarray:
    n, x, y, xx, yy, xy = np.split(means, 6, axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        variances = (xx - x * x / n) * (yy - y * y / n)
        r = np.where(variances > 0, (xy - x * y / n) / np.sqrt(np.maximum(variances, 0)), np.nan)
    empty = np.isnan(r).all(-1, keepdims=True)
    return np.where(empty, np.nan, np.nanmedian(np.where(empty, 0, r), axis=-1, keepdims=True))
