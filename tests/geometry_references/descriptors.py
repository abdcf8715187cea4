"""Plain measures of clouds of points, with loops."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def subspace_overlap(U: Array, V: Array) -> float:
    """mean_{i <= r} cos^2(theta_i): principal angles between the column spans of U, V (N, .), r the smaller rank."""
    bases = []
    for matrix in (U, V):
        left, singular, _ = np.linalg.svd(np.asarray(matrix, dtype=np.float64), full_matrices=False)
        rank = int(np.sum(singular > singular[0] * 1e-12))
        bases.append(left[:, :rank])
    total = 0.0
    for u in bases[0].T:
        for v in bases[1].T:
            total += float(u @ v) ** 2
    return total / min(bases[0].shape[1], bases[1].shape[1])


def _spectrum(points: Array, center: bool) -> Array:
    """Singular values of the points (M, N), about their mean if `center`."""
    points = np.asarray(points, dtype=np.float64)
    if center:
        points = points - points.mean(axis=0)
    return np.linalg.svd(points, compute_uv=False)


def effective_rank(points: Array, spectrum: str = "eigen", *, center: bool = True) -> float:
    """exp(-sum_i p_i log p_i), p the normalised covariance eigenvalues ("eigen") or singular values ("singular")."""
    if spectrum not in ("eigen", "singular"):
        raise ValueError(f"unknown spectrum {spectrum!r}")
    values = _spectrum(points, center)
    values = values**2 if spectrum == "eigen" else values
    entropy = 0.0
    for value in values:
        p = value / np.sum(values)
        if p > 0:
            entropy -= p * np.log(p)
    return float(np.exp(entropy))


def participation_ratio(points: Array, *, center: bool = True) -> float:
    """(sum_i l_i)^2 / sum_i l_i^2, l the covariance eigenvalues."""
    values = _spectrum(points, center) ** 2
    return float(np.sum(values) ** 2 / np.sum(values**2))


def rms_radius(points: Array) -> float:
    """sqrt(mean_m |x_m - mean|^2) (1/M): the square root of the total variance."""
    points = np.asarray(points, dtype=np.float64)
    center = points.mean(axis=0)
    return float(np.sqrt(sum(float((x - center) @ (x - center)) for x in points) / len(points)))


def within_between_ratio(manifolds: list[Array], weighting: str = "sample") -> float:
    """tr S_W / tr S_B.

    "sample": S_W = 1/M sum_i sum_m |x - c_i|^2, S_B = 1/M sum_i M_i |c_i - x0|^2, x0 the mean of all M samples.
    "class": S_W = mean_i mean_m |x - c_i|^2, S_B = mean_i |c_i - c|^2, c the mean of the class centres.
    """
    if weighting not in ("sample", "class"):
        raise ValueError(f"unknown weighting {weighting!r}")
    manifolds = [np.asarray(points, dtype=np.float64) for points in manifolds]
    total = sum(len(points) for points in manifolds)
    weights = [len(points) / total if weighting == "sample" else 1.0 / len(manifolds) for points in manifolds]
    centers = [points.mean(axis=0) for points in manifolds]
    grand = np.zeros_like(centers[0])
    for weight, center in zip(weights, centers, strict=True):
        grand = grand + weight * center
    within = between = 0.0
    for weight, points, center in zip(weights, manifolds, centers, strict=True):
        within += weight * sum(float((x - center) @ (x - center)) for x in points) / len(points)
        between += weight * float((center - grand) @ (center - grand))
    return within / between
