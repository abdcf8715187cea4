"""Guidance by geometry: it uses only the size and the directions of a region's category manifolds."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor, nn

from neuroalign.config import Described, build
from neuroalign.guidance.responses import check_heads, class_labels
from neuroalign.losses import CategoryManifolds, ManifoldGuidanceLoss
from neuroalign.losses.manifold import Deviations
from neuroalign.types import Batch

__all__ = ["ManifoldGuidance"]


class ManifoldGuidance(Described, nn.Module):
    """Pull each head's outputs into a region's category manifolds.

    Called as ``guidance(preds, batch)``; returns the terms, times their weights, as ``<head>/<term>``.

    Args:
        manifolds: By the head's name: category manifolds, the path of a file of them, or any loss with
            ``terms(embedding, labels)`` and ``weights``, such as :class:`NonNeuralManifoldLoss` (the control).
        radius_weight: Weight of the radius term, for the losses that are made here from manifolds.
        subspace_weight: Weight of the subspace term, for the same losses.
        deviations_from: Point from which the subspace term of the same losses measures deviations; see
            :class:`neuroalign.ManifoldGuidanceLoss`.

    Raises:
        ValueError: On the first batch, if the network has no head of that name or a label is out of range.

    Example:
        >>> from neuroalign import CategoryManifolds
        >>> features, labels = torch.randn(40, 6), torch.arange(40) % 2
        >>> manifolds = CategoryManifolds.from_features(features, labels)
        >>> guidance = ManifoldGuidance({"TO": manifolds})
        >>> sorted(guidance({"TO": features}, {"label": labels}))
        ['TO/radius', 'TO/subspace']

    Source:
        Shao et al. 2024, arXiv 2405.02564 (manifold guidance).
    """

    def __init__(
        self,
        manifolds: Mapping[str, CategoryManifolds | nn.Module | str | os.PathLike[str] | dict[str, Any]],
        *,
        radius_weight: float = 1.0,
        subspace_weight: float = 1.0,
        deviations_from: Deviations = "center",
    ) -> None:
        super().__init__()
        losses = {}
        for head, value in manifolds.items():
            if isinstance(value, (str, os.PathLike)):
                value = CategoryManifolds.load(value)
            else:
                value = build(value, nn.Module)
            if isinstance(value, CategoryManifolds):
                value = ManifoldGuidanceLoss(
                    value,
                    radius_weight=radius_weight,
                    subspace_weight=subspace_weight,
                    deviations_from=deviations_from,
                )
            losses[head] = value
        self.losses = nn.ModuleDict(losses)

    def _described(self, arguments: dict[str, Any]) -> dict[str, Any]:
        return {"manifolds": dict(self.losses.items())}

    def _by_head(self) -> Iterable[tuple[str, Any]]:
        """Heads and their losses: anything with ``weights`` and ``terms``."""
        return self.losses.items()

    def heads_needed(self) -> dict[str, tuple[int | None, str]]:
        """The heads that a network needs: the width that each must have, None if any will do, and what compares it."""
        return {
            head: (getattr(getattr(loss, "manifolds", None), "num_inputs", None), "the loss of its manifolds")
            for head, loss in self.losses.items()
        }

    @property
    def terms(self) -> tuple[str, ...]:
        """Names of the terms."""
        return tuple(f"{head}/{term}" for head, loss in self._by_head() for term in loss.weights)

    def forward(self, preds: Mapping[str, Tensor], batch: Batch) -> dict[str, Tensor]:
        """Weighted loss terms by name, for outputs by head (stimulus, feature) and the batch they came from."""
        check_heads(preds, self.losses)
        labels = class_labels(batch)
        return {
            f"{head}/{term}": loss.weights[term] * value
            for head, loss in self._by_head()
            for term, value in loss.terms(preds[head], labels).items()
        }
