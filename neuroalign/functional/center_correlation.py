"""Directions that class centres share: found on the Stiefel manifold, and removed before a mean-field analysis."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from neuroalign.functional.checks import check_choice

__all__ = ["CenterDirections", "center_directions"]

_COARSE = 150  # steps after which the starts are compared; only the chosen solution goes on to convergence


class CenterDirections(NamedTuple):
    """Result of :func:`center_directions`.

    Attributes:
        coefficients: (manifold, direction): the directions are the centred centres times these, and orthonormal.
        num_removed: K, the number of directions.
        correlation: Mean absolute cosine between the centres without these directions.
        initial_correlation: Mean absolute cosine between the centres as given.
        costs: Cost f of the solution kept for 1, 2, ... directions.
        correlations: Mean absolute cosine left by 1, 2, ... directions.
    """

    coefficients: Tensor
    num_removed: int
    correlation: Tensor
    initial_correlation: Tensor
    costs: Tensor
    correlations: Tensor


def mean_absolute_cosine(gram: Float[Tensor, "vector vector"]) -> Float[Tensor, ""]:
    """Mean over pairs of the absolute cosine, from inner products (vector, vector); a zero vector has cosine 0."""
    length = gram.diagonal().clamp_min(0).sqrt()
    cosine = gram / (length[:, None] * length).clamp_min(torch.finfo(gram.dtype).tiny)
    num = len(gram)
    return (cosine.abs().sum() - cosine.diagonal().abs().sum()) / max(num * (num - 1), 1)


def center_directions(
    gram: Float[Tensor, "manifold manifold"],
    *,
    select: Literal["stability", "cost"] = "stability",
    num_starts: int | None = None,
    seed: int = 0,
    max_steps: int = 500,
    tolerance: float = 1e-6,
) -> CenterDirections:
    r"""Directions whose removal decorrelates class centres best.

    For K = 1, 2, ... minimise over orthonormal V (r, K), from several starts,

    .. math:: f(V) = \tfrac12 \sum_{ij} A_{ij}^2 / (A_{ii}A_{jj}), \qquad A = XX^\top - (XV)(XV)^\top

    with X the centres about their mean in an orthonormal basis of their span (rank r), and keep the K that leaves the
    smallest mean absolute cosine. The search ends once K > 4 and this cosine has risen three times in a row, at the published
    largest K (11 more than directions with less than 95 % of the variance of the centres) or at r - 1, so that every centre
    keeps a direction. At least one direction is removed from four or more manifolds, as in the published procedure, even
    where that raises the correlation; from two or three, none.

    There are many local minima, and in some a centre nearly vanishes; choosing by the largest stability avoids those.
    All starts descend at once, by Barzilai-Borwein steps with a non-monotone line search and the closed-form gradient.

    Where the variance of the centres falls steeply from direction to direction, the last digit of a number can decide which
    minimum a start reaches. The search therefore sorts the centres by length and rounds their inner products, in units of
    the mean squared length, to single precision (7 digits). The order of the classes then plays no part, and changes below
    that precision hardly ever lead to another minimum. Larger changes can: another sample of images may lead to other
    directions, or to more or fewer of them.

    Args:
        gram: Inner products of the centres about their mean, (manifold, manifold).
        select: Which start to keep for each K: the one of the largest ``"stability"``,
            :math:`\min_i |x_i^\text{residual}|/|x_i|`, as published, or of the lowest ``"cost"``.
        num_starts: Number of starts for each K. None means 300 divided by the number of centres, and at least the published
            10: with few centres, 10 starts often miss the most stable minimum.
        seed: Seed of the starts.
        max_steps: Maximum number of descent steps of the chosen solution; the starts are compared after 150.
        tolerance: A descent ends once the norm of the Riemannian gradient is below this.

    Raises:
        ValueError: If ``select`` is unknown, ``num_starts`` is below 1, or an inner product is not finite.

    Example:
        >>> generator = torch.Generator().manual_seed(0)
        >>> centers = torch.randn(8, 40, generator=generator) + 3 * torch.eye(8, 40)
        >>> centers = centers - centers.mean(0)
        >>> found = center_directions(centers @ centers.T)
        >>> directions = centers.T @ found.coefficients.float()
        >>> torch.allclose(directions.T @ directions, torch.eye(found.num_removed), atol=1e-4)
        True

    Source:
        Cohen et al. 2020, *Nature Communications* 11:746 (centre correlations); the published code
        schung039/neural_manifolds_replicaMFT for the schedule of K.
    """
    check_choice("select", select, ("stability", "cost"))
    if num_starts is None:
        num_starts = max(10, 300 // max(len(gram), 1))
    if num_starts < 1:
        raise ValueError(f"num_starts must be at least 1; got {num_starts}")
    if not bool(gram.detach().isfinite().all()):
        raise ValueError(
            "the centres' inner products hold NaN or infinite values: divide the centres by a number first"
        )
    num, exact = len(gram), gram.detach().double()
    exact = (exact + exact.T) / 2
    initial, empty = mean_absolute_cosine(exact), exact.new_zeros(0)
    order = exact.diagonal().float().argsort(descending=True, stable=True)
    exact = exact[order][:, order]
    x, basis = _coordinates(exact, torch.finfo(gram.dtype).eps)
    rank = x.shape[1]
    if num < 4 or rank < 2:
        return CenterDirections(exact.new_zeros(num, 0), 0, initial, initial, empty, empty)

    lengths = x.square().sum(1)
    share = x.square().sum(0).cumsum(0) / lengths.sum()
    below = (share < 0.95).nonzero()
    most = min((int(below[-1]) if len(below) else 0) + 11, rank - 1)
    generator = torch.Generator().manual_seed(seed)
    v = x.new_zeros(rank, 0)
    found: list[Tensor] = []
    costs: list[Any] = []
    correlations: list[Any] = []
    for k in range(1, most + 1):
        noise = torch.randn(num_starts, num, generator=generator, dtype=torch.float64).to(x.device)
        start = torch.cat([(noise @ x)[:, :, None], v.expand(num_starts, -1, -1)], 2)
        cost, solutions = _descend(x, torch.linalg.qr(start)[0], min(_COARSE, max_steps), tolerance)
        left = lengths - (x @ solutions).square().sum(2)
        stability = (left / lengths.clamp_min(torch.finfo(x.dtype).tiny)).amin(1)
        chosen = int(stability.argmax() if select == "stability" else cost.argmin())
        v = solutions[chosen]
        found.append(v)
        for values, value in zip((costs, correlations), _left(exact, _orthonormal_in(exact, basis @ v))):
            values.append(value)
        if k > 4 and correlations[-1] > correlations[-2] > correlations[-3] > correlations[-4]:
            break
    best = int(torch.stack(correlations).argmin())
    polished = _descend(x, found[best][None], max_steps, tolerance)[1][0]
    coefficients = _orthonormal_in(exact, basis @ polished)
    costs[best], correlations[best] = _left(exact, coefficients)
    return CenterDirections(
        coefficients[order.argsort()],
        best + 1,
        correlations[best],
        initial,
        torch.stack(costs),
        torch.stack(correlations),
    )


def _coordinates(gram: Tensor, rounding: float) -> tuple[Tensor, Tensor]:
    """Coordinates (vector, r) in an orthonormal basis of the span, from inner products rounded to single precision.

    The second result is the basis, as coefficients (vector, r) of the vectors.
    """
    num, unit = len(gram), gram.diagonal().mean().clamp_min(torch.finfo(gram.dtype).tiny)
    values, vectors = torch.linalg.eigh((gram / unit).float().double())
    values, vectors = values.flip(0).clamp_min(0), vectors.flip(1)
    noise = max(10 * num * rounding, 4 * num**0.5 * torch.finfo(torch.float32).eps)
    rank = min(int((values > values[0] * noise).sum()), num - 1)
    root = values[:rank].sqrt()
    return vectors[:, :rank] * root, vectors[:, :rank] / root


def _orthonormal_in(gram: Tensor, coefficients: Tensor) -> Tensor:
    """Coefficients (vector, direction) of orthonormal directions with the same span."""
    factor = torch.linalg.cholesky(coefficients.T @ gram @ coefficients)
    result: Tensor = torch.linalg.solve_triangular(factor, coefficients.T, upper=False).T
    return result


def _left(gram: Tensor, coefficients: Tensor) -> tuple[Tensor, Tensor]:
    """Cost and mean absolute cosine of the vectors once the given orthonormal directions are taken out."""
    along = gram @ coefficients
    a = gram - along @ along.T
    r = a.diagonal().clamp_min(torch.finfo(a.dtype).tiny)
    return (a.square() / r[:, None] / r).sum() / 2, mean_absolute_cosine(a)


def _cost_and_gradient(x: Tensor, gram: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """F of :func:`center_directions` and its tangent gradient, for a batch of V (start, r, K)."""
    y = x @ v
    a = gram - y @ y.mT
    r = a.diagonal(dim1=1, dim2=2).clamp_min(torch.finfo(a.dtype).tiny)
    scaled = a / r[:, :, None] / r[:, None, :]
    squared = a * scaled
    u = squared.sum(2) / r
    gradient = 2 * x.T @ (u[:, :, None] * y - scaled @ y)
    return squared.sum((1, 2)) / 2, gradient - v @ (v.mT @ gradient)


def _orthonormal(v: Tensor) -> Tensor:
    """Orthonormal columns of the same span, close to V when V is nearly orthonormal."""
    factor = torch.linalg.cholesky(v.mT @ v)
    result: Tensor = torch.linalg.solve_triangular(factor, v.mT, upper=False).mT
    return result


def _descend(x: Tensor, v: Tensor, max_steps: int, tolerance: float) -> tuple[Tensor, Tensor]:
    """Local minima from every start: costs (start,) and V (start, r, K)."""
    gram = x @ x.T
    cost, gradient = _cost_and_gradient(x, gram, v)
    final_cost, final = cost.clone(), v.clone()
    todo = torch.arange(len(v), device=v.device)
    # Barzilai-Borwein steps are fast because they may raise the cost for a while. So a step is accepted below the largest
    # of the last 8 costs, and divided by 4 until it is.
    memory = cost[:, None].expand(-1, 8).clone()
    step = 0.1 / gradient.flatten(1).norm(dim=1).clamp_min(1)
    for i in range(max_steps):
        slope = gradient.square().sum((1, 2))
        moved, new_cost, new_gradient = v, cost, gradient
        waiting = torch.ones_like(step, dtype=torch.bool)
        for _ in range(25):
            trial = _orthonormal(v - step[:, None, None] * gradient)
            trial_cost, trial_gradient = _cost_and_gradient(x, gram, trial)
            accepted = waiting & (trial_cost <= memory.amax(1) - 1e-4 * step * slope)
            pick = accepted[:, None, None]
            moved, new_gradient = torch.where(pick, trial, moved), torch.where(pick, trial_gradient, new_gradient)
            new_cost = torch.where(accepted, trial_cost, new_cost)
            waiting = waiting & ~accepted
            if not bool(waiting.any()):
                break
            step = torch.where(waiting, step / 4, step)
        dv, dg = moved - v, new_gradient - gradient
        curvature = (dv * dg).sum((1, 2)).abs()
        long, short = dv.square().sum((1, 2)) / curvature, curvature / dg.square().sum((1, 2))
        step = (long if i % 2 else short).nan_to_num(1e-3).clamp(1e-8, 1e3)
        v, cost, gradient = moved, new_cost, new_gradient
        memory[:, i % memory.shape[1]] = cost
        final[todo], final_cost[todo] = v, cost
        going = (gradient.flatten(1).norm(dim=1) > tolerance) & ~waiting
        if not bool(going.all()):
            v, cost, gradient, step, memory, todo = (t[going] for t in (v, cost, gradient, step, memory, todo))
        if not len(todo):
            break
    return final_cost, final
