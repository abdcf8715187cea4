"""Images, labels and responses of a batch in any form that a loader gives."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from torch import Tensor

from neuroalign.types import Batch

__all__: list[str] = []


def batch_of(batch: Any, second: str) -> Batch:
    """A batch as a dict with ``image``: a mapping is returned as it is, the parts of a pair get names.

    Args:
        batch: The batch from the loader.
        second: Name of the second part of a pair, "label" or "response".

    Raises:
        TypeError: If it is neither a mapping nor a pair, or holds one batch from each of several loaders.
        ValueError: If a mapping has no ``image``.

    Example:
        >>> import torch
        >>> sorted(batch_of([torch.rand(2, 3, 4, 4), torch.zeros(2)], "label"))
        ['image', 'label']
    """
    if isinstance(batch, Mapping):
        if "image" in batch:
            return cast(Batch, batch)
        if batch and all(isinstance(part, (Mapping, tuple, list, type(None))) for part in batch.values()):
            raise TypeError(_several(list(batch)))
        raise ValueError(f"a batch needs 'image'; this one has {sorted(map(str, batch))}")
    if isinstance(batch, (tuple, list)):
        if batch and isinstance(batch[0], (Mapping, tuple, list)):
            raise TypeError(_several(list(range(len(batch)))))
        if len(batch) >= 2:
            return cast(Batch, {"image": batch[0], second: batch[1]})
    raise TypeError(
        f"a batch is a dict with 'image' and '{second}' or a pair (images, {second}s); got {_described(batch)}"
    )


def images_of(batch: Any) -> Tensor:
    """The images of a batch for prediction: a dict, a pair, or images alone.

    Returns:
        (stimulus, channel, height, width).

    Raises:
        TypeError: If the batch has no images.
        ValueError: If a mapping has no ``image``.

    Example:
        >>> import torch
        >>> images = torch.rand(2, 3, 4, 4)
        >>> all(
        ...     images_of(batch) is images
        ...     for batch in (images, [images], (images, None), {"image": images})
        ... )
        True
    """
    if isinstance(batch, Tensor):
        return batch
    if isinstance(batch, (tuple, list)) and len(batch) == 1 and isinstance(batch[0], Tensor):
        return batch[0]
    return batch_of(batch, "label")["image"]


def check_soft_labels(labels: Tensor, num_images: int, num_classes: int) -> bool:
    """Whether labels are soft (probabilities of the classes) instead of whole numbers.

    Args:
        labels: (stimulus,) whole numbers or (stimulus, class) in [0, 1].
        num_images: Number of stimuli.
        num_classes: Number of classes.

    Raises:
        ValueError: If they are neither soft labels nor whole numbers.

    Example:
        >>> import torch
        >>> (
        ...     check_soft_labels(torch.tensor([0, 2]), 2, 3),
        ...     check_soft_labels(torch.full((2, 3), 1 / 3), 2, 3),
        ... )
        (False, True)
    """
    soft = labels.is_floating_point()
    wanted = (num_images, num_classes) if soft and labels.ndim != 1 else (num_images,)
    if tuple(labels.shape) != wanted or (soft and labels.ndim == 1):
        raise ValueError(
            f"labels must be (stimulus,) int64 or, as probabilities, (stimulus, class) float, here ({num_images}, "
            f"{num_classes}); got {tuple(labels.shape)} {str(labels.dtype).removeprefix('torch.')}"
        )
    if soft and not bool(((labels >= 0) & (labels <= 1)).all()):
        raise ValueError(f"soft labels are probabilities in [0, 1]; found {labels.min():.3g} to {labels.max():.3g}")
    return soft


def whole_labels(labels: Tensor) -> Tensor:
    """The class of each label (stimulus,); for soft labels (stimulus, class), the class of the largest probability.

    Example:
        >>> import torch
        >>> whole_labels(torch.tensor([[0.3, 0.7], [0.9, 0.1]]))
        tensor([1, 0])
    """
    return labels.argmax(1) if labels.is_floating_point() else labels


def _several(names: list[Any]) -> str:
    return (
        f"{len(names)} loaders ({', '.join(map(str, names))}) give a batch each, but a step takes one batch: join their data "
        "sets in one loader (torch.utils.data.ConcatDataset), or override training_step and handle the batches one by one"
    )


def _described(batch: Any) -> str:
    if isinstance(batch, (tuple, list)):
        return f"{type(batch).__name__} of {len(batch)}"
    return type(batch).__name__
