"""Geometry of the joint cone: one quadratic program for each draw and dichotomy, one pseudo-inverse for each form."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.geometry_references.mean_field import solve_projection_qp

Array = NDArray[np.float64]


def _quadratic_form(gram: Array, values: Array) -> float:
    """values^T gram^+ values, pseudo-inverse of the symmetric matrix with relative cut-off 1e-10."""
    return float(values @ np.linalg.pinv(gram, rcond=1e-10, hermitian=True) @ values)


def _mean_pair_overlap(left: Array, right: Array, cosine: bool) -> float:
    """mean_{i != j} |<left_i, right_j>|, divided by the norms if `cosine` (0 where a norm vanishes)."""
    count = len(left)
    total = 0.0
    for i in range(count):
        for j in range(count):
            if i == j:
                continue
            value = abs(float(left[i] @ right[j]))
            if cosine:
                norms = np.linalg.norm(left[i]) * np.linalg.norm(right[j])
                value = value / norms if norms > 0 else 0.0
            total += value
    return total / (count * (count - 1)) if count > 1 else float("nan")


def glue(manifolds: list[Array], labels: Array, draws: Array, *, center: bool = True) -> dict[str, Any]:
    """Geometry of P manifolds from ONE projection on their joint cone per draw: labels (n, P) +-1, draws (n, N).

    v = argmin |v - t|^2 s.t. y_mu <z, v> <= 0 for every point z of every manifold mu.  Anchors
    s_mu = sum lam z / sum lam over the manifold's points (unsigned, multipliers lam), zero where none is active.
    S_0 = mean over draws, S_1 = S - S_0 (P, N).
      a = (S t)^T (S S^T)^+ (S t), b = (S_1 t)^T (S_1 S_1^T)^+ (S_1 t), c = (S_1 t)^T (S_0 S_0^T + S_1 S_1^T)^+ (S_1 t)
      capacity = P / E a, dimension = E b / P, radius = sqrt(E c / E (b - c)), utility = E c / E a
      so that capacity = utility (1 + radius^-2) / dimension.
    a = |t - v|^2, because t - v lies in the span of the anchors and v is orthogonal to each; signs do not matter to a
    but they do to S_0, hence to b and c.  The returned `projection` holds |t - v|^2 itself.

    Alignments, means over mu != nu: center |<s0_mu, s0_nu>|, axis E |<s1_mu, s1_nu>|, center-axis
    E |<s0_mu, s1_nu>|; the keys ending in _cosine hold the same with each product divided by the vectors' norms.
    `center` subtracts the mean of all points first.
    """
    manifolds = [np.asarray(points, dtype=np.float64) for points in manifolds]
    labels, draws = np.asarray(labels, dtype=np.float64), np.asarray(draws, dtype=np.float64)
    if center:
        mean = np.concatenate(manifolds).mean(axis=0)
        manifolds = [points - mean for points in manifolds]
    count, num_draws = len(manifolds), len(draws)
    ambient = manifolds[0].shape[1]
    anchors = np.zeros((num_draws, count, ambient))
    projection = np.zeros(num_draws)
    num_active = np.zeros(num_draws, dtype=np.int64)
    for n in range(num_draws):
        signed = np.concatenate([labels[n, mu] * manifolds[mu] for mu in range(count)])
        v, multipliers, active = solve_projection_qp(draws[n], signed, np.zeros(len(signed)))
        projection[n] = float(np.sum((draws[n] - v) ** 2))
        num_active[n] = int(np.sum(active))
        offset = 0
        for mu in range(count):
            part = multipliers[offset : offset + len(manifolds[mu])]
            offset += len(manifolds[mu])
            if np.sum(part) > 1e-9:
                anchors[n, mu] = part @ manifolds[mu] / np.sum(part)
    S0 = anchors.mean(axis=0)
    a, b, c = np.zeros(num_draws), np.zeros(num_draws), np.zeros(num_draws)
    overlaps = {"axis_alignment": 0.0, "center_axis_alignment": 0.0}
    overlaps |= {key + "_cosine": 0.0 for key in overlaps}
    for n in range(num_draws):
        t, S = draws[n], anchors[n]
        S1 = S - S0
        a[n] = _quadratic_form(S @ S.T, S @ t)
        b[n] = _quadratic_form(S1 @ S1.T, S1 @ t)
        c[n] = _quadratic_form(S0 @ S0.T + S1 @ S1.T, S1 @ t)
        for cosine, suffix in ((False, ""), (True, "_cosine")):
            overlaps["axis_alignment" + suffix] += _mean_pair_overlap(S1, S1, cosine) / num_draws
            overlaps["center_axis_alignment" + suffix] += _mean_pair_overlap(S0, S1, cosine) / num_draws
    mean_a, mean_b, mean_c = float(a.mean()), float(b.mean()), float(c.mean())
    return {
        "capacity": count / mean_a,
        "dimension": mean_b / count,
        "radius": float(np.sqrt(mean_c / (mean_b - mean_c))),
        "utility": mean_c / mean_a,
        "center_alignment": _mean_pair_overlap(S0, S0, False),
        "center_alignment_cosine": _mean_pair_overlap(S0, S0, True),
        **overlaps,
        "anchors": anchors,
        "center_anchors": S0,
        "a": a,
        "b": b,
        "c": c,
        "projection": projection,
        "num_active": num_active,
    }
