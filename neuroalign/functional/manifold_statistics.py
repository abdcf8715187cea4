"""The inner products that determine the geometry of class manifolds, without a feature-by-feature matrix."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Int
from torch import Tensor

from neuroalign.functional.checks import check_features, check_finite
from neuroalign.functional.classes import class_centers, group_by_class
from neuroalign.functional.manifold_input import stack_manifolds

__all__ = ["ManifoldStatistics"]

_ELEMENTS = 1 << 23  # entries of a block of features in float64: 64 MiB


class ManifoldStatistics(NamedTuple):
    r"""Inner products of the points of P manifolds about their centres, from which capacity, radius and dimension follow.

    Built by :meth:`from_manifolds`, :meth:`from_features` or :meth:`from_gram`, in float64. Each is a sum over features, so
    the statistics of blocks of features add up (``__add__``), and 10^5 features cost no more memory than 100.

    Attributes:
        within: (manifold, point, point), :math:`\langle x_m-c_i, x_n-c_i\rangle`; zero beyond a manifold's size.
        to_centers: (manifold, point, manifold), :math:`\langle x_m-c_i, c_j-\bar c\rangle` with :math:`\bar c` the mean of
            the centres.
        centers: (manifold, manifold), :math:`\langle c_i-\bar c, c_j-\bar c\rangle`.
        sizes: (manifold,) int64, number of points of each.
        num_features: Number of features, N.

    Example:
        >>> features, labels = torch.randn(60, 1000), torch.arange(60) % 3
        >>> statistics = ManifoldStatistics.from_features(features, labels)
        >>> statistics.within.shape, statistics.num_features
        (torch.Size([3, 20, 20]), 1000)
    """

    within: Tensor
    to_centers: Tensor
    centers: Tensor
    sizes: Tensor
    num_features: int

    @classmethod
    def from_features(cls, features: Tensor, labels: Tensor) -> ManifoldStatistics:
        """Statistics of features (stimulus, feature) with integer labels (stimulus,); manifolds in the order of their labels.

        Raises:
            TypeError: If features are not floating point.
            ValueError: If shapes don't match, values are NaN or infinite, or fewer than two classes are present.

        Example:
            >>> ManifoldStatistics.from_features(torch.eye(4), torch.tensor([0, 0, 7, 7])).sizes
            tensor([2, 2])
        """
        return cls._of(*stack_manifolds(features, labels))

    @classmethod
    def _of(cls, features: Tensor, labels: Tensor, num: int) -> ManifoldStatistics:
        sizes = labels.bincount(minlength=num)
        position, width = group_by_class(labels, num)
        total: ManifoldStatistics | None = None
        for block in features.split(max(1, _ELEMENTS // len(labels)), dim=1):
            x = block.double()
            check_finite(x)
            centers, _ = class_centers(x, labels, num)
            grid = x.new_zeros(num, width, x.shape[1])
            grid[labels, position] = x - centers[labels]
            centers = centers - centers.mean(0)
            part = cls(grid @ grid.mT, grid @ centers.T, centers @ centers.T, sizes, x.shape[1])
            total = part if total is None else total + part
        assert total is not None
        return total

    @classmethod
    def from_manifolds(cls, manifolds: Sequence[Tensor]) -> ManifoldStatistics:
        """Statistics of a list of manifolds (point, feature), of any sizes.

        Raises:
            ValueError: If there are fewer than two, one is empty, or widths differ.

        Example:
            >>> ManifoldStatistics.from_manifolds([torch.eye(4)[:1], torch.eye(4)[1:]]).sizes
            tensor([1, 3])
        """
        return cls._of(*stack_manifolds(manifolds, None))

    @classmethod
    def from_gram(cls, gram: Tensor, labels: Tensor, num_features: int | None = None) -> ManifoldStatistics:
        """Statistics from the inner products of all points, (stimulus, stimulus), about any origin.

        Squared Euclidean distances d become such a matrix as ``-0.5 * d``: the statistics do not depend on the rows' and
        columns' means.

        Args:
            gram: (stimulus, stimulus), symmetric.
            labels: (stimulus,), integers.
            num_features: Number of features N, on which the frame of the dimension depends; None means the number of
                stimuli.

        Raises:
            ValueError: If ``gram`` is not symmetric, shapes don't match, or fewer than two classes are present.

        Example:
            >>> x, labels = torch.randn(12, 5), torch.arange(12) % 3
            >>> by_gram = ManifoldStatistics.from_gram(x @ x.T, labels, num_features=5)
            >>> by_features = ManifoldStatistics.from_features(x, labels)
            >>> torch.allclose(by_gram.within, by_features.within, atol=1e-4)
            True
        """
        check_features(gram, labels)
        if gram.shape[0] != gram.shape[1]:
            raise ValueError(f"gram must be (stimulus, stimulus); got shape {tuple(gram.shape)}")
        k = gram.detach().double()
        if not bool(k.isfinite().all()):
            raise ValueError("gram holds NaN or infinite values")
        if not torch.allclose(k, k.T, rtol=1e-4, atol=1e-6 * float(k.abs().max())):
            raise ValueError("gram must be symmetric: inner products of the points with each other")
        _, labels, num = stack_manifolds(k, labels)
        sizes = labels.bincount(minlength=num)
        k = (k + k.T) / 2
        k = k - k.mean(0) - k.mean(1, keepdim=True) + k.mean()  # smaller numbers lose fewer digits
        share = torch.nn.functional.one_hot(labels, num).T / sizes[:, None].double()  # centres as means of points
        to = k @ share.T  # inner products of each point with each centre
        centers = share @ to
        shifted = to - centers[labels]  # (x - c_i) with each centre
        position, width = group_by_class(labels, num)
        to_centers = k.new_zeros(num, width, num)
        to_centers[labels, position] = shifted - shifted.mean(1, keepdim=True)
        within = k.new_zeros(num, width, width)
        for i in range(num):
            rows = (labels == i).nonzero()[:, 0]
            own = to[rows, i]
            within[i, : len(rows), : len(rows)] = k[rows][:, rows] - own[:, None] - own + centers[i, i]
        about = centers - centers.mean(0) - centers.mean(1, keepdim=True) + centers.mean()
        return cls(within, to_centers, about, sizes, len(k) if num_features is None else num_features)

    def __add__(self, other: object) -> ManifoldStatistics:
        """Statistics of both sets of features together, of the same points."""
        if not isinstance(other, ManifoldStatistics) or not torch.equal(self.sizes, other.sizes):
            raise ValueError("only statistics of the same points in other features can be added")
        return ManifoldStatistics(
            self.within + other.within,
            self.to_centers + other.to_centers,
            self.centers + other.centers,
            self.sizes,
            self.num_features + other.num_features,
        )

    def select(self, manifolds: Tensor) -> ManifoldStatistics:
        """Statistics of some manifolds (their numbers, int64) alone, about the mean of their own centres.

        Example:
            >>> features, labels = torch.randn(60, 1000), torch.arange(60) % 3
            >>> statistics = ManifoldStatistics.from_features(features, labels)
            >>> statistics.select(torch.tensor([0, 2])).centers.shape
            torch.Size([2, 2])
        """
        to = self.to_centers[manifolds][:, :, manifolds]
        centers = self.centers[manifolds][:, manifolds]
        centers = centers - centers.mean(0)
        return ManifoldStatistics(
            self.within[manifolds],
            to - to.mean(2, keepdim=True),
            centers - centers.mean(1, keepdim=True),
            self.sizes[manifolds],
            self.num_features,
        )

    @property
    def centers_about_grand_mean(self) -> Tensor:
        """Inner products of the centres about the mean of all points, to which large manifolds contribute more."""
        weights = self.sizes.double() / self.sizes.sum()
        mean = self.centers @ weights
        return self.centers - mean - mean[:, None] + weights @ mean

    @property
    def exists(self) -> Tensor:
        """(manifold, point) bool, False for the padding of smaller manifolds."""
        return torch.arange(self.within.shape[1], device=self.sizes.device) < self.sizes[:, None]


Manifolds = Tensor | Sequence[Tensor] | ManifoldStatistics
"""Input of the measures of manifolds: features with labels, a list of manifolds, or their statistics."""


def statistics_of(manifolds: Manifolds, labels: Int[Tensor, " stimulus"] | None) -> ManifoldStatistics:
    """The statistics of manifolds in any of the three forms of input.

    Raises:
        ValueError: If labels are missing for features, or given for anything else.
    """
    if not isinstance(manifolds, ManifoldStatistics):
        return ManifoldStatistics._of(*stack_manifolds(manifolds, labels))
    if labels is not None:
        raise ValueError("labels belong to features (stimulus, feature); statistics already say which point is whose")
    return manifolds
