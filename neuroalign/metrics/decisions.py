"""Shape bias: whether a classifier decides by shape or by texture, over a data set."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from neuroalign.functional.checks import check_devices
from neuroalign.functional.decisions import count_cues, sixteen_class_probabilities
from neuroalign.functional.intervals import wilson
from neuroalign.metrics.base import EpochMetric, check_tensors

__all__ = ["ShapeBias"]


class ShapeBias(EpochMetric):
    """Share of decisions for the shape's class among those for the shape's or the texture's class, on cue-conflict images.

    Logits of ImageNet's 1,000 classes are mapped to the 16 categories in alphabetical order; other logits, and predicted
    classes, are used as they are. Images whose shape and texture have the same class are left out.

    Args:
        **kwargs: Of ``torchmetrics.Metric``.

    Shapes:
        update(preds (stimulus, 1000) or (stimulus, class) or (stimulus,), shapes (stimulus,), textures (stimulus,)) ->
        dict with ``shape_bias``, ``shape_rate``, ``texture_rate``, ``num_shape``, ``num_texture``, ``num_images``, and
        ``low`` and ``high``, the shape bias's 95 % interval (Wilson, over the images decided by either cue).

    Example:
        >>> metric = ShapeBias()
        >>> shapes, textures = torch.tensor([0, 0, 0, 0]), torch.tensor([1, 1, 1, 0])
        >>> metric.update(torch.tensor([0, 1, 2, 0]), shapes, textures)
        >>> found = metric.compute()
        >>> float(found["shape_bias"]), float(found["num_images"])
        (0.5, 3.0)

    Source:
        Geirhos et al. 2019, arXiv 1811.12231.
    """

    counts: Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("counts", torch.zeros(3, dtype=torch.long), dist_reduce_fx="sum")

    def update(self, preds: Tensor, shapes: Tensor, textures: Tensor) -> None:
        """Add a batch."""
        check_tensors(preds=preds, shapes=shapes, textures=textures)
        check_devices(preds=preds, shapes=shapes, textures=textures)
        if preds.ndim == 2:
            silent = preds.isnan().any(1)  # argmax returns a class even for NaN logits; these are no decision
            logits = sixteen_class_probabilities(preds) if preds.shape[1] == 1000 else preds
            preds = torch.where(silent, -1, logits.argmax(1))
        if not bool((shapes != textures).any()):
            return
        self.counts = self.counts + self.counts.new_tensor(count_cues(preds, shapes, textures))

    def compute(self) -> dict[str, Tensor]:
        """The rates, their counts and the interval.

        Raises:
            ValueError: If no cue-conflict image was added.
        """
        num_shape, num_texture, total = self.counts.double()
        if not total and not self.in_forward:
            raise ValueError(
                "ShapeBias has seen no cue conflict (no image with a shape of one class and a texture of another was seen): "
                "call update before compute"
            )
        by_either = int(num_shape + num_texture)
        low, high = wilson(int(num_shape), by_either) if by_either else (torch.nan, torch.nan)
        return {
            "shape_bias": num_shape / (num_shape + num_texture),
            "shape_rate": num_shape / total,
            "texture_rate": num_texture / total,
            "num_shape": num_shape,
            "num_texture": num_texture,
            "num_images": total,
            "low": total.new_tensor(low),
            "high": total.new_tensor(high),
        }
