"""The base of losses over labelled embeddings."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from neuroalign.config import Described
from neuroalign.functional.checks import check_devices, check_features, check_labels
from neuroalign.functional.distributed import gather_batch, world_size
from neuroalign.functional.host import FirstBatch, spoil

__all__: list[str] = []


class LabelledLoss(Described, nn.Module, ABC):
    """The base of losses over labelled embeddings: checks, float32, the global batch and the weighted sum of terms."""

    def __init__(self, num_features: int | None, num_classes: int | None, distributed: bool, **weights: float) -> None:
        super().__init__()
        for name, weight in weights.items():
            if not 0 <= weight < math.inf:
                raise ValueError(f"{name}_weight must not be negative, and must be finite; got {weight}")
        self.num_features, self.num_classes, self.distributed = num_features, num_classes, distributed
        self.weights = weights
        self._looks = FirstBatch()

    def forward(
        self, embedding: Float[Tensor, "stimulus feature"], labels: Int[Tensor, " stimulus"]
    ) -> Float[Tensor, ""]:
        """The weighted sum of the terms, for an embedding (stimulus, feature) and labels (stimulus,)."""
        terms = self.terms(embedding, labels)
        return sum((self.weights[name] * value for name, value in terms.items()), 0 * embedding.float().sum())

    def terms(
        self, embedding: Float[Tensor, "stimulus feature"], labels: Int[Tensor, " stimulus"]
    ) -> dict[str, Float[Tensor, ""]]:
        """The terms by name, unweighted scalars."""
        check_features(embedding, labels)
        held = next(self.named_buffers(), None)
        check_devices(embedding=embedding, labels=labels, **dict(() if held is None else (held,)))
        if self.num_features is not None and embedding.shape[1] != self.num_features:
            raise ValueError(f"the manifolds have {self.num_features} features, the embedding {embedding.shape[1]}")
        looks = self._looks(labels)
        if self.num_classes is not None and looks:
            check_labels(labels, self.num_classes)
        with torch.autocast(embedding.device.type, enabled=False):
            z = embedding if embedding.dtype == torch.float64 else embedding.float()
            if self.distributed and world_size() > 1:
                z, labels = gather_batch(z), gather_batch(labels)
            if not len(z):
                return dict.fromkeys(self.weights, 0 * z.sum())
            if self.num_classes is None or looks:
                return self._terms(z, labels)
            known = labels.clamp(0, self.num_classes - 1)
            wrong = (labels != known).any()
            return {name: spoil(value, wrong) for name, value in self._terms(z, known).items()}

    @abstractmethod
    def _terms(self, z: Float[Tensor, "stimulus feature"], labels: Int[Tensor, " stimulus"]) -> dict[str, Tensor]: ...

    def extra_repr(self) -> str:
        """Shown in ``repr``."""
        return ", ".join(f"{name}_weight={weight}" for name, weight in self.weights.items())


def safe_sqrt(x: Tensor, floor: Tensor | float = 0.0) -> Tensor:
    """Square root whose gradient is 0 at or below the floor, where the true gradient is infinite or mere rounding."""
    positive = x > floor
    return torch.where(positive, torch.where(positive, x, 1).sqrt(), 0 * x)
