"""Accuracy after a perturbation."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from neuroalign.functional.checks import check_devices, check_labels
from neuroalign.metrics.base import check_tensors
from neuroalign.metrics.stimuli import StimulusMetric
from neuroalign.moved import former_keywords

__all__ = ["RobustAccuracy"]


class RobustAccuracy(StimulusMetric):
    """Share of *all* images that are classified correctly after a perturbation; a clean error counts as an error.

    An image without an ``index`` counts as a separate image. Images with the same index, which distributed samplers repeat,
    count once. The attribute ``num_images`` is the number of images in the last value.

    Args:
        **kwargs: Of ``torchmetrics.Metric``.

    Shapes:
        update(logits (stimulus, class), target (stimulus,), index (stimulus,)) -> scalar in [0, 1].

    Raises:
        TypeError: If an argument is not a tensor, or classes or an index are not integers.
        ValueError: If shapes don't fit, a label is not a class of the logits, or, on ``compute``, no data were added.

    Example:
        >>> metric = RobustAccuracy()
        >>> metric.update(torch.eye(3), torch.tensor([0, 1, 1]))
        >>> metric.compute(), metric.num_images
        (tensor(0.6667), 3)
    """

    higher_is_better = True
    plot_lower_bound = 0.0
    plot_upper_bound = 1.0
    kept = ("correct",)
    correct: list[Tensor]

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.num_images = 0

    @former_keywords(labels="target")
    def update(self, preds: Tensor, target: Tensor, index: Tensor | None = None) -> None:
        """Add a batch of logits on perturbed images, (stimulus, class), or of predicted classes, (stimulus,)."""
        check_tensors(preds=preds, target=target)
        check_devices(preds=preds, target=target)
        if preds.ndim not in (1, 2) or target.ndim != 1:
            raise ValueError(
                f"preds must be logits (stimulus, class) or classes (stimulus,), and target (stimulus,); got "
                f"{tuple(preds.shape)} and {tuple(target.shape)}"
            )
        if len(preds) != len(target):
            raise ValueError(f"{len(preds)} rows of logits but {len(target)} labels")
        if preds.ndim == 1 and preds.is_floating_point():
            raise TypeError("preds (stimulus,) are predicted classes, integers; logits are (stimulus, class)")
        if preds.ndim == 2:
            check_labels(target, preds.shape[1])
        if preds.ndim == 1:
            right = preds == target
        else:  # argmax returns a class even for NaN logits; these count as wrong
            right = (preds.argmax(1) == target) & ~preds.isnan().any(1)
        self.add(index, correct=right.long())

    def compute(self) -> Tensor:
        """The accuracy over all images."""
        rows = self.seen().rows
        kept = self.joined("correct")[rows]
        self.num_images = len(kept)
        return kept.float().mean()
