"""Stimuli grouped by class: the mean of each class, and the position of each stimulus within its class."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from neuroalign.functional.checks import check_features, check_labels

__all__ = ["class_centers"]


def class_centers(
    features: Float[Tensor, "stimulus feature"], labels: Int[Tensor, " stimulus"], num_classes: int
) -> tuple[Float[Tensor, "class feature"], Float[Tensor, " class"]]:
    """Mean of each class and number of its members; the mean of an absent class is 0.

    Args:
        features: (stimulus, feature).
        labels: (stimulus,), integers in ``range(num_classes)``.
        num_classes: Number of classes.

    Returns:
        Centres (class, feature) and counts (class,).

    Raises:
        ValueError: If shapes don't match or a label is out of range.

    Example:
        >>> class_centers(torch.tensor([[1.0], [3.0], [5.0]]), torch.tensor([0, 0, 1]), 2)
        (tensor([[2.],
                [5.]]), tensor([2., 1.]))
    """
    check_features(features, labels)
    check_labels(labels, num_classes)
    counts = features.new_zeros(num_classes).index_add(0, labels, features.new_ones(len(labels)))
    sums = features.new_zeros(num_classes, features.shape[1]).index_add(0, labels, features)
    return sums / counts.clamp_min(1)[:, None], counts


def group_by_class(labels: Int[Tensor, " stimulus"], num_classes: int) -> tuple[Tensor, int]:
    """Position of each sample in a (class, position) grid, (stimulus,), and the width of the grid."""
    counts = labels.bincount(minlength=num_classes)
    order = labels.argsort(stable=True)
    starts = counts.cumsum(0) - counts
    position = torch.empty_like(labels)
    position[order] = torch.arange(len(labels), device=labels.device) - starts[labels[order]]
    return position, int(counts.max())
