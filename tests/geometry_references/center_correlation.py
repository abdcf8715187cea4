"""Removal of the directions that class centres share: conjugate gradient on the Stiefel manifold, start by start."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def _mean_absolute_cosine(vectors: Array) -> float:
    """mean_{i != j} |<x_i, x_j>| / (|x_i| |x_j|), over the rows; nan for fewer than two rows."""
    count = len(vectors)
    if count < 2:
        return float("nan")
    total = 0.0
    for i in range(count):
        for j in range(count):
            if i != j:
                norms = np.linalg.norm(vectors[i]) * np.linalg.norm(vectors[j])
                total += abs(float(vectors[i] @ vectors[j])) / norms
    return total / (count * (count - 1))


def center_correlation(centers: Array) -> float:
    """mean_{i != j} |cos(c_i - c, c_j - c)| with c = mean_i c_i, for centres (P, N)."""
    centers = np.asarray(centers, dtype=np.float64)
    return _mean_absolute_cosine(centers - centers.mean(axis=0))


def removal_cost(V: Array, X: Array) -> float:
    """f(V) = 1/2 sum_{ij} A_ij^2 / (A_ii A_jj), A = X X^T - (X V)(X V)^T; V (d, K) orthonormal columns, X (P, d)."""
    X, V = np.asarray(X, dtype=np.float64), np.asarray(V, dtype=np.float64)
    count = len(X)
    inner = np.zeros((count, count))
    for i in range(count):
        for j in range(count):
            inner[i, j] = X[i] @ X[j] - (V.T @ X[i]) @ (V.T @ X[j])
    total = 0.0
    for i in range(count):
        for j in range(count):
            total += inner[i, j] ** 2 / (inner[i, i] * inner[j, j])
    return 0.5 * total


def removal_cost_and_gradient(V: Array, X: Array) -> tuple[float, Array]:
    """f(V) of `removal_cost` and its Euclidean gradient -2 X^T (F - diag(u)) X V.

    F_ij = A_ij / (r_i r_j), u_i = sum_j A_ij^2 / (r_i^2 r_j), r_i = A_ii: from df = <F - diag(u), dA> and
    dA = -X (dV V^T + V dV^T) X^T.
    """
    projected = X @ V
    inner = X @ X.T - projected @ projected.T
    r = np.diag(inner).copy()
    scaled = inner / np.outer(r, r)
    cost = 0.5 * float(np.sum(inner * scaled))
    u = np.sum(inner * scaled, axis=1) / r
    gradient = -2.0 * X.T @ (scaled @ projected - u[:, None] * projected)
    return cost, gradient


def _minimise_on_stiefel(V: Array, X: Array, max_iterations: int = 2000, tolerance: float = 1e-9) -> Array:
    """Conjugate gradient (Hestenes-Stiefel, restarted) with QR retraction and Armijo backtracking.

    f depends on the span of V only, so V^T grad f is symmetric and the tangent gradient is (I - V V^T) grad f.
    """
    V = np.linalg.qr(V)[0]
    cost, gradient = removal_cost_and_gradient(V, X)
    tangent = gradient - V @ (V.T @ gradient)
    direction, step = -tangent, 0.1
    for _ in range(max_iterations):
        size = np.linalg.norm(tangent)
        if size < tolerance:
            break
        slope = float(np.sum(tangent * direction))
        if slope >= -1e-14 * size * np.linalg.norm(direction):
            direction, slope = -tangent, -(size**2)
        step = min(2.0 * step, 1.0 / np.linalg.norm(direction))
        accepted = False
        for _ in range(60):
            candidate = np.linalg.qr(V + step * direction)[0]
            new_cost, new_gradient = removal_cost_and_gradient(candidate, X)
            if np.isfinite(new_cost) and new_cost <= cost + 1e-4 * step * slope:
                accepted = True
                break
            step *= 0.5
        if not accepted:
            break
        # Transport by projection; the QR retraction is made the polar-aligned representative of the same span.
        left, _, right = np.linalg.svd(candidate.T @ V)
        candidate = candidate @ (left @ right)
        new_gradient = new_gradient @ (left @ right)
        new_tangent = new_gradient - candidate @ (candidate.T @ new_gradient)
        moved_direction = direction - candidate @ (candidate.T @ direction)
        moved_tangent = tangent - candidate @ (candidate.T @ tangent)
        difference = new_tangent - moved_tangent
        denominator = float(np.sum(moved_direction * difference))
        beta = max(0.0, float(np.sum(new_tangent * difference)) / denominator) if denominator > 0 else 0.0
        direction = -new_tangent + beta * moved_direction
        V, cost, tangent = candidate, new_cost, new_tangent
    return V


def remove_center_correlations(
    manifolds: list[Array],
    *,
    starts: dict[int, list[Array]] | None = None,
    num_starts: int = 10,
    seed: int = 0,
    select: str = "stability",
) -> dict[str, Any]:
    """Remove the K directions that carry most of the correlation between the manifold centres.

    Centres c_i about their (class weighted) mean, in an orthonormal basis Q of their span: x_i = Q^T (c_i - c).
    For K = 1, 2, ...: V_K minimises `removal_cost` over orthonormal (d, K), from several starts qr([X^T s, V_{K-1}]),
    s ~ N(0, I_P).  Among the starts, `select` keeps the largest stability min_i |x_i residual| / |x_i| or the lowest
    cost.  res_K = mean |cos| of the residual centres; K* = argmin_K res_K over K >= 1.  The points, about the mean
    of all samples, lose the span of Q V_{K*}.

    K runs to argmax_k(cumulative variance of the centres, where < 0.95, else 0) + 11 (argmax from 0), capped at
    d - 1 with d = rank bound min(N, P - 1), that is P - 2 in general: each residual centre then keeps a direction.
    The run stops early once K > 4 and res has risen three times in a row.  For P <= 2 (or N = 1) nothing is removed.

    `starts[K]` (optional) lists the starts of that K: either vectors s (P,), completed by V_{K-1} as above, or whole
    matrices (d, K) in the coordinates of Q.

    Returns manifolds (residual, centred on the mean of all samples), num_removed, residual_correlation,
    initial_correlation, costs / residual_correlations / stabilities (one per K tried, from K = 1), V (d, K*),
    Q (N, d), X (P, d), directions (N, K*), solutions (V per K), all_costs and all_stabilities (per K, per start).
    """
    if select not in ("stability", "cost"):
        raise ValueError(f"unknown selection {select!r}")
    manifolds = [np.asarray(points, dtype=np.float64) for points in manifolds]
    count, ambient = len(manifolds), manifolds[0].shape[1]
    global_mean = np.concatenate(manifolds).mean(axis=0)
    residual = [points - global_mean for points in manifolds]
    centers = np.stack([points.mean(axis=0) for points in manifolds])
    centers = centers - centers.mean(axis=0)

    squares = np.linalg.svd(centers, compute_uv=False) ** 2
    cumulative = np.cumsum(squares) / np.sum(squares)
    largest = int(np.argmax([value if value < 0.95 else 0.0 for value in cumulative])) + 11
    Q = np.linalg.qr(centers.T)[0][:, : min(count - 1, ambient)]
    X = centers @ Q
    width = Q.shape[1]
    largest = min(largest, width - 1)

    rng = np.random.default_rng(seed)
    costs: list[float] = []
    correlations: list[float] = []
    stabilities: list[float] = []
    solutions: list[Array] = []
    all_costs: list[list[float]] = []
    all_stabilities: list[list[float]] = []
    previous = np.zeros((width, 0))
    for K in range(1, largest + 1):
        given = starts.get(K) if starts is not None else None
        if given is None:
            given = [rng.standard_normal(count) for _ in range(num_starts)]
        trials: list[tuple[float, float, Array]] = []
        for start in given:
            start = np.asarray(start, dtype=np.float64)
            full = np.column_stack([X.T @ start, previous]) if start.ndim == 1 else start
            V = _minimise_on_stiefel(full, X)
            kept = [np.linalg.norm(x - V @ (V.T @ x)) / np.linalg.norm(x) for x in X]
            trials.append((float(min(kept)), removal_cost(V, X), V))
        best = trials[0]
        for trial in trials[1:]:
            better = trial[0] > best[0] if select == "stability" else trial[1] < best[1]
            if better:
                best = trial
        previous = best[2]
        solutions.append(best[2])
        stabilities.append(best[0])
        costs.append(best[1])
        correlations.append(_mean_absolute_cosine(X - (X @ best[2]) @ best[2].T))
        all_stabilities.append([trial[0] for trial in trials])
        all_costs.append([trial[1] for trial in trials])
        if K > 4 and correlations[-1] > correlations[-2] > correlations[-3] > correlations[-4]:
            break

    initial = _mean_absolute_cosine(X)
    if solutions:
        chosen = int(np.argmin(correlations))
        V, final = solutions[chosen], correlations[chosen]
    else:
        V, final = np.zeros((width, 0)), initial
    directions = Q @ V
    residual = [points - (points @ directions) @ directions.T for points in residual]
    return {
        "manifolds": residual,
        "num_removed": V.shape[1],
        "residual_correlation": final,
        "initial_correlation": initial,
        "costs": costs,
        "residual_correlations": correlations,
        "stabilities": stabilities,
        "V": V,
        "Q": Q,
        "X": X,
        "directions": directions,
        "solutions": solutions,
        "all_costs": all_costs,
        "all_stabilities": all_stabilities,
    }
