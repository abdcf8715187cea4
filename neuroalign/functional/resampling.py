"""Intervals of quantities that are computed from means over images, by resampling the images."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

__all__: list[str] = []

_BLOCK = 2**24  # number of counts, and of means, that are held at a time


def image_intervals(
    values: np.ndarray, statistic: Callable[[np.ndarray], np.ndarray], *, num_resamples: int = 2000, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """95 % intervals over images, by the bias-corrected and accelerated bootstrap.

    The values of an image are drawn together, so that the interval includes their correlation (a hard image is hard under
    every corruption).

    Args:
        values: (image, column).
        statistic: Function from means over images (..., column) to quantities (..., quantity), NaN where undefined.
        num_resamples: Number of resamples of the bootstrap.
        seed: Seed of the bootstrap.

    Returns:
        Lower and upper ends (quantity,); NaN for a quantity that is undefined in some resample, or the same in all of them.

    Example:
        >>> errors = np.array([[0.0, 1.0], [0.0, 0.0], [1.0, 1.0], [0.0, 1.0], [0.0, 0.0]])
        >>> low, high = image_intervals(errors, lambda means: means.mean(-1, keepdims=True))
        >>> bool(low[0] < errors.mean() < high[0])
        True

    Source:
        Efron 1987, J. Am. Stat. Assoc. 82.
    """
    # Not scipy's bootstrap: it holds (image, image) indices for the acceleration, and also (resample, image) indices.
    from scipy.special import ndtr, ndtri

    n = len(values)
    rng = np.random.default_rng(seed)
    block = _BLOCK // max(values.shape) + 1
    # Draw how often each image occurs: multiplying counts with the values needs no copy of the values per resample.
    counts = (
        rng.multinomial(n, np.full(n, 1 / n), min(block, num_resamples - i)) for i in range(0, num_resamples, block)
    )
    resampled = np.concatenate([statistic(drawn @ values / n) for drawn in counts])
    estimate, total = statistic(values.mean(0)), values.sum(0)
    left_out = (values[i : i + block] for i in range(0, n, block))  # (image, quantity): all images but one
    without = np.concatenate([statistic((total - rows) / max(n - 1, 1)) for rows in left_out])
    low, high = np.full((2, len(estimate)), np.nan)
    for k in range(len(estimate)):
        pull = without[:, k].mean() - without[:, k]
        if not (np.isfinite(resampled[:, k]).all() and np.isfinite(pull).all()) or np.ptp(resampled[:, k]) < 1e-12:
            continue
        below = ((resampled[:, k] < estimate[k]).mean() + (resampled[:, k] <= estimate[k]).mean()) / 2
        bias = ndtri(np.clip(below, 1 / num_resamples, 1 - 1 / num_resamples))
        acceleration = (pull**3).sum() / (6 * (pull**2).sum() ** 1.5)
        ends = bias + ndtri(np.array([0.025, 0.975]))
        low[k], high[k] = np.quantile(resampled[:, k], ndtr(bias + ends / (1 - acceleration * ends)))
    return low, high
