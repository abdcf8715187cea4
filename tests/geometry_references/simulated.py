"""Capacity by trial: random projections, random dichotomies, one linear program for each."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import optimize

Array = NDArray[np.float64]


def is_linearly_separable(points: Array, labels: Array) -> bool:
    """Whether some (w, b) has y_m (<w, x_m> + b) > 0 for all m: max margin over |w|_inf <= 1 by linear programming."""
    points = np.asarray(points, dtype=np.float64)
    points = points - points.mean(axis=0)
    scale = np.max(np.linalg.norm(points, axis=1))
    points = points / scale if scale > 0 else points
    num_points, n = points.shape
    # Unknowns (w, b, margin): -y (w x + b) + margin <= 0, margin maximised.
    matrix = np.column_stack([-labels[:, None] * points, -labels, np.ones(num_points)])
    objective = np.zeros(n + 2)
    objective[-1] = -1.0
    bounds = [(-1.0, 1.0)] * n + [(None, None), (None, 1.0)]
    answer = optimize.linprog(objective, A_ub=matrix, b_ub=np.zeros(num_points), bounds=bounds, method="highs")
    if answer.status != 0:
        raise RuntimeError(answer.message)
    return bool(-answer.fun > 1e-7)


def separable_fraction(
    manifolds: list[Array], n: int, *, seed: int, num_projections: int, num_dichotomies: int
) -> float:
    """Fraction of (random N -> n projection with unit columns, balanced random labels) that a hyperplane separates.

    Balanced: floor(P/2) manifolds carry +1 and the rest -1, in random order.
    """
    rng = np.random.default_rng([seed, n])
    count, ambient = len(manifolds), manifolds[0].shape[1]
    sizes = [len(points) for points in manifolds]
    stacked = np.concatenate(manifolds)
    hits = 0
    for _ in range(num_projections):
        projection = rng.standard_normal((ambient, n))
        projection /= np.linalg.norm(projection, axis=0)
        projected = stacked @ projection
        for _ in range(num_dichotomies):
            signs = rng.permutation(np.where(np.arange(count) < count // 2, 1.0, -1.0))
            hits += is_linearly_separable(projected, np.repeat(signs, sizes))
    return hits / (num_projections * num_dichotomies)


def simulated_capacity(
    manifolds: list[Array], *, seed: int = 0, num_projections: int = 10, num_dichotomies: int = 10
) -> dict[str, Any]:
    """P / n*, n* where the separable fraction p(n) crosses 1/2: bisection over n in [2, N], linear interpolation.

    If p(2) >= 1/2 then n* = 2; if p(N) < 1/2 then n* = N and the value is only an upper bound (`bracketed` False).
    """
    manifolds = [np.asarray(points, dtype=np.float64) for points in manifolds]
    evaluated: dict[int, float] = {}

    def fraction(n: int) -> float:
        if n not in evaluated:
            evaluated[n] = separable_fraction(
                manifolds, n, seed=seed, num_projections=num_projections, num_dichotomies=num_dichotomies
            )
        return evaluated[n]

    low, high = 2, manifolds[0].shape[1]
    bracketed = True
    if fraction(low) >= 0.5:
        n_star, bracketed = float(low), False
    elif fraction(high) < 0.5:
        n_star, bracketed = float(high), False
    else:
        while high - low > 1:
            middle = (low + high) // 2
            if fraction(middle) < 0.5:
                low = middle
            else:
                high = middle
        n_star = low + (0.5 - fraction(low)) / (fraction(high) - fraction(low)) * (high - low)
    return {
        "capacity": len(manifolds) / n_star,
        "num_features": n_star,
        "bracketed": bracketed,
        "fractions": evaluated,
    }
