"""Stimuli grouped by class: the mean of each class, and the position of each stimulus within its class."""

from __future__ import annotations

from typing import NamedTuple

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
    return class_means(features, labels, num_classes)


def class_means(
    features: Float[Tensor, "stimulus feature"], labels: Int[Tensor, " stimulus"], num_classes: int
) -> tuple[Float[Tensor, "class feature"], Float[Tensor, " class"]]:
    """As :func:`class_centers`, without its checks: for labels that are known to be right, and on a device."""
    counts = features.new_zeros(num_classes).index_add(0, labels, features.new_ones(len(labels)))
    sums = features.new_zeros(num_classes, features.shape[1]).index_add(0, labels, features)
    return sums / counts.clamp_min(1)[:, None], counts


def group_by_class(labels: Int[Tensor, " stimulus"], num_classes: int) -> tuple[Tensor, int]:
    """Position of each sample in a (class, position) grid, (stimulus,), and the width of the grid, read from the device."""
    position, counts = _positions(labels, num_classes)
    return position, int(counts.max())


class Tiles(NamedTuple):
    """Samples in tiles of one class each, a class having as many as it needs: their number depends on shapes alone.

    Attributes:
        tile: (stimulus,), the tile of each sample.
        slot: (stimulus,), the place of each sample in its tile.
        owner: (tile,), the class of each tile; 0 where a tile is empty.
        height: Number of slots of a tile.
    """

    tile: Tensor
    slot: Tensor
    owner: Tensor
    height: int


def tiles_by_class(labels: Int[Tensor, " stimulus"], num_classes: int) -> Tiles:
    """Samples grouped by class, without reading a number from the device.

    The largest class could hold the whole batch, and a (class, position) grid for that case would be mostly empty. Tiles of
    twice the mean number of samples are at most half as many again as there are classes.

    Example:
        >>> tiles_by_class(torch.tensor([2, 0, 2, 2, 2, 2]), 3)[:3]
        (tensor([1, 0, 1, 1, 1, 2]), tensor([0, 0, 1, 2, 3, 0]), tensor([0, 2, 2]))
    """
    labels = labels.long()
    present = min(num_classes, len(labels))
    height = 2 * -(-len(labels) // present)
    position, counts = _positions(labels, num_classes)
    needed = (counts + height - 1) // height
    tile = (needed.cumsum(0) - needed)[labels] + position // height
    owner = labels.new_zeros(present + (len(labels) - present) // height).scatter(0, tile, labels)
    return Tiles(tile, position % height, owner, height)


def _positions(labels: Tensor, num_classes: int) -> tuple[Tensor, Tensor]:
    """The number of each sample within its class, (stimulus,), and the number of members, (class,)."""
    labels = labels.long()
    counts = labels.new_zeros(num_classes).index_add(0, labels, torch.ones_like(labels))
    order = labels.argsort(stable=True)
    starts = counts.cumsum(0) - counts
    place = torch.arange(len(labels), device=labels.device) - starts[labels[order]]
    return torch.empty_like(labels).scatter(0, order, place), counts
