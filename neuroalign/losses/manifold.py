"""Manifold guidance: match the size and the directions of a region's category manifolds, not its responses."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from neuroalign.config import build, describe
from neuroalign.functional.manifold import class_centers, group_by_class
from neuroalign.losses.categories import CategoryManifolds
from neuroalign.losses.labelled import LabelledLoss, safe_sqrt


class ManifoldGuidanceLoss(LabelledLoss):
    r"""Pull each class of an embedding inside a region's category manifold.

    For a batch of embeddings z with labels, over the classes c present in it:

    .. math::
        \text{radius} &= \mathrm{mean}_c\; \mathrm{relu}\!\big(\sqrt{\mathrm{mean}_{i\in c}|z_i-\mu_c|^2} - R_c\big) \\
        \text{subspace} &= 1 - \mathrm{mean}_c\, \mathrm{mean}_{i\in c} \mathrm{VAF}_i, \qquad
        \mathrm{VAF}_i = 1 - |\tilde z_i - U_cU_c^\top\tilde z_i| / |\tilde z_i|

    with :math:`\tilde z = z -` batch mean. No projector :math:`UU^\top` is formed: the residual's squared norm is
    :math:`|\tilde z|^2 - |U^\top\tilde z|^2`, and all samples of a class share one product with its basis. A sample at
    the batch mean has no direction and counts as fully accounted for. Manifolds measured in a Gaussian kernel's space
    (``CategoryManifolds.from_features(..., feature_map=...)``) give the kernel form of both terms: z is taken to that space
    first, where a radius and a subspace can follow a curved manifold. Computed in float32 or wider; in distributed
    training over the global batch, whose processes must then call it equally often.

    Args:
        manifolds: The region's manifolds, in the space of the embedding or with the map that leads from there to theirs.
        radius_weight: Weight of the radius term.
        subspace_weight: Weight of the subspace term.
        distributed: Whether to see the global batch where training is distributed.

    Shapes:
        embedding (stimulus, feature), labels (stimulus,) -> scalar.

    Raises:
        ValueError: If a label is out of range, or the widths of embedding and manifolds differ.

    Example:
        >>> features, labels = torch.randn(60, 5), torch.arange(60) % 3
        >>> loss = ManifoldGuidanceLoss(CategoryManifolds.from_features(features, labels, variance=1.0))
        >>> {name: round(float(value), 3) for name, value in loss.terms(features, labels).items()}
        {'radius': 0.0, 'subspace': 0.0}

    Source:
        Shao et al. 2024, arXiv 2405.02564 (manifold guidance).
    """

    def __init__(
        self,
        manifolds: CategoryManifolds | dict[str, Any],
        *,
        radius_weight: float = 1.0,
        subspace_weight: float = 1.0,
        distributed: bool = True,
    ) -> None:
        manifolds = build(manifolds)
        super().__init__(
            manifolds.num_inputs,
            manifolds.num_classes,
            distributed,
            radius=float(radius_weight),
            subspace=float(subspace_weight),
        )
        self.manifolds = manifolds
        self.config = describe(
            "neuroalign.losses.ManifoldGuidanceLoss",
            manifolds=manifolds,
            radius_weight=radius_weight,
            subspace_weight=subspace_weight,
            distributed=distributed,
        )

    def _terms(self, z: Tensor, labels: Tensor) -> dict[str, Tensor]:
        m, num_classes = self.manifolds, self.manifolds.num_classes
        z = z if m.feature_map is None else m.feature_map(z)
        counts = labels.bincount(minlength=num_classes)
        present = counts > 0
        counts = counts.clamp_min(1).to(z.dtype)

        def mean_over_classes(values: Tensor) -> Tensor:
            per_class = z.new_zeros(num_classes).index_add(0, labels, values) / counts
            return per_class[present].mean()

        squared = (z - m.centers.to(z.dtype)[labels]).square().sum(1)
        rms = safe_sqrt(z.new_zeros(num_classes).index_add(0, labels, squared) / counts)
        radius = (rms - m.radii.to(z.dtype)).relu()[present].mean()

        centered = z - z.mean(0)
        norm2 = centered.square().sum(1)
        explained = self._project(centered, labels, present).square().sum(1)
        # What is left of a difference of equals is rounding: no direction to follow.
        residual = safe_sqrt(norm2 - explained, 4 * torch.finfo(z.dtype).eps * norm2.detach())
        has_direction = norm2 > 0
        ratio = torch.where(has_direction, residual / torch.where(has_direction, safe_sqrt(norm2), 1), 0 * norm2)
        return {"radius": radius, "subspace": mean_over_classes(ratio)}

    def _project(self, x: Tensor, labels: Tensor, present: Tensor) -> Tensor:
        """Coordinates of every sample in its class's basis, (stimulus, largest rank)."""
        bases = self.manifolds.padded_bases.to(x.dtype)
        if int(present.sum()) * 2 < len(present):  # copying few bases is cheaper than multiplying by many
            bases = bases[present]
            labels = (present.long().cumsum(0) - 1)[labels]
        position, width = group_by_class(labels, len(bases))
        grid = x.new_zeros(len(bases), width, x.shape[1]).index_put((labels, position), x)
        return torch.bmm(grid, bases)[labels, position]


class NonNeuralManifoldLoss(LabelledLoss):
    r"""The control without a brain: small, low-dimensional class manifolds of the network's own making.

    .. math::
        \text{radius} &= \mathrm{mean}_c\; \mathrm{relu}\!\big(\sqrt{\mathrm{mean}_{i\in c}|z_i-\bar z_c|^2} - R\big) \\
        \text{nuclear} &= \mathrm{mean}_c\; \|Z_c - \bar z_c\|_*

    over the classes present in the batch, with batch class means :math:`\bar z_c`. If manifold guidance by a region does
    not beat this, the region's geometry was not what helped. Singular values at rounding level send no gradient.

    Args:
        radius: R, in units of the embedding.
        radius_weight: Weight of the radius term.
        nuclear_weight: Weight of the nuclear-norm term.
        distributed: Whether to see the global batch where training is distributed.

    Shapes:
        embedding (stimulus, feature), labels (stimulus,) -> scalar.

    Raises:
        ValueError: If ``radius`` or a weight is negative, or shapes don't match.

    Example:
        >>> loss = NonNeuralManifoldLoss(radius=1.0)
        >>> loss(torch.zeros(4, 3), torch.tensor([0, 0, 1, 1]))
        tensor(0.)

    Source:
        Shao et al. 2024, arXiv 2405.02564 (non-neural regularisers).
    """

    def __init__(
        self,
        radius: float = 1.0,
        *,
        radius_weight: float = 1.0,
        nuclear_weight: float = 1.0,
        distributed: bool = True,
    ) -> None:
        if radius < 0:
            raise ValueError(f"radius must not be negative; got {radius}")
        super().__init__(None, None, distributed, radius=float(radius_weight), nuclear=float(nuclear_weight))
        self.radius = float(radius)
        self.config = describe(
            "neuroalign.losses.NonNeuralManifoldLoss",
            radius=radius,
            radius_weight=radius_weight,
            nuclear_weight=nuclear_weight,
            distributed=distributed,
        )

    def _terms(self, z: Tensor, labels: Tensor) -> dict[str, Tensor]:
        present, labels = labels.unique(return_inverse=True)
        centers, counts = class_centers(z, labels, len(present))
        x = z - centers[labels]
        squared = z.new_zeros(len(present)).index_add(0, labels, x.square().sum(1))
        radius = (safe_sqrt(squared / counts) - self.radius).relu().mean()
        position, width = group_by_class(labels, len(present))
        grid = z.new_zeros(len(present), width, z.shape[1]).index_put((labels, position), x)
        s = torch.linalg.svdvals(grid)
        floor = max(grid.shape[1:]) * torch.finfo(z.dtype).eps * z.detach().abs().amax()
        return {"radius": radius, "nuclear": torch.where(s > floor, s, 0 * s).sum(1).mean()}
