"""NSD's own measure of reliability, ncsnr, computed from betas and compared with the stored one."""

from __future__ import annotations

import numpy as np

__all__: list[str] = []


def ncsnr_of(values: np.ndarray, stimulus: np.ndarray, session: np.ndarray) -> np.ndarray:
    """The ratio of signal to noise of one trial, as NSD's authors compute it.

    Each voxel is z-scored (ddof 1) within each session; the noise variance is the mean, over images shown exactly three
    times, of the variance (ddof 1) of their trials; the signal variance is 1 minus the noise variance. The formula is NSD's
    because stored values must agree with it. :func:`neuroalign.functional.noise_ceiling` uses all repeats, and corrects the
    bias for few images: in simulations of S = 100 images of three trials, the ceiling of their averages by this formula is
    too low by .019, .012 and .005 if the true one is .1, .5 and .8, and by a tenth of that with S = 1,000.

    Args:
        values: (trial, voxel); NaN where missing.
        stimulus: (trial,).
        session: (trial,).

    Returns:
        (voxel,) float64: standard deviation of the signal over that of the noise, 0 where there is no signal; NaN for a
        voxel that is missing or constant in a session.

    Raises:
        ValueError: If no image was shown three times.

    Example:
        >>> noise = np.random.default_rng(0).standard_normal((3000, 4))
        >>> signal = np.repeat(np.random.default_rng(1).standard_normal((1000, 4)), 3, 0)
        >>> ncsnr = ncsnr_of(signal + noise, np.repeat(np.arange(1000), 3), np.ones(3000))
        >>> round(float(ncsnr.mean()), 1)
        1.0

    Source:
        Allen et al. 2022, Methods, "Noise ceiling"; NC = ncsnr^2 / (ncsnr^2 + 1/n) for the mean of n trials.
    """
    z = np.empty(values.shape, dtype=np.float64)
    for number in np.unique(session):
        rows = session == number
        part = values[rows].astype(np.float64)
        std = part.std(0, ddof=1)
        z[rows] = (part - part.mean(0)) / np.where(std > 0, std, np.nan)
    order = np.argsort(stimulus, kind="stable")
    _, starts, counts = np.unique(stimulus[order], return_index=True, return_counts=True)
    if not (counts == 3).any():
        raise ValueError("no image was shown three times, so ncsnr is undefined")
    triples = order[starts[counts == 3][:, None] + np.arange(3)]
    noise = z[triples].var(axis=1, ddof=1).mean(0)
    return np.sqrt(np.maximum(0, 1 - noise)) / np.sqrt(noise)


def compare_ncsnr(
    stored: np.ndarray, values: np.ndarray, stimulus: np.ndarray, session: np.ndarray
) -> tuple[float, int] | None:
    """The largest difference between the stored ncsnr and that of the betas, and the number of compared voxels.

    Voxels without a value on either side are left out. None means that nothing can be compared.
    """
    try:
        computed = ncsnr_of(values, stimulus, session)
    except ValueError:
        return None
    both = np.isfinite(computed) & np.isfinite(stored)
    if not both.any():
        return None
    return float(np.abs(computed - stored)[both].max()), int(both.sum())
