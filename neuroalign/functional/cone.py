"""Projection on the cone of a set of points: many non-negative least-squares problems solved at once."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import pad

from neuroalign.functional.nonnegative import Span, coefficients, crowded_spans

__all__ = ["ConeProjection", "cone_projection"]

_ELEMENTS = 1 << 17  # entries of a slice's (problem, point) block: small enough for the processor's caches
_EXACT = 1e-13  # largest violation of the conditions of optimality with which SciPy's answer is kept
_UNROLLED = 24  # largest number of slots for which the small systems are factored by whole-batch operations


class ConeProjection(NamedTuple):
    """Result of :func:`cone_projection`.

    Attributes:
        coefficients: (group, draw, point), a, not negative.
        squared_norm: (group, draw), squared length :math:`|Sa|^2` of the projection.
        num_active: (group, draw) int64, number of points with a positive coefficient. They are linearly independent, so this
            is the dimension of the face on which the projection lies.
        residual: (group, draw), the largest violation of the optimality conditions, in units of the length
            of the point concerned times the largest inner product of the target with a normalised point. 0 is exact;
            rounding leaves about 1e-14 in float64 and 1e-5 in float32.
    """

    coefficients: Tensor
    squared_norm: Tensor
    num_active: Tensor
    residual: Tensor


def cone_projection(
    gram: Float[Tensor, "group point point"],
    target: Float[Tensor, "group draw point"],
    *,
    signs: Float[Tensor, "draw point"] | None = None,
) -> ConeProjection:
    r"""Project every target on its group's cone: :math:`\min_{a \ge 0} |Sa - t|^2` for many t at once.

    Only inner products enter: :math:`G = S^\top S` of the points (columns of S) and :math:`b = S^\top t`, so the width of
    the space costs nothing. At the minimum :math:`a \ge 0`, :math:`b - Ga \le 0` and the two are orthogonal.

    An active-set method after Lawson and Hanson, on all problems at the same time: the points that violate the conditions
    most enter together, those whose coefficient would become negative leave, and the small systems of the points in use
    are solved as one batch. The points in use stay linearly independent, so that repeated points and more points than
    dimensions are no special case. Where projections use most dimensions of a cone of more points than dimensions, SciPy's
    method is several times faster, although it takes one problem and point at a time, and is used on the CPU in float64.
    Not differentiable: see :class:`neuroalign.CapacityLoss` for the gradient.

    Args:
        gram: G, (group, point, point), positive semidefinite; a row and column of zeros means that there is no such point.
        target: b, (group, draw, point); negative where there is no point.
        signs: (draw, point) of +-1: the cone of each draw is spanned by the points times their signs. The coefficients belong
            to the signed points; G and b are given without signs. None means +1 everywhere.

    Raises:
        ValueError: If shapes don't match, or values are NaN or infinite.

    Example:
        >>> points = torch.tensor([[1.0, 0.0], [1.0, 1.0]])
        >>> t = torch.tensor([[0.0, 2.0]])
        >>> found = cone_projection((points @ points.T)[None], (t @ points.T)[None])
        >>> found.coefficients.round()
        tensor([[[0., 1.]]])

    Source:
        Lawson and Hanson 1974, *Solving Least Squares Problems*, chapter 23.
    """
    if gram.ndim != 3 or gram.shape[1] != gram.shape[2]:
        raise ValueError(f"gram must be (group, point, point); got shape {tuple(gram.shape)}")
    if target.ndim != 3 or target.shape[0] != gram.shape[0] or target.shape[2] != gram.shape[1]:
        raise ValueError(
            f"target must be ({gram.shape[0]}, draw, {gram.shape[1]}) beside gram {tuple(gram.shape)}; "
            f"got {tuple(target.shape)}"
        )
    if signs is not None and signs.shape != target.shape[1:]:
        raise ValueError(f"signs must be {tuple(target.shape[1:])}, (draw, point); got {tuple(signs.shape)}")
    if not (gram.is_floating_point() and gram.dtype == target.dtype):
        raise ValueError(f"gram and target must share one floating-point type; got {gram.dtype} and {target.dtype}")
    if not bool(gram.isfinite().all() and target.isfinite().all()):
        raise ValueError("gram or target hold NaN or infinite values")

    with torch.no_grad():
        groups, draws, points = target.shape
        group = torch.arange(groups, device=gram.device).repeat_interleave(draws)
        y = None if signs is None else pad(signs.to(target), (0, 1), value=1.0).repeat(groups, 1)
        b = pad(target.reshape(-1, points), (0, 1))
        b = b if y is None else b * y
        length = gram.diagonal(dim1=1, dim2=2).clamp_min(0).sqrt()
        inverse = pad(torch.where(length > 0, 1 / length, 0), (0, 1))
        # Points scaled to length 1, plus one zero dummy point, which unused slots refer to.
        gram = pad(gram, (0, 1, 0, 1)) * inverse[:, :, None] * inverse[:, None, :]
        b = b * inverse.repeat_interleave(draws, 0)
        spans = crowded_spans(gram[:, :-1, :-1], b[:, :-1], None if y is None else y[:, :-1])
        parts, size = [], max(1, _ELEMENTS // (points + 1))
        for i in range(0, len(b), size):
            cut = slice(i, i + size)
            sign = None if y is None else y[cut]
            a = _coefficients(gram, group[cut], b[cut], sign, spans)
            product, violation = _optimality(gram, group[cut], b[cut], sign, a)
            norm = (a * product).sum(1).clamp_min(0)
            parts.append((a * inverse[group[cut]], norm, (a > 0).sum(1), violation))
        a, norm, active, residual = (torch.cat(x) for x in zip(*parts))
        shape = (groups, draws)
        a = a[:, :-1].reshape(*shape, points)
        return ConeProjection(a, norm.view(shape), active.view(shape), residual.view(shape))


def fills_span(
    gram: Float[Tensor, "point point"], signs: Float[Tensor, "draw point"], *, tolerance: float = 1e-5
) -> Bool[Tensor, " draw"]:
    r"""Whether the cone of signed points is the whole space that they span, so that no hyperplane has all on one side.

    The sum s of the points, each scaled to length 1, lies inside the cone. So the cone is the whole span exactly if it also
    contains :math:`-s`, that is, if :math:`-s` is its own projection.

    Args:
        gram: (point, point), inner products of the points without signs; float64.
        signs: (draw, point) of +-1.
        tolerance: Largest length of :math:`-s` minus its projection that counts as 0, over the root of the number of points.

    Returns:
        (draw,) bool; True for points that are all 0.

    Example:
        >>> points = torch.tensor([[1.0, 0.0], [-1.0, 1.0], [-1.0, -1.0]]).double()
        >>> fills_span(
        ...     points @ points.T, torch.tensor([[1.0, 1.0, 1.0], [1.0, -1.0, -1.0]]).double()
        ... )
        tensor([ True, False])
    """
    length = gram.diagonal().clamp_min(0).sqrt()
    inverse = torch.where(length > 0, 1 / length, 0)
    gram = gram * inverse[:, None] * inverse
    inner = -(signs @ gram)
    projected = cone_projection(gram[None], inner[None], signs=signs).squared_norm[0]
    left = (-(inner * signs).sum(1) - projected).clamp_min(0).sqrt()
    result: Tensor = left <= tolerance * len(gram) ** 0.5
    return result


def _optimality(gram: Tensor, group: Tensor, b: Tensor, y: Tensor | None, a: Tensor) -> tuple[Tensor, Tensor]:
    """Ga (problem, point), and the largest violation of the conditions of optimality (problem,), NaN if a is."""
    product = _by_group(gram, group, a if y is None else a * y)
    product = product if y is None else product * y
    dual, unit = b - product, b.abs().amax(1)
    violation = torch.where(a > 0, dual.abs(), dual.clamp_min(0)).amax(1) / torch.where(unit > 0, unit, 1)
    return product, violation


def _coefficients(gram: Tensor, group: Tensor, b: Tensor, y: Tensor | None, spans: dict[int, Span]) -> Tensor:
    """Coefficients (problem, point) of one slice: crowded cones one at a time, the others and what fails there together."""
    if not spans:
        return _solve(gram, group, b, y)
    a = torch.full_like(b, torch.nan)
    for i, span in spans.items():
        rows = (group == i).nonzero()[:, 0]
        if len(rows):
            sign = None if y is None else y[rows, :-1]
            a[rows] = pad(coefficients(span, b[rows, :-1], sign), (0, 1))
    together = ~(_optimality(gram, group, b, y, a)[1] <= _EXACT)
    if bool(together.any()):
        a[together] = _solve(gram, group[together], b[together], None if y is None else y[together])
    return a


def _solve(gram: Tensor, group: Tensor, b: Tensor, y: Tensor | None) -> Tensor:
    """Coefficients (problem, point) of the problems of one slice; ``group`` is the group of each, in rising order.

    All points have length 1. The points in use of each problem are kept in slots, ``index`` and ``value`` (slot, problem);
    an unused slot refers to the last point, the dummy. Only unfinished problems are carried from step to step.

    A step solves the least squares on the points in use without a constraint (the trial). If some of its coefficients are
    not positive, points leave, so that all stay non-negative. Otherwise the points with the largest dual b - Ga enter,
    because they would shorten the distance; where no dual is positive, the conditions of optimality hold.
    """
    total, points = b.shape
    none = points - 1
    # Points that do not exist, and later also those that depend linearly on points in use.
    blocked = (gram.diagonal(dim1=1, dim2=2) == 0)[group]
    # A dual below this is rounding error.
    tolerance = 8 * torch.finfo(b.dtype).eps * points**0.5 * b.abs().amax(1)

    coefficients = torch.zeros_like(b)
    todo = torch.arange(total, device=b.device)
    index = torch.zeros(0, total, dtype=torch.long, device=b.device)
    value = b.new_zeros(0, total)
    most = min(points, 4 + points // 16)
    for _ in range(10 * points + 10):
        g, sign = group[todo], None if y is None else y[todo]
        used = index != none
        trial, dependent, factor = _solve_slots(gram, g, b[todo], sign, index, used)
        if bool(dependent.any()):
            # Keep half of the points that entered together; a single dependent point seemed violated by rounding alone.
            columns = dependent.nonzero()[:, 0]
            fresh = (used & (value == 0))[:, columns]
            several = fresh.sum(0) > 1
            single = columns[~several]
            blocked[todo[single], torch.where(fresh[:, ~several], index[:, single], none)] = True
            leaves = fresh & ~((fresh.cumsum(0) <= fresh.sum(0) // 2) & several)
            index[:, columns] = torch.where(leaves, none, index[:, columns])
            index, value = _pack(index, value, none)
            continue
        falls = used & (trial <= 0)
        bad = falls.any(0)
        # Move towards the trial until a coefficient reaches 0; that point leaves.
        ratio = torch.where(falls, value / (value - trial), torch.inf)
        step = ratio.amin(0) if len(index) else ratio.sum(0)
        leaves = falls & (ratio <= step)
        value = torch.where(bad, value + step * (trial - value), trial)
        if factor is not None:
            # With many points, all whose coefficient falls to 0 or below may leave at once, if that ends nearer to the trial.
            clipped = torch.where(falls, 0, trial)
            turn = 1 if sign is None else sign.T.gather(0, index)
            nearer = _distance(factor, turn * (clipped - trial)) < _distance(factor, turn * (value - trial))
            nearer &= bad
            value, leaves = torch.where(nearer, clipped, value), torch.where(nearer, falls, leaves)
        index = torch.where(leaves, none, index)
        good = (~bad).nonzero()[:, 0]
        if len(good):
            where, slots = todo[good], index[:, good]
            dual = _dual(gram, g[good], b[where], None if sign is None else sign[good], slots, value[:, good])
            dual.masked_fill_(blocked[where], -torch.inf).scatter_(1, slots.T, -torch.inf)
            best, entering = dual.topk(most, dim=1)
            threshold = torch.maximum(0.5 * best[:, :1], tolerance[where, None])
            done = best[:, 0] <= tolerance[where]
            coefficients[where[done], slots[:, done]] = value[:, good[done]]
            extra = index.new_full((most, len(todo)), none)
            extra[:, good] = torch.where(best > threshold, entering, none).T
            keep = torch.ones(len(todo), dtype=torch.bool, device=b.device)
            keep[good[done]] = False
            keep = keep.nonzero()[:, 0]
            todo, index = todo[keep], torch.cat([index, extra])[:, keep]
            value = torch.cat([value, value.new_zeros(most, value.shape[1])])[:, keep]
        if not len(todo):
            break
        index, value = _pack(index, value, none)
    else:  # only rounding can prevent the end; the residual says how good the solution is
        coefficients[todo, index] = value
    coefficients[:, none] = 0
    return coefficients


def _pack(index: Tensor, value: Tensor, none: int) -> tuple[Tensor, Tensor]:
    """Move unused slots to the end and drop those that no problem uses."""
    used = index != none
    place = used.cumsum(0)
    width = int(place[-1].max())
    place = torch.where(used, place - 1, width)
    return (
        index.new_full((width + 1, index.shape[1]), none).scatter_(0, place, index)[:-1],
        value.new_zeros(width + 1, index.shape[1]).scatter_(0, place, value)[:-1],
    )


def _solve_slots(
    gram: Tensor, group: Tensor, b: Tensor, y: Tensor | None, index: Tensor, used: Tensor
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Least squares on the points in use, (slot, problem); whether the points of each problem are linearly dependent; and
    the Cholesky factors if the systems are large, else None.
    """
    width, points = len(index), gram.shape[1]
    if not width:
        return b.new_zeros(index.shape), torch.zeros(len(b), dtype=torch.bool, device=b.device), None
    right = b.T.gather(0, index)
    sign = None if y is None else y.T.gather(0, index)
    right = right if sign is None else right * sign  # signs change the system's solution, not its matrix
    row = group * points + index
    floor = 64 * width * torch.finfo(b.dtype).eps
    if width > _UNROLLED:
        matrix = gram.view(-1)[row.T[:, :, None] * points + index.T[:, None]]
        matrix.diagonal(dim1=1, dim2=2).fill_(1)  # an unused slot is an equation of its own, 1 x = 0
        factor, info = torch.linalg.cholesky_ex(matrix)
        dependent = (info > 0) | (factor.diagonal(dim1=1, dim2=2).square().amin(1) < floor)
        x = torch.cholesky_solve(right.T[:, :, None], factor)[:, :, 0].T.contiguous()
        return x if sign is None else x * sign, dependent, factor
    matrix = gram.view(-1)[row[:, None] * points + index]
    matrix.diagonal().copy_(torch.ones_like(right.T))
    # Many small systems: the factors L D L' are computed column by column, each operation on all problems at once.
    dependent = torch.zeros(len(b), dtype=torch.bool, device=b.device)
    x = right
    for j in range(width):
        pivot = matrix[j, j]
        dependent |= pivot < floor
        if j + 1 < width:
            column = matrix[j + 1 :, j] / pivot
            matrix[j + 1 :, j + 1 :] -= column[:, None] * matrix[j + 1 :, j]
            matrix[j + 1 :, j] = column
            x[j + 1 :] -= column * x[j]
    x /= matrix.diagonal().T
    for j in range(width - 1, 0, -1):
        x[:j] -= matrix[j, :j] * x[j]
    return x if sign is None else x * sign, dependent, None


def _distance(factor: Tensor, difference: Tensor) -> Tensor:
    """Squared length of combinations (slot, problem) of the points in use."""
    return (difference.T[:, None] @ factor)[:, 0].square().sum(1)


def _dual(gram: Tensor, group: Tensor, b: Tensor, y: Tensor | None, index: Tensor, a: Tensor) -> Tensor:
    """The dual b - Ga, (problem, point)."""
    width = len(index)
    if not width:
        return b.clone()
    if y is not None:
        a = a * y.T.gather(0, index)
    if len(gram) == 1 or b.shape[1] < 16 * width:
        product = _by_group(gram, group, torch.zeros_like(b).scatter_(1, index.T, a.T))
    else:  # few of many points are in use: only their rows are read
        product = torch.bmm(a.T[:, None, :], gram[group[:, None], index.T])[:, 0]
    return b - (product if y is None else y * product)


def _by_group(gram: Tensor, group: Tensor, a: Tensor) -> Tensor:
    """Ga, (problem, point); the problems of a group follow one another."""
    counts = group.bincount(minlength=len(gram)).tolist()
    return torch.cat([part @ gram[i] for i, part in enumerate(a.split(counts)) if len(part)])
