"""Few-shot learning with prototypes: exact moments of the margin, simulation, and the geometric prediction."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Array = NDArray[np.float64]


def _principal_axes(points: Array) -> tuple[Array, Array, Array]:
    """Mean, standard deviations R_i along the principal axes (1/M), and the axes in rows."""
    center = points.mean(axis=0)
    _, singular, axes = np.linalg.svd(points - center, full_matrices=False)
    return center, singular / np.sqrt(len(points)), axes


def fewshot_snr(x_a: Array, x_b: Array, num_shots: int, *, with_noise_overlap: bool = False) -> float:
    """Signal-to-noise ratio of an m-shot prototype rule, for a test point of class a against class b.

    SNR_a = 1/2 (|d|^2 + (R_b^2 / R_a^2 - 1) / m) / sqrt(1 / (D_a m) + |d . U_b|^2 / m + |d . U_a|^2)

    with R_i^2 the variances (1/M) along the principal axes u_i, R^2 = sum_i R_i^2 the TOTAL variance,
    D = (sum R_i^2)^2 / sum R_i^4, d = (x0_a - x0_b) / R_a and |d . U|^2 = sum_i (d . u_i)^2 R_i^2 / R_a^2 (both
    classes' axes are scaled by R_a).  The total variance is the only reading under which the numerator is E h / R_a^2
    of `prototype_margin_moments` exactly.  `with_noise_overlap` adds, under the root,
    sum_ij (u_i . w_j)^2 R_i^2 R'_j^2 / (R_a^4 m) = tr(S_a S_b) / (R_a^4 m); the two 1/m^2 terms are always left out.
    """
    center_a, radii_a, axes_a = _principal_axes(np.asarray(x_a, dtype=np.float64))
    center_b, radii_b, axes_b = _principal_axes(np.asarray(x_b, dtype=np.float64))
    total_a, total_b = float(np.sum(radii_a**2)), float(np.sum(radii_b**2))
    dimension_a = total_a**2 / float(np.sum(radii_a**4))
    difference = (center_a - center_b) / np.sqrt(total_a)
    overlap_a = sum(float(difference @ u) ** 2 * r**2 / total_a for u, r in zip(axes_a, radii_a, strict=True))
    overlap_b = sum(float(difference @ u) ** 2 * r**2 / total_a for u, r in zip(axes_b, radii_b, strict=True))
    noise = 1.0 / (dimension_a * num_shots) + overlap_b / num_shots + overlap_a
    if with_noise_overlap:
        cosines = axes_a @ axes_b.T
        noise += float(radii_a**2 @ cosines**2 @ radii_b**2) / total_a**2 / num_shots
    signal = float(difference @ difference) + (total_b / total_a - 1.0) / num_shots
    return 0.5 * signal / float(np.sqrt(noise))


def fewshot_error(snr: float) -> float:
    """H(SNR) = int_SNR^inf Dt, the Gaussian upper tail."""
    return float(stats.norm.sf(snr))


def prototype_margin_moments(mu_a: Array, S_a: Array, mu_b: Array, S_b: Array, m: int) -> tuple[float, float]:
    """Exact mean and variance of h = |x - xbar_b|^2 / 2 - |x - xbar_a|^2 / 2 for Gaussian classes.

    x ~ N(mu_a, S_a), prototypes xbar the means of m fresh points of each class, d = mu_a - mu_b:
      E h = (|d|^2 + (tr S_b - tr S_a) / m) / 2
      Var h = d^T S_a d + d^T S_b d / m + (tr S_a S_b + tr S_a^2) / m + (tr S_a^2 + tr S_b^2) / (2 m^2).
    (h = |d|^2/2 + d.x' - d.e_b - x'.e_b + x'.e_a + |e_b|^2/2 - |e_a|^2/2, whose terms are mutually uncorrelated.)
    """
    d = np.asarray(mu_a, dtype=np.float64) - np.asarray(mu_b, dtype=np.float64)
    mean = 0.5 * (d @ d + (np.trace(S_b) - np.trace(S_a)) / m)
    variance = d @ S_a @ d + d @ S_b @ d / m
    variance += (np.trace(S_a @ S_b) + np.trace(S_a @ S_a)) / m
    variance += (np.trace(S_a @ S_a) + np.trace(S_b @ S_b)) / (2.0 * m**2)
    return float(mean), float(variance)


def unbiased_margin_moments(x_a: Array, x_b: Array, m: int) -> tuple[float, float]:
    """`prototype_margin_moments` of the populations of which x_a and x_b are samples.

    Each moment by what is unbiased for Gaussian samples, with S^ of ddof 1 and v = M - 1:
      |d|^2 by |d^|^2 - tr S^_a / M_a - tr S^_b / M_b,
      tr S^2 by v^2 / ((v - 1)(v + 2)) (tr S^^2 - (tr S^)^2 / v), but at least (tr S^)^2 / N,
      d^T S_a d by d^T S^_a d - tr S_a^2 / M_a - tr S_a S_b / M_b, but at least 0.
    """
    d = x_a.mean(0) - x_b.mean(0)
    n_a, n_b = len(x_a), len(x_b)
    S_a, S_b = np.cov(x_a.T), np.cov(x_b.T)

    def trace_of_square(S: Array, v: int) -> float:
        found = v**2 / ((v - 1) * (v + 2)) * (np.trace(S @ S) - np.trace(S) ** 2 / v)
        return max(float(found), float(np.trace(S) ** 2 / len(S)))

    aa, bb, ab = trace_of_square(S_a, n_a - 1), trace_of_square(S_b, n_b - 1), float(np.trace(S_a @ S_b))
    squared = d @ d - np.trace(S_a) / n_a - np.trace(S_b) / n_b
    along_a, along_b = (
        max(float(d @ S @ d - own / n_own - ab / n_other), 0.0)
        for S, own, n_own, n_other in ((S_a, aa, n_a, n_b), (S_b, bb, n_b, n_a))
    )
    mean = 0.5 * (squared + (np.trace(S_b) - np.trace(S_a)) / m)
    return float(mean), along_a + along_b / m + (ab + aa) / m + (aa + bb) / (2 * m**2)


def prototype_error_simulated(
    mu_a: Array, S_a: Array, mu_b: Array, S_b: Array, m: int, *, num_trials: int = 10000, seed: int = 0
) -> tuple[float, Array]:
    """Monte Carlo error P(h < 0) of the prototype rule on class a, and the margins h, for Gaussian classes."""
    rng = np.random.default_rng(seed)
    margins = np.zeros(num_trials)
    for n in range(num_trials):
        x = rng.multivariate_normal(mu_a, S_a, method="cholesky")
        prototype_a = rng.multivariate_normal(mu_a, S_a, size=m, method="cholesky").mean(axis=0)
        prototype_b = rng.multivariate_normal(mu_b, S_b, size=m, method="cholesky").mean(axis=0)
        margins[n] = 0.5 * np.sum((x - prototype_b) ** 2) - 0.5 * np.sum((x - prototype_a) ** 2)
    return float(np.mean(margins < 0)), margins
