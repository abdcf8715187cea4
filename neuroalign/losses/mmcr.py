"""Maximum manifold capacity representations: many directions between stimuli, few within a stimulus."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from neuroalign.functional.classes import class_means, group_by_class
from neuroalign.functional.distributed import gather_batch, world_size
from neuroalign.functional.nuclear_norms import nuclear_norms
from neuroalign.functional.variation import unit_magnitude
from neuroalign.losses.labelled import LabelledLoss

__all__ = ["MMCRLoss"]


class MMCRLoss(LabelledLoss):
    r"""Spread the centroids of manifolds over many directions, and each manifold over few.

    With every embedding scaled to length 1,

    .. math:: \mathrm{loss} = -\|C\|_* + \lambda\,\mathrm{mean}_b \|Z_b\|_*

    C (manifold, feature) the centroids, :math:`Z_b` the points of manifold b, :math:`\|\cdot\|_*` the sum of singular values.
    Without labels a manifold is the views of one stimulus; with labels it is the stimuli of one class.

    Args:
        centroid_weight: Weight of the centroids' nuclear norm.
        local_weight: Lambda, weight of the nuclear norm within manifolds; with 0 only the lengths of the centroids act on the
            spread within.
        distributed: Whether to compute the loss of the global batch in distributed training.

    Shapes:
        embedding (stimulus, view, feature), or embedding (stimulus, feature) with labels (stimulus,) -> scalar.

    Raises:
        ValueError: If shapes don't match or a weight is negative.

    Example:
        >>> views = torch.eye(4)[:, None].expand(4, 2, 4)  # four stimuli, two equal views each
        >>> MMCRLoss()(views)
        tensor(-4.)

    Source:
        Yerxa, Kuang, Simoncelli and Chung 2023, *NeurIPS* (Maximum Manifold Capacity Representations).
    """

    def __init__(self, *, centroid_weight: float = 1.0, local_weight: float = 0.0, distributed: bool = True) -> None:
        super().__init__(None, None, distributed, centroid=float(centroid_weight), local=float(local_weight))

    def forward(
        self,
        embedding: Float[Tensor, "stimulus feature"] | Float[Tensor, "stimulus view feature"],
        labels: Int[Tensor, " stimulus"] | None = None,
    ) -> Float[Tensor, ""]:
        """The weighted sum of the terms."""
        terms = self.terms(embedding, labels)
        return sum((self.weights[name] * value for name, value in terms.items()), 0 * embedding.float().sum())

    def terms(
        self,
        embedding: Float[Tensor, "stimulus feature"] | Float[Tensor, "stimulus view feature"],
        labels: Int[Tensor, " stimulus"] | None = None,
    ) -> dict[str, Float[Tensor, ""]]:
        """``centroid`` and ``local``, unweighted scalars."""
        if labels is not None:
            return super().terms(embedding, labels)
        if embedding.ndim != 3:
            raise ValueError(
                f"without labels the embedding must be (stimulus, view, feature); got {tuple(embedding.shape)}"
            )
        if self.distributed and world_size() > 1:
            embedding = gather_batch(embedding)
        with torch.autocast(embedding.device.type, enabled=False):
            z = embedding.flatten(0, 1)
            z = _unit(z if z.dtype == torch.float64 else z.float()).view(embedding.shape)
            return self._norms(z.mean(1), z)

    def _terms(self, z: Float[Tensor, "stimulus feature"], labels: Int[Tensor, " stimulus"]) -> dict[str, Tensor]:
        present, labels = labels.unique(return_inverse=True)
        z = _unit(z)
        centers, _ = class_means(z, labels, len(present))
        if not self.weights["local"]:
            return self._norms(centers, None)
        position, width = group_by_class(labels, len(present))
        return self._norms(centers, z.new_zeros(len(present), width, z.shape[1]).index_put((labels, position), z))

    def _norms(self, centers: Tensor, manifolds: Tensor | None) -> dict[str, Tensor]:
        terms = {"centroid": -nuclear_norms(centers[None]).sum()}
        if manifolds is not None and self.weights["local"]:
            terms["local"] = nuclear_norms(manifolds).mean()
        return terms


def _unit(z: Tensor) -> Tensor:
    """Embeddings (stimulus, feature) of length 1."""
    return torch.nn.functional.normalize(unit_magnitude(z, 1)[0], dim=1)
