"""A mean over the batches of an epoch that leaves batches out without making the host wait for the device."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from neuroalign.metrics.base import EpochMetric

__all__: list[str] = []


class WeightedMean(EpochMetric):
    """The weighted mean of numbers, such as a loss per batch; NaN where no weight is positive.

    torchmetrics' ``MeanMetric`` checks every value for NaN, so that the host must wait for the device.

    Args:
        **kwargs: Of ``torchmetrics.Metric``.

    Shapes:
        update(value scalar, weight scalar) -> scalar.

    Example:
        >>> metric = WeightedMean()
        >>> metric.update(torch.tensor(0.5), 32)
        >>> metric.update(torch.tensor(0.0), torch.tensor(0))  # left out
        >>> metric.compute()
        tensor(0.5000)
    """

    total: Tensor
    weight: Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("total", torch.zeros(()), dist_reduce_fx="sum")
        self.add_state("weight", torch.zeros(()), dist_reduce_fx="sum")

    def update(self, value: Tensor, weight: Tensor | float = 1.0) -> None:
        """Add a number; a number of weight 0 is left out, even if it is NaN."""
        part = value.detach() * weight
        self.total = self.total + (torch.where(weight > 0, part, 0) if isinstance(weight, Tensor) else part)
        self.weight = self.weight + weight

    def compute(self) -> Tensor:
        """The mean."""
        return self.total / self.weight
