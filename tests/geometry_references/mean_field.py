"""Mean-field capacity, radius and dimension: one quadratic program (cvxopt) for each Gaussian draw."""

from __future__ import annotations

from typing import Any

import cvxopt
import cvxopt.solvers
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

_QP_OPTIONS = {"show_progress": False, "abstol": 1e-12, "reltol": 1e-12, "feastol": 1e-12, "maxiters": 200}


def solve_projection_qp(t: Array, constraints: Array, bound: Array) -> tuple[Array, Array, NDArray[np.bool_]]:
    """min_v 1/2 |v - t|^2 subject to constraints (m, n) v <= bound (m,): v, multipliers (m,), active constraints.

    A constraint counts as active when its multiplier exceeds its slack (strict complementarity); the multipliers of
    the others are returned as 0.  The interior-point answer is then replaced by the exact solution on its active
    face, C_A v = b_A, wherever that one satisfies the optimality conditions.
    """
    t = np.asarray(t, dtype=np.float64)
    constraints, bound = np.asarray(constraints, dtype=np.float64), np.asarray(bound, dtype=np.float64)
    answer = None
    for tolerance in (1e-12, 1e-11, 1e-10, 1e-9, 1e-8):
        options = _QP_OPTIONS | {"abstol": tolerance, "reltol": tolerance, "feastol": tolerance}
        try:
            trial = cvxopt.solvers.qp(
                cvxopt.matrix(np.eye(len(t))),
                cvxopt.matrix(-t),
                cvxopt.matrix(constraints),
                cvxopt.matrix(bound),
                options=options,
            )
        except (ValueError, ArithmeticError):  # the iterates can lose positivity near the tightest tolerances
            continue
        answer = trial
        if trial["status"] == "optimal":
            break
    if answer is None or (answer["status"] != "optimal" and not (answer["gap"] < 1e-8)):
        raise RuntimeError("the quadratic program was not solved")
    v = np.array(answer["x"]).ravel()
    multipliers = np.array(answer["z"]).ravel()
    active = multipliers > np.array(answer["s"]).ravel()
    multipliers = np.where(active, multipliers, 0.0)

    face = constraints[active]
    exact = np.linalg.lstsq(face @ face.T, face @ t - bound[active], rcond=None)[0] if len(face) else np.zeros(0)
    candidate = t - face.T @ exact
    slack = bound - constraints @ candidate
    scale = 1.0 + float(np.linalg.norm(t))
    if np.all(exact >= 0.0) and np.all(slack >= -1e-11 * scale) and np.all(np.abs(slack[active]) <= 1e-11 * scale):
        v = candidate
        multipliers[active] = exact
    return v, multipliers, active


def shape_vectors(points: Array) -> Array:
    """(z_m - c) / |c| with c the mean of the points: (M, N) -> (M, N)."""
    points = np.asarray(points, dtype=np.float64)
    center = points.mean(axis=0)
    return (points - center) / np.linalg.norm(center)


def shape_frame(points: Array) -> Array:
    """Orthonormal (N, min(N, M)) columns: thin QR of the shape vectors when N > M, else the coordinate frame."""
    vectors = shape_vectors(points)
    num_points, ambient = vectors.shape
    return np.linalg.qr(vectors.T)[0] if ambient > num_points else np.eye(ambient)


def mean_field_draws(points: Array, draws: Array, kappa: float = 0.0, frame: Array | None = None) -> dict[str, Any]:
    """Anchor geometry of one manifold (M, N) for given Gaussian draws (n_t, D + 1), last entry the centre's.

    S = [frame^T (z_m - c)/|c|; 1].  Per draw t: v = argmin |v - t|^2 s.t. S^T v <= -kappa, anchor
    s = (t - v) / sum(multipliers); if max_m <t_shape, s_m> + t_c + kappa < 0, or |v - t| < 1e-8, the anchor is the
    maximising point.  F = [<t, s> + kappa]_+^2 / |s|^2.

    capacity = 1 / mean F, radius = sqrt(mean |s_shape - mean s_shape|^2) (1/n_t),
    dimension = D (mean cos(t_shape, s_shape))^2.
    """
    vectors = shape_vectors(points)
    if frame is not None:
        vectors = vectors @ np.asarray(frame, dtype=np.float64)
    draws = np.asarray(draws, dtype=np.float64)
    D = vectors.shape[1]
    if draws.shape[1] != D + 1:
        raise ValueError(f"draws of {D + 1} entries are needed, not {draws.shape[1]}")
    full = np.column_stack([vectors, np.ones(len(vectors))])
    num_draws = len(draws)
    F, cosines = np.zeros(num_draws), np.zeros(num_draws)
    anchors = np.zeros((num_draws, D))
    num_active = np.zeros(num_draws, dtype=np.int64)
    multiplier_sums = np.zeros(num_draws)
    for n, t in enumerate(draws):
        fields = full @ t + kappa
        anchor = full[int(np.argmax(fields))]
        if np.max(fields) >= 0.0:
            v, multipliers, active = solve_projection_qp(t, full, np.full(len(full), -float(kappa)))
            if np.linalg.norm(v - t) >= 1e-8:
                anchor = full.T @ multipliers / np.sum(multipliers)
                num_active[n] = int(np.sum(active))
                multiplier_sums[n] = np.sum(multipliers)
        F[n] = max(float(t @ anchor) + kappa, 0.0) ** 2 / float(anchor @ anchor)
        anchors[n] = anchor[:D]
        norms = np.linalg.norm(t[:D]) * np.linalg.norm(anchor[:D])
        cosines[n] = float(t[:D] @ anchor[:D]) / norms if norms > 0 else 0.0
    mean_F = float(np.mean(F))
    spread = anchors - anchors.mean(axis=0)
    return {
        "F": F,
        "anchors": anchors,
        "cosines": cosines,
        "num_active": num_active,
        "multiplier_sums": multiplier_sums,
        "capacity": 1.0 / mean_F if mean_F > 0 else float("inf"),
        "radius": float(np.sqrt(np.mean(np.sum(spread**2, axis=1)))),
        "dimension": float(D * np.mean(cosines) ** 2),
    }


def mean_field_capacity(
    manifolds: list[Array],
    draws_per_manifold: list[Array],
    kappa: float = 0.0,
    frames: list[Array | None] | None = None,
) -> dict[str, Any]:
    """capacity = 1 / mean_i (1 / alpha_i), radius and dimension arithmetic means, over the manifolds.

    The manifolds are taken as they are (remove the centre correlations first).  Without `frames`, each manifold is
    rotated into its own `shape_frame` (D = min(N, M_i)).
    """
    results = []
    for i, points in enumerate(manifolds):
        frame = shape_frame(points) if frames is None else frames[i]
        results.append(mean_field_draws(points, draws_per_manifold[i], kappa, frame))
    capacities = np.array([result["capacity"] for result in results])
    radii = np.array([result["radius"] for result in results])
    dimensions = np.array([result["dimension"] for result in results])
    return {
        "capacity": float(1.0 / np.mean(1.0 / capacities)),
        "radius": float(np.mean(radii)),
        "dimension": float(np.mean(dimensions)),
        "capacities": capacities,
        "radii": radii,
        "dimensions": dimensions,
        "per_manifold": results,
    }
