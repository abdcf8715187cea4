"""Anchor points, where Gaussian vectors projected on the cone of a manifold's points touch it, and their statistics."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from neuroalign.functional.cone import cone_projection
from neuroalign.functional.control_variates import FEWEST_DRAWS, Estimator

__all__: list[str] = []


class GaussianDraws(NamedTuple):
    """Gaussian vectors t, stored only as the inner products that are needed.

    Attributes:
        inner: (manifold, draw, point), inner products of the shape part of t (all but its last coordinate) with each point.
        center: (manifold, draw), the last coordinate of t.
        squared: (manifold, draw), squared length of the shape part.
        size: (manifold,), D: number of coordinates of the shape part.
    """

    inner: Tensor
    center: Tensor
    squared: Tensor
    size: Tensor


class Normals(NamedTuple):
    """Standard normal numbers behind the draws, from which :func:`draw` makes vectors for given points.

    Attributes:
        point: (manifold, draw, point).
        center: (manifold, draw).
        rest: (dimension, manifold, draw), squared numbers of the dimensions that the points do not span.
    """

    point: Tensor
    center: Tensor
    rest: Tensor

    @classmethod
    def sample(cls, num: int, num_samples: int, num_points: int, num_rest: int, seed: int) -> Normals:
        """Draw the numbers; a larger ``num_rest`` leaves all other numbers as they are.

        Args:
            num: Number of manifolds.
            num_samples: Number of draws per manifold.
            num_points: Number of points per manifold.
            num_rest: Number of dimensions that the points do not span.
            seed: Seed of the numbers.
        """
        generator = torch.Generator().manual_seed(seed)

        def normal(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=generator, dtype=torch.float64)

        point, center = normal(num, num_samples, num_points), normal(num, num_samples)
        rest = [normal(num, num_samples).square() for _ in range(num_rest)]
        return cls(point, center, torch.stack(rest) if rest else point.new_zeros(0, num, num_samples))

    def select(self, manifolds: Tensor) -> Normals:
        """The numbers of the given manifolds alone."""
        return Normals(self.point[manifolds], self.center[manifolds], self.rest[:, manifolds])


def draw(
    shape: Float[Tensor, "manifold point point"], size: Int[Tensor, " manifold"], normals: Normals
) -> GaussianDraws:
    """Draw Gaussian vectors, using only the inner products of the points.

    The inner products of t with the points have covariance G, so they are :math:`G^{1/2}z`; the symmetric root makes them
    independent of the choice of eigenvectors. The entries of z are assigned to the points in the order of their
    distance from the centre, so that the order in which points are given plays no part. Of the rest of t only the length
    is needed.
    """
    points = shape.shape[2]
    values, vectors = torch.linalg.eigh(shape)
    rank = rank_of(values)
    values = torch.where(torch.arange(points, device=rank.device) >= points - rank[:, None], values, 0)
    place = shape.diagonal(dim1=1, dim2=2).argsort(dim=1, descending=True, stable=True).argsort(dim=1)
    point, center, rest = (x.to(shape) for x in normals)
    z = point.gather(2, place[:, None].expand_as(point)) @ vectors
    beyond = torch.arange(len(rest), device=rank.device)[:, None] < size - rank
    squared = (z.square() * (values > 0)[:, None]).sum(2) + (rest * beyond[:, :, None]).sum(0)
    return GaussianDraws((z * values.sqrt()[:, None]) @ vectors.mT, center, squared, size)


class AnchorGeometry(NamedTuple):
    """Estimates with one value per manifold, and the standard error of each."""

    inverse_capacity: Tensor
    radius: Tensor
    dimension: Tensor
    inverse_capacity_error: Tensor
    radius_error: Tensor
    dimension_error: Tensor
    residual: Tensor


def anchor_geometry(
    shape: Float[Tensor, "manifold point point"],
    draws: GaussianDraws,
    exists: Bool[Tensor, "manifold point"],
    *,
    kappa: float,
    variance_reduction: bool,
) -> AnchorGeometry:
    """Inverse capacity, radius and dimension of every manifold from given draws; see :func:`manifold_capacity`.

    Args:
        shape: (manifold, point, point), inner products of the points about their centre, in units of the centre's length.
        draws: Gaussian vectors.
        exists: (manifold, point) bool, False for the padding of smaller manifolds.
        kappa: Margin of the hyperplane, in units of the length of each centre.
        variance_reduction: Whether to use control variates.
    """
    both = exists[:, :, None] & exists[:, None, :]
    inner = draws.inner + (draws.center + kappa)[:, :, None]
    solved = cone_projection(torch.where(both, shape + 1, 0), torch.where(exists[:, None], inner, 0))
    weight = solved.coefficients.sum(2)
    inside = weight == 0
    nearest = inner.masked_fill(~exists[:, None], -torch.inf).argmax(2, keepdim=True)
    anchor = solved.coefficients / torch.where(inside, 1, weight)[:, :, None]
    anchor = torch.where(inside[:, :, None], torch.zeros_like(anchor).scatter_(2, nearest, 1.0), anchor)
    length2 = (anchor @ shape * anchor).sum(2).clamp_min(0)
    product = (draws.squared * length2).sqrt()
    cosine = torch.where(product > 0, (anchor * draws.inner).sum(2) / torch.where(product > 0, product, 1), 0)

    norm, size = solved.squared_norm, draws.size.to(shape)
    controls = []
    if variance_reduction and norm.shape[1] >= FEWEST_DRAWS:
        controls = [
            norm - solved.num_active - kappa * weight,  # Stein
            draws.center,
            draws.squared - size[:, None],
            draws.center.square() - 1,
        ]
    estimator = Estimator(norm, controls)

    mean = (estimator.weights[:, None] @ anchor)[:, 0]
    mean_inner = (anchor @ (shape @ mean[:, :, None]))[:, :, 0]  # of each anchor with the mean anchor
    mean_length2 = (mean * (shape @ mean[:, :, None])[:, :, 0]).sum(1)
    variance = estimator.mean(length2) - mean_length2
    if controls:
        # The noise of the mean anchor makes its length too large, and the variance about it too small.
        explained = estimator.basis.mT @ anchor
        unexplained = length2.sum(1) - (explained @ shape * explained).sum((1, 2))
        variance = variance + estimator.spread * unexplained / estimator.freedom
    radius = variance.clamp_min(0).sqrt()
    radius_error = estimator.error(length2 - 2 * mean_inner) / torch.where(radius > 0, 2 * radius, 1)
    mean_cosine = estimator.mean(cosine)
    return AnchorGeometry(
        estimator.mean(norm),
        radius,
        size * mean_cosine.square(),
        estimator.error(norm),
        torch.where(radius > 0, radius_error, 0),
        2 * size * mean_cosine.abs() * estimator.error(cosine),
        solved.residual.amax(),
    )


def rank_of(values: Float[Tensor, "manifold point"]) -> Int[Tensor, " manifold"]:
    """Number of dimensions of each cloud, from the eigenvalues of its inner products (manifold, point), in rising order."""
    return (values > values[:, -1:] * values.shape[1] * 1e-14).sum(1)
