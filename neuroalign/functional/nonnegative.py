"""Projection on cones one at a time, by SciPy: for cones of more points than dimensions that need most dimensions.

The batched method of :mod:`neuroalign.functional.cone` lets many points enter together. Where a projection uses about as many
points as there are dimensions, most of those leave again, and one point after the other is faster.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float
from torch import Tensor

__all__: list[str] = []

_SURPLUS = 1.2  # points per dimension from which a cone is looked at
_FEWEST = 32  # points from which it can be worth the question
_SHARE = 0.7  # of the dimensions that a projection uses, from which one at a time is faster
_PER_PILOT = 400  # ordered projections for each one that decides, from the middle one on


class Span(NamedTuple):
    """Coordinates of a cone's points in an orthonormal basis of their span.

    Attributes:
        points: (dimension, point) float64.
        triangle: (dimension, dimension) lower triangular: the coordinates of independent points, in rows.
        independent: (dimension,), the numbers of these points.
    """

    points: npt.NDArray[np.float64]
    triangle: npt.NDArray[np.float64]
    independent: npt.NDArray[np.intp]


def crowded_spans(
    gram: Float[Tensor, "group point point"], target: Float[Tensor, "problem point"], signs: Tensor | None
) -> dict[int, Span]:
    """The groups whose projections use most dimensions of a cone of more points than dimensions, with their spans.

    One projection of each group decides, or a few of many; the same problems give the same answer, in any order.

    Args:
        gram: (group, point, point), inner products of the points, which have length 1 or 0.
        target: (problem, point), inner products with the signed points; each group has equally many problems, in order.
        signs: (problem, point) of +-1, or None.

    Returns:
        By number of the group; empty where the batched method is faster, on a device and below float64.
    """
    if gram.device.type != "cpu" or gram.dtype != torch.float64 or not len(target) or gram.shape[1] < _FEWEST:
        return {}
    draws = len(target) // len(gram)
    chosen = {}
    exists = gram.diagonal(dim1=1, dim2=2) > 0
    for i in (~_independent(gram, exists)).nonzero()[:, 0].tolist():
        span = _span(gram[i].numpy())
        dimensions = len(span.points)
        if not dimensions or int(exists[i].sum()) < _SURPLUS * dimensions:
            continue
        rows = target[i * draws : (i + 1) * draws].sum(1).argsort()  # an order that does not depend on the given one
        pilot = i * draws + rows[draws // 2 :: _PER_PILOT]
        used = (coefficients(span, target[pilot], None if signs is None else signs[pilot]) > 0).sum(1)
        if float(used.double().mean()) >= _SHARE * dimensions:
            chosen[i] = span
    return chosen


def coefficients(
    span: Span, target: Float[Tensor, "problem point"], signs: Tensor | None
) -> Float[Tensor, "problem point"]:
    """Coefficients of the projections on one group's cone; NaN where SciPy finds none.

    Args:
        span: Of the group.
        target: (problem, point), inner products with the signed points.
        signs: (problem, point) of +-1, or None.
    """
    from scipy.linalg import solve_triangular
    from scipy.optimize import nnls

    turn = None if signs is None else signs.numpy()
    inner = target.numpy() if turn is None else target.numpy() * turn
    places = solve_triangular(span.triangle, inner[:, span.independent].T, lower=True).T
    found = np.empty(inner.shape)
    for i, place in enumerate(places):
        try:
            found[i] = nnls(span.points if turn is None else span.points * turn[i], place)[0]
        except RuntimeError:  # too many steps
            found[i] = np.nan
    return torch.from_numpy(found)


def _independent(gram: Tensor, exists: Tensor) -> Tensor:
    """Whether the points of a group surely are linearly independent, (group,) bool: a question that takes little time."""
    factor, info = torch.linalg.cholesky_ex(gram + torch.diag_embed((~exists).to(gram.dtype)))
    full: Tensor = (info == 0) & (factor.diagonal(dim1=1, dim2=2).amin(1) > 1e-5)
    return full


def _span(gram: npt.NDArray[np.float64]) -> Span:
    """Pivoted Cholesky factor: it stops where the remaining points depend on those before, up to rounding."""
    from scipy.linalg.lapack import dpstrf

    factor, pivots, rank, _ = dpstrf(gram, lower=1)
    order = pivots - 1
    points = np.empty((rank, len(gram)))
    points[:, order] = np.tril(factor)[:, :rank].T
    return Span(points, np.ascontiguousarray(points[:, order[:rank]].T), order[:rank])
