"""Mean-field capacity, radius and dimension of class manifolds."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from neuroalign.functional.anchor_geometry import AnchorGeometry, Normals, anchor_geometry, draw, rank_of
from neuroalign.functional.center_correlation import center_directions, mean_absolute_cosine
from neuroalign.functional.checks import check_choice
from neuroalign.functional.manifold_input import result_dtype
from neuroalign.functional.manifold_statistics import Manifolds, ManifoldStatistics, statistics_of

__all__ = ["ManifoldCapacity", "manifold_capacity"]


class CenterAtMeanError(ValueError):
    """Raised if the centre of a manifold lies at the mean of all points: sizes relative to its length are undefined."""


class ManifoldCapacity(NamedTuple):
    """Result of :func:`manifold_capacity`; values per manifold stand in the order of the manifolds or labels.

    Attributes:
        capacity: Manifolds that a hyperplane can separate into two random groups, per dimension of the space: harmonic
            mean over manifolds. 2 for points.
        radius: Radius of the anchor points relative to the length of the manifold's centre, mean over manifolds.
        dimension: Dimension of the anchor points, mean over manifolds.
        capacity_per_manifold: (manifold,).
        radius_per_manifold: (manifold,).
        dimension_per_manifold: (manifold,).
        capacity_error: Monte-Carlo standard error of ``capacity``, from the Gaussian draws alone. It does not include that
            other images would give other values, and perhaps other removed directions.
        radius_error: The same of ``radius``.
        dimension_error: The same of ``dimension``.
        num_removed: Number of directions shared by the centres that were removed.
        center_correlation: Mean absolute cosine between the centres that were analysed.
        initial_center_correlation: The same before any direction was removed.
        residual: Largest violation of the optimality conditions over all projections; see
            :class:`neuroalign.functional.ConeProjection`.
    """

    capacity: Tensor
    radius: Tensor
    dimension: Tensor
    capacity_per_manifold: Tensor
    radius_per_manifold: Tensor
    dimension_per_manifold: Tensor
    capacity_error: Tensor
    radius_error: Tensor
    dimension_error: Tensor
    num_removed: int
    center_correlation: Tensor
    initial_center_correlation: Tensor
    residual: Tensor


def manifold_capacity(
    manifolds: Manifolds,
    labels: Int[Tensor, " stimulus"] | None = None,
    *,
    kappa: float = 0.0,
    num_samples: int = 200,
    center_correlation: Literal["remove", "keep"] = "remove",
    select: Literal["stability", "cost"] = "stability",
    frame: Literal["padded", "rank"] = "padded",
    variance_reduction: bool = True,
    seed: int = 0,
) -> ManifoldCapacity:
    r"""Mean-field capacity, radius and dimension of class manifolds.

    The mean of all points, and the directions that the centres share, are taken out first. The points of manifold i are
    expressed relative to its centre, :math:`s_m = (x_m - c_i)/|c_i|`, with a last coordinate of 1. For Gaussian draws
    :math:`t \in \mathbb R^{D+1}` let p be the projection of :math:`t + \kappa e` (e the last axis) on the cone of these
    points and :math:`\tilde s = p / p_{D+1}` the anchor point. Then

    .. math::
        1/\alpha_i = \langle |p|^2 \rangle, \qquad
        R_i^2 = \langle |\tilde s - \langle\tilde s\rangle|^2 \rangle, \qquad
        D_i = D\, \langle \cos(t, \tilde s) \rangle^2

    with the anchor's last coordinate left out of R and D. A draw whose projection is zero has the point of largest inner
    product as its anchor. Averages: :math:`\alpha = 1/\mathrm{mean}_i(1/\alpha_i)`, arithmetic for R and D.

    Only inner products between points of the same manifold and with the centres are formed, in float64, whatever the
    number of features. The result is a deterministic function of the inner products and ``seed``, invariant to rotation,
    translation and scale. A manifold of a single point, or without extent, has radius 0, dimension 0 and, at
    ``kappa=0``, capacity 2. Capacity falls and dimension grows with the number of points of a manifold (the documentation's
    page on geometry has a table): compare equal numbers.

    Args:
        manifolds: A list of (point, feature) tensors, features (stimulus, feature) with ``labels``, or
            :class:`ManifoldStatistics`. Sizes may differ.
        labels: (stimulus,), integers, beside features.
        kappa: Margin of the separating hyperplane in units of the centres' lengths, not negative.
        num_samples: Number of Gaussian draws per manifold.
        center_correlation: ``"remove"`` takes out the directions that the centres share, as the theory asks for;
            ``"keep"`` leaves them in. At least one direction is removed from four or more manifolds, none from two or
            three, and none where the centres span a single direction; see :func:`center_directions`.
        select: Which of several local minima of the removal to take: the one of the largest ``"stability"``, as published,
            or of the lowest ``"cost"``.
        frame: D in the dimension: ``"padded"``, the smaller of features and points, as published; or ``"rank"``, the number
            of dimensions the points span, with which a line segment has dimension 1.
        variance_reduction: Regress every estimate on quantities whose mean is known: Stein's identity
            :math:`\langle|p|^2\rangle = \langle k + \kappa\sum a\rangle` with k points in use and coefficients a, and the
            moments of t; and take out the bias of R by the finite number of draws. Needs 50 draws. With fewer draws, or
            False, the estimates are plain averages, as published.
        seed: Seed of the draws. The search for shared directions always begins from the same starts.

    Raises:
        TypeError: If features are not floating point.
        ValueError: If there are fewer than two manifolds, one is empty, values are NaN or infinite, a centre lies at the
            mean of all points, or an argument is out of range.

    Example:
        >>> generator = torch.Generator().manual_seed(0)
        >>> centers = torch.randn(20, 1, 500, generator=generator)
        >>> points = centers + 0.3 * torch.randn(20, 15, 500, generator=generator)
        >>> geometry = manifold_capacity(list(points))
        >>> bool(0.1 < geometry.capacity < 2), geometry.capacity_per_manifold.shape
        (True, torch.Size([20]))

    Source:
        Chung, Lee and Sompolinsky 2018, *Physical Review X* 8:031003; Cohen et al. 2020, *Nature Communications* 11:746.
        That the quadratic program is a cone projection, and the variance reduction by Stein's identity, are derived in the
        documentation's page on geometry.
    """
    if not (math.isfinite(kappa) and kappa >= 0):
        raise ValueError(f"kappa must be a finite margin of at least 0; got {kappa}")
    if num_samples < 2:
        raise ValueError(f"num_samples must be at least 2; got {num_samples}")
    check_choice("center_correlation", center_correlation, ("remove", "keep"))
    check_choice("frame", frame, ("padded", "rank"))
    dtype = _result_dtype(manifolds)
    statistics = statistics_of(manifolds, labels)
    initial = mean_absolute_cosine(statistics.centers)
    num_removed, left = 0, initial
    within, centers = statistics.within, statistics.centers_about_grand_mean
    if center_correlation == "remove":
        found = center_directions(statistics.centers, select=select)
        num_removed, left = found.num_removed, found.correlation
        within, centers = without_directions(statistics, found.coefficients)
    length2 = centers.diagonal()
    scale = torch.maximum(statistics.centers.diagonal().max(), within.diagonal(dim1=1, dim2=2).max())
    at_mean = (length2 <= 1e-12 * scale).nonzero()[:, 0].tolist()
    if at_mean:
        raise CenterAtMeanError(
            f"the centre of manifold {at_mean[0]} lies at the mean of all points"
            + (" once the shared directions are removed" if num_removed else "")
            + ", so that nothing has a size relative to it; leave that manifold out"
            + (' or pass center_correlation="keep"' if num_removed else "")
        )
    shape = within / length2[:, None, None]
    rank = rank_of(torch.linalg.eigvalsh(shape))
    size = rank if frame == "rank" else statistics.sizes.clamp_max(statistics.num_features)
    normals = Normals.sample(len(shape), num_samples, shape.shape[1], int((size - rank).max()), seed)
    estimates = anchor_geometry(
        shape, draw(shape, size, normals), statistics.exists, kappa=kappa, variance_reduction=variance_reduction
    )
    return _summary(estimates, num_removed, left, initial, dtype)


def without_directions(
    statistics: ManifoldStatistics, coefficients: Float[Tensor, "manifold direction"]
) -> tuple[Tensor, Tensor]:
    """``within`` and the inner products of the centres about the grand mean, once the given directions are taken out.

    Args:
        statistics: Inner products of the points and centres.
        coefficients: (manifold, direction): the directions are the centred centres times these.
    """
    coefficients = coefficients.to(statistics.within)
    shared = statistics.to_centers @ coefficients
    weights = statistics.sizes.double() / statistics.sizes.sum()
    projected = statistics.centers @ coefficients
    projected = projected - weights @ projected
    return (
        statistics.within - shared @ shared.mT,
        statistics.centers_about_grand_mean - projected @ projected.T,
    )


def _summary(
    estimates: AnchorGeometry, num_removed: int, correlation: Tensor, initial: Tensor, dtype: torch.dtype
) -> ManifoldCapacity:
    """Averages over manifolds, with their standard errors."""
    num = len(estimates.radius)
    inverse = estimates.inverse_capacity.mean()

    def pooled(errors: Tensor) -> Tensor:
        return errors.square().sum().sqrt() / num

    values = (
        1 / inverse,
        estimates.radius.mean(),
        estimates.dimension.mean(),
        1 / estimates.inverse_capacity,
        estimates.radius,
        estimates.dimension,
        pooled(estimates.inverse_capacity_error) / inverse.square(),
        pooled(estimates.radius_error),
        pooled(estimates.dimension_error),
    )
    capacity, radius, dimension, *rest = (v.to(dtype) for v in values)
    capacities, radii, dimensions, capacity_error, radius_error, dimension_error = rest
    return ManifoldCapacity(
        capacity,
        radius,
        dimension,
        capacities,
        radii,
        dimensions,
        capacity_error,
        radius_error,
        dimension_error,
        num_removed,
        correlation.to(dtype),
        initial.to(dtype),
        estimates.residual.to(dtype),
    )


def _result_dtype(manifolds: Manifolds) -> torch.dtype:
    if isinstance(manifolds, ManifoldStatistics):
        return manifolds.within.dtype
    return result_dtype(manifolds if isinstance(manifolds, Tensor) else next(iter(manifolds), torch.empty(0)))
