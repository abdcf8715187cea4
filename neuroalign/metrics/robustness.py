"""Accuracy after a perturbation."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torchmetrics import Metric

from neuroalign.metrics.stimuli import first_of_each, joined, next_index


class RobustAccuracy(Metric):
    """Share of *all* images that are classified right after a perturbation; a clean error counts as an error.

    Args:
        **kwargs: Of ``torchmetrics.Metric``.

    Shapes:
        update(logits (stimulus, class), labels (stimulus,), index (stimulus,)) -> scalar in [0, 1].

    ``index`` is each image's identity; an image that comes twice, as distributed samplers make it, counts once.

    Example:
        >>> metric = RobustAccuracy()
        >>> metric.update(torch.eye(3), torch.tensor([0, 1, 1]))
        >>> metric.compute(), metric.num_images
        (tensor(0.6667), 3)
    """

    full_state_update = False
    is_differentiable = False
    higher_is_better = True
    correct: list[Tensor]
    index: list[Tensor]

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("correct", [], dist_reduce_fx="cat")
        self.add_state("index", [], dist_reduce_fx="cat")
        self.num_images = 0

    def update(self, preds: Tensor, labels: Tensor, index: Tensor | None = None) -> None:
        """Add a batch of logits on perturbed images, (stimulus, class), or of predicted classes, (stimulus,)."""
        if len(preds) != len(labels):
            raise ValueError(f"{len(preds)} rows of logits but {len(labels)} labels")
        if index is None:
            index = next_index(self.index, len(preds), preds.device)
        if preds.ndim == 1:
            right = preds == labels
        else:  # NaN logits argmax to something; a network that says nothing is not right
            right = (preds.argmax(1) == labels) & ~preds.isnan().any(1)
        self.correct.append(right.long())
        self.index.append(index.to(preds.device).long())

    def compute(self) -> Tensor:
        """The accuracy over all images."""
        kept = joined(self.correct)[first_of_each(joined(self.index))]
        self.num_images = len(kept)
        return kept.float().mean()
