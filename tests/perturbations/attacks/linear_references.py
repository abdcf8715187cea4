"""Exact robustness of linear classifiers z = W x + b in float64, one image and one rival class at a time.

For label y and rival j let a = w_y - w_j and g = a x + b_y - b_j, the margin to hold. A perturbation d moves the margin
to g + a d, so each coordinate does best against the sign of a: d_i = -sign(a_i) m_i with a size m_i that the box limits
to room_i (x_i where a_i > 0, 1 - x_i where a_i < 0, infinity without a box). The label is fooled on the closed set
g + a d <= 0: a tie counts as fooled.

- Linf, budget eps: m_i = min(eps, room_i), the margin falls by sum |a_i| min(eps, room_i).
- L2: the Karush-Kuhn-Tucker conditions give m_i = min(t |a_i|, room_i) for one multiplier t >= 0; the margin falls by
  sum |a_i| min(t |a_i|, room_i) and the norm is sqrt(sum m_i^2). Both grow with t.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
Bools = NDArray[np.bool_]


def _rivals(
    weight: ArrayLike, bias: ArrayLike, x: Array, label: int, box: bool
) -> dict[int, tuple[float, Array, Array]]:
    """Per rival class: the clean margin g, and |a| and the room of the coordinates with a != 0."""
    w, b = np.asarray(weight, dtype=np.float64), np.asarray(bias, dtype=np.float64)
    rivals = {}
    for j in range(len(w)):
        if j == label:
            continue
        a = w[label] - w[j]
        gap = float(np.sum(a * x) + b[label] - b[j])
        room = np.where(a > 0, x, 1 - x) if box else np.full(x.shape, np.inf)
        rivals[j] = (gap, np.abs(a)[a != 0], room[a != 0])
    return rivals


def _first_reaching(goal: float, slopes: Array, ends: Array) -> float:
    """Smallest s >= 0 with sum_i slopes_i min(s, ends_i) >= goal > 0; inf where the sum never gets there."""
    order = np.argsort(ends)
    slopes, ends = slopes[order], ends[order]
    reached = 0.0  # by the coordinates that have run out of room
    for i in range(len(ends)):
        slope = float(np.sum(slopes[i:]))  # of the coordinates that still move up to ends[i]
        if reached + slope * ends[i] >= goal:
            return (goal - reached) / slope
        reached += float(slopes[i] * ends[i])
    return math.inf


def _smallest(gap: float, size: Array, room: Array, norm: str) -> float:
    """Smallest norm that brings the margin to one rival down to 0."""
    if gap <= 0:
        return 0.0
    if norm == "linf":
        return _first_reaching(gap, size, room)
    t = _first_reaching(gap, size**2, room / size)
    return math.inf if math.isinf(t) else math.sqrt(float(np.sum(np.minimum(t * size, room) ** 2)))


def _fall(eps: float, size: Array, room: Array, norm: str) -> float:
    """Most that a budget eps takes off the margin to one rival."""
    if norm == "linf":
        return float(np.sum(size * np.minimum(eps, room)))
    if math.sqrt(float(np.sum(room**2))) <= eps:  # every coordinate reaches its end within the budget
        return float(np.sum(size * room))
    low, high = 0.0, 1.0
    while np.sum(np.minimum(high * size, room) ** 2) < eps**2:
        high *= 2
    for _ in range(200):  # bisection to the last bit of the multiplier
        middle = (low + high) / 2
        if np.sum(np.minimum(middle * size, room) ** 2) < eps**2:
            low = middle
        else:
            high = middle
    return float(np.sum(size * np.minimum(low * size, room)))


def _images(x: ArrayLike, labels: ArrayLike, norm: str) -> tuple[Array, list[int]]:
    """Images as float64 rows and labels as integers."""
    if norm not in ("linf", "l2"):
        raise ValueError(f"norm must be 'linf' or 'l2', not {norm!r}")
    rows = np.asarray(x, dtype=np.float64)
    return rows.reshape(len(rows), -1), [int(label) for label in np.asarray(labels)]


def minimal_norm(
    weight: ArrayLike, bias: ArrayLike, x: ArrayLike, labels: ArrayLike, norm: str = "linf", box: bool = True
) -> Array:
    """Smallest norm (N,) of a perturbation that makes some z_j >= z_y: 0 for a clean error or tie, inf where none can.

    The weights are (C, D), the bias (C,), the images (N, D) or (N, ...) in [0, 1], the labels (N,). Solved exactly on
    the pieces between the ends of the coordinates' rooms.
    """
    rows, targets = _images(x, labels, norm)
    norms = np.full(len(rows), np.inf)
    for n, (row, label) in enumerate(zip(rows, targets)):
        for gap, size, room in _rivals(weight, bias, row, label, box).values():
            norms[n] = min(norms[n], _smallest(gap, size, room, norm))
    return norms


def worst_margins(
    weight: ArrayLike,
    bias: ArrayLike,
    x: ArrayLike,
    labels: ArrayLike,
    eps: ArrayLike,
    norm: str = "linf",
    box: bool = True,
) -> Array:
    """Smallest margins z_y - z_j (N, C) within a budget eps (a number or (N,)); inf in the label's column.

    Each rival has its own worst perturbation.
    """
    rows, targets = _images(x, labels, norm)
    budgets = np.broadcast_to(np.asarray(eps, dtype=np.float64), (len(rows),))
    margins = np.full((len(rows), len(np.asarray(weight))), np.inf)
    for n, (row, label) in enumerate(zip(rows, targets)):
        for j, (gap, size, room) in _rivals(weight, bias, row, label, box).items():
            margins[n, j] = gap - _fall(float(budgets[n]), size, room, norm)
    return margins


def robust(
    weight: ArrayLike,
    bias: ArrayLike,
    x: ArrayLike,
    labels: ArrayLike,
    eps: ArrayLike,
    norm: str = "linf",
    box: bool = True,
) -> Bools:
    """Whether (N,) every rival stays strictly below the label within the budget eps (a number or (N,)).

    In exact arithmetic eps < minimal_norm; at eps equal to it, rounding decides.
    """
    return np.all(worst_margins(weight, bias, x, labels, eps, norm, box) > 0, axis=1)


def minimal_norm_to_target(
    weight: ArrayLike, bias: ArrayLike, x: ArrayLike, targets: ArrayLike, norm: str = "linf", box: bool = True
) -> Array:
    """Smallest norm (N,) of a perturbation that brings the target's logit to those of all others; inf where none can.

    All rivals must be passed at once, W_t d >= g for each: a linear program for Linf; for L2 the least-distance problem of
    Lawson & Hanson (1974, chapter 23), solved by non-negative least squares.
    """
    from scipy.optimize import linprog, nnls

    w, b = np.asarray(weight, dtype=np.float64), np.asarray(bias, dtype=np.float64)
    rows, classes = _images(x, targets, norm)
    norms = np.full(len(rows), np.inf)
    for n, (row, target) in enumerate(zip(rows, classes)):
        rivals = [j for j in range(len(w)) if j != target]
        a, size = w[target] - w[rivals], len(row)
        goal = -(a @ row + b[target] - b[rivals])  # a d >= goal
        if norm == "linf":
            ones = np.ones((size, 1))
            inequalities = np.block([[-a, np.zeros((len(a), 1))], [np.eye(size), -ones], [-np.eye(size), -ones]])
            ends = [(-v, 1 - v) if box else (None, None) for v in row]
            found = linprog(
                np.append(np.zeros(size), 1), inequalities, np.concatenate([-goal, np.zeros(2 * size)]),
                bounds=[*ends, (0, None)],
            )  # fmt: skip
            norms[n] = found.fun if found.status == 0 else np.inf
            continue
        g = np.concatenate([a, np.eye(size), -np.eye(size)]) if box else a
        h = np.concatenate([goal, -row, row - 1]) if box else goal
        e, f = np.concatenate([g.T, h[None]]), np.append(np.zeros(size), 1.0)
        u, rest = nnls(e, f, maxiter=100 * size)
        residual = e @ u - f
        norms[n] = np.linalg.norm(residual[:size] / residual[size]) if rest > 1e-9 else np.inf
    return norms
