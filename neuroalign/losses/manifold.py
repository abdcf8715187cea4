"""Manifold guidance: match the radii and directions of a region's category manifolds, not its responses."""

from __future__ import annotations

import math
import warnings
from typing import Any, Literal, TypeAlias, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor

from neuroalign.config import build
from neuroalign.functional.classes import class_means, group_by_class, tiles_by_class
from neuroalign.functional.host import readable
from neuroalign.functional.nuclear_norms import nuclear_norms
from neuroalign.functional.variation import power_of_two, unit_range
from neuroalign.losses.categories import CategoryManifolds
from neuroalign.losses.labelled import LabelledLoss, safe_sqrt
from neuroalign.types import unknown

__all__ = ["ManifoldGuidanceLoss", "NonNeuralManifoldLoss"]

Deviations: TypeAlias = Literal["center", "batch mean"]


class ManifoldGuidanceLoss(LabelledLoss):
    r"""Pull each class of an embedding inside a region's category manifold.

    For a batch of embeddings z with labels, over the classes c present in it:

    .. math::
        \text{radius} &= \mathrm{mean}_c\; \mathrm{relu}\!\big(\sqrt{\mathrm{mean}_{i\in c}|z_i-\mu_c|^2} - R_c\big) \\
        \text{subspace} &= 1 - \mathrm{mean}_c\, \mathrm{mean}_{i\in c} \mathrm{VAF}_i, \qquad
        \mathrm{VAF}_i = 1 - |\tilde z_i - U_cU_c^\top\tilde z_i| / |\tilde z_i|

    with :math:`\tilde z_i = z_i - \mu_c`, the deviation from the manifold's own centre, and :math:`U_c` the manifold's
    principal directions about that centre. The radius term is 0 for members of the manifolds; the subspace term of new
    members is about :math:`\sqrt{1 - v}`, v the share of variance that the directions hold, and 0 where every deviation lies
    in their span. Moving class centres together raises both terms; a larger spread raises only the first.

    No projector :math:`UU^\top` is formed: the residual's squared norm is :math:`|\tilde z|^2 - |U^\top\tilde z|^2`, and all
    samples of a class share one product with its basis. A sample without a deviation has no direction and counts as fully
    accounted for. Manifolds measured in a Gaussian kernel's space (``CategoryManifolds.from_features(..., feature_map=...)``)
    give the kernel form of both terms: z is mapped to that space first, where a radius and a subspace can follow a curved
    manifold. The kernel is nearly 0 beyond about two bandwidths: there both terms are noise of the random features, and
    minimising them has no use. Bring embedding and manifolds to one scale first, for instance with z-scored targets. Computed
    in float32 or wider; in distributed training over the global batch, and every process must then call it equally often.

    Args:
        manifolds: The region's manifolds, in the space of the embedding or with a ``feature_map`` from that space to theirs.
        radius_weight: Weight of the radius term.
        subspace_weight: Weight of the subspace term.
        deviations_from: ``"center"``, as above; or ``"batch mean"``, :math:`\tilde z = z -` the mean of the batch, another
            reading of the method. The difference between the batch mean and a class's centre is (nearly) orthogonal to the
            class's directions and counts as unexplained, so that this form is lowest where all class centres coincide: it
            pulls classes together, and exists for comparison only.
        distributed: Whether to see the global batch where training is distributed.

    Shapes:
        embedding (stimulus, feature), labels (stimulus,) -> scalar.

    Raises:
        ValueError: If a label is out of range, the widths of embedding and manifolds differ, or ``deviations_from`` is
            unknown.

    Warns:
        UserWarning: At the first batch, if the kernel between the embedding and the manifolds is nearly 0 (kernel form only).

    Example:
        >>> labels = torch.arange(600) % 3
        >>> spread = torch.tensor([3.0, 2.0, 1.0, 0.1, 0.1, 0.1])
        >>> features = 5 * torch.randn(3, 6)[labels] + spread * torch.randn(600, 6)
        >>> some, others = slice(0, 300), slice(300, 600)
        >>> manifolds = CategoryManifolds.from_features(
        ...     features[some], labels[some], variance=0.95
        ... )
        >>> loss = ManifoldGuidanceLoss(manifolds)
        >>> terms = loss.terms(features[others], labels[others])  # of the same manifolds
        >>> float(terms["radius"]) < 0.3, float(terms["subspace"]) < 0.4
        (True, True)

    Source:
        Shao et al. 2024, arXiv 2405.02564 (manifold guidance). Their released code takes deviations from the batch mean.
    """

    def __init__(
        self,
        manifolds: CategoryManifolds | dict[str, Any],
        *,
        radius_weight: float = 1.0,
        subspace_weight: float = 1.0,
        deviations_from: Deviations = "center",
        distributed: bool = True,
    ) -> None:
        known: CategoryManifolds = build(manifolds, CategoryManifolds)
        super().__init__(
            known.num_inputs,
            known.num_classes,
            distributed,
            radius=float(radius_weight),
            subspace=float(subspace_weight),
        )
        if deviations_from not in get_args(Deviations):
            raise ValueError(unknown("deviations_from", deviations_from, get_args(Deviations)))
        self.manifolds, self.deviations_from = known, deviations_from
        self._reach_checked = known.feature_map is None

    def _described(self, arguments: dict[str, Any]) -> dict[str, Any]:
        return {**arguments, "manifolds": self.manifolds}

    def _terms(self, z: Float[Tensor, "stimulus feature"], labels: Int[Tensor, " stimulus"]) -> dict[str, Tensor]:
        m, num_classes = self.manifolds, self.manifolds.num_classes
        z = z if m.feature_map is None else m.feature_map(z)
        if not self._reach_checked and not torch.compiler.is_compiling():
            self._check_reach(z.detach(), labels)
        counts = z.new_zeros(num_classes).index_add(0, labels, z.new_ones(len(z)))
        present = counts > 0
        counts = counts.clamp_min(1)

        def mean_over_classes(per_class: Tensor) -> Tensor:
            return torch.where(present, per_class, 0).sum() / present.sum()

        deviation = z - m.centers.to(z.dtype)[labels]
        unit = power_of_two(deviation)
        deviation = deviation / unit
        squared = deviation.square().sum(1)
        rms = unit * safe_sqrt(z.new_zeros(num_classes).index_add(0, labels, squared) / counts)
        radius = mean_over_classes((rms - m.radii.to(z.dtype)).relu())

        if self.deviations_from == "batch mean":
            deviation = z - z.mean(0)
            deviation = deviation / power_of_two(deviation)
            squared = deviation.square().sum(1)
        explained = self._project(deviation, labels, present).square().sum(1)
        # The difference of two nearly equal numbers is rounding, whose gradient means nothing.
        residual = safe_sqrt(squared - explained, 4 * torch.finfo(z.dtype).eps * squared.detach())
        has_direction = squared > 0
        ratio = torch.where(has_direction, residual / torch.where(has_direction, safe_sqrt(squared), 1), 0 * squared)
        subspace = mean_over_classes(z.new_zeros(num_classes).index_add(0, labels, ratio) / counts)
        return {"radius": radius, "subspace": subspace}

    def _check_reach(self, z: Tensor, labels: Tensor) -> None:
        """Warn if the kernel between embeddings and manifolds is nearly 0, which is 1 on average for members."""
        self._reach_checked = True
        centers = self.manifolds.centers.to(z.dtype)[labels]
        likeness = float(((z * centers).sum(1) / centers.square().sum(1)).mean())
        if likeness < 0.2:
            warnings.warn(
                f"the embedding lies out of the kernel's reach: its likeness to the manifolds is {likeness:.2g}, that of "
                "their members 1, so that the terms and their gradient are noise. Bring it to the manifolds' scale (z-scored "
                "features, say), or take a larger bandwidth",
                stacklevel=4,
            )

    def _project(self, x: Tensor, labels: Tensor, present: Tensor) -> Tensor:
        """Coordinates of every sample in its class's basis, (stimulus, largest rank)."""
        bases = self.manifolds.padded_bases.to(x.dtype)
        if not readable(x):
            tile, slot, owner, height = tiles_by_class(labels, len(bases))
            grid = x.new_zeros(len(owner), height, x.shape[1]).index_put((tile, slot), x)
            return torch.bmm(grid, bases[owner])[tile, slot]
        if int(present.sum()) * 2 < len(present):  # copying few bases is cheaper than multiplying by many
            bases = bases[present]
            labels = (present.long().cumsum(0) - 1)[labels]
        position, width = group_by_class(labels, len(bases))
        grid = x.new_zeros(len(bases), width, x.shape[1]).index_put((labels, position), x)
        return torch.bmm(grid, bases)[labels, position]


class NonNeuralManifoldLoss(LabelledLoss):
    r"""The control without a brain: make class manifolds small and low-dimensional, with no region as the target.

    .. math::
        \text{radius} = \mathrm{mean}_c\; \mathrm{relu}(r_c / T - R), \qquad
        \text{nuclear} = \mathrm{mean}_c\; \frac{\|Z_c - \bar z_c\|_*}{T \sqrt{(n_c-1)\,\min(n_c-1, d)}}

    over the classes with two members or more in the batch: :math:`r_c^2 = \sum_{i\in c}|z_i-\bar z_c|^2/(n_c-1)` about the
    batch's class mean :math:`\bar z_c`, :math:`T^2 = \sum_i|z_i-\bar z|^2/(B-1)` of all B embeddings of width d. Both terms
    lie between 0, where every class is a single point, and about 1, where classes are not separated at all; for classes with
    equal variance in all dimensions the second is :math:`r_c/T`, for low-dimensional classes it is less. Neither shifting nor
    scaling the embedding changes them, so that they can't be lowered by shrinking it; an embedding without any spread counts
    as 1. Their size hardly depends on the size of the batch and the width of the embedding.

    If manifold guidance by a region does no better than this, the region's geometry was not what helped. For a fair
    comparison also match the scale of the two gradients: :func:`neuroalign.guidance.match_gradient_scale`. Singular values at
    rounding level have no gradient.

    Args:
        radius: R, the largest radius of a class without a loss, as a share of the spread of all embeddings, in [0, 1): 0.5
            leaves a quarter of the variance within classes. Without ``normalized``, in units of the embedding.
        radius_weight: Weight of the radius term.
        nuclear_weight: Weight of the nuclear-norm term.
        normalized: Whether to divide by the scale of the embedding and by the effect of batch size and width, as above. False
            gives the paper's form: :math:`r_c^2` is the mean over members, T and the root are 1. That form is lowest for a
            constant embedding, grows with batch size and width, and dominates the training at weights near 1; use lower
            weights.
        distributed: Whether to see the global batch where training is distributed.

    Shapes:
        embedding (stimulus, feature), labels (stimulus,) -> scalar.

    Raises:
        ValueError: If ``radius`` or a weight is negative, a normalised ``radius`` is not below 1, or shapes don't match.

    Example:
        >>> loss = NonNeuralManifoldLoss()
        >>> labels = torch.arange(200) % 4
        >>> scattered = torch.randn(200, 8)
        >>> tight = 5 * torch.eye(4, 8)[labels] + 0.1 * torch.randn(200, 8)
        >>> float(loss(scattered, labels)) > 1, float(loss(tight, labels)) < 0.1
        (True, True)

    Source:
        Shao et al. 2024, arXiv 2405.02564 (non-neural regularisers); the normalisation is ours.
    """

    def __init__(
        self,
        radius: float | None = None,
        *,
        radius_weight: float = 1.0,
        nuclear_weight: float = 1.0,
        normalized: bool = True,
        distributed: bool = True,
    ) -> None:
        if radius is None:
            radius = 0.5 if normalized else 1.0
        if not 0 <= radius < math.inf:
            raise ValueError(f"radius must not be negative, and must be finite; got {radius}")
        if normalized and radius >= 1:
            raise ValueError(
                f"radius is a share of the spread of all embeddings, in [0, 1); got {radius}. "
                "For one in units of the embedding, as in the paper, pass normalized=False"
            )
        super().__init__(None, None, distributed, radius=float(radius_weight), nuclear=float(nuclear_weight))
        self.radius, self.normalized = float(radius), bool(normalized)

    def _described(self, arguments: dict[str, Any]) -> dict[str, Any]:
        return {**arguments, "radius": self.radius}

    def _terms(self, z: Float[Tensor, "stimulus feature"], labels: Int[Tensor, " stimulus"]) -> dict[str, Tensor]:
        present, labels = labels.unique(return_inverse=True)
        if self.normalized:
            z = unit_range(z, whole=True)[0]  # only ratios are used
        else:
            unit = power_of_two(z)
            z = z / unit
        centers, counts = class_means(z, labels, len(present))
        x = z - centers[labels]
        squared = z.new_zeros(len(present)).index_add(0, labels, x.square().sum(1))
        position, width = group_by_class(labels, len(present))
        grid = z.new_zeros(len(present), width, z.shape[1]).index_put((labels, position), x)
        nuclear = nuclear_norms(grid, size=z.abs().amax())
        if not self.normalized:
            radius = (unit * safe_sqrt(squared / counts) - self.radius).relu().mean()
            return {"radius": radius, "nuclear": unit * nuclear.mean()}

        several = counts > 1
        freedom = (counts - 1).clamp_min(1)
        total = safe_sqrt((z - z.mean(0)).square().sum() / max(len(z) - 1, 1))
        spread = torch.where(total > 0, total, 1)
        # Shrinking keeps the ratio, but at spread 0 there is none: it counts as 1, where classes are not separated.
        radius = torch.where(total > 0, safe_sqrt(squared / freedom) / spread, 1)
        nuclear = torch.where(total > 0, nuclear / (freedom * freedom.clamp_max(z.shape[1])).sqrt() / spread, 1)
        share = several.to(z.dtype) / several.sum().clamp_min(1)
        return {"radius": (share * (radius - self.radius).relu()).sum(), "nuclear": (share * nuclear).sum()}
