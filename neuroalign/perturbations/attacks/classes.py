"""Checks of labels and targets: integers of any type become (stimulus,) int64 and must be classes of the model."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

__all__: list[str] = []


def as_classes(classes: object, num_images: int, device: torch.device, *, what: str = "labels") -> Tensor:
    """Classes as (stimulus,) int64 on a device, from integers of any type: a tensor, an array or a list.

    Args:
        classes: One integer per image.
        num_images: Number of images.
        device: Device of the result.
        what: Name of the classes in messages, "labels" or "targets".

    Raises:
        ValueError: If they are not integers (for example floats, or one-hot rows) or not one per image.

    Example:
        >>> as_classes([2, 0], 2, torch.device("cpu"))
        tensor([2, 0])
    """
    return _integers(classes, num_images, device, what, f"{what} must be (stimulus,) int64 in 0..C-1")


def as_index(index: object | None, num_images: int) -> Tensor:
    """Identities of images as (stimulus,) int64 on the CPU; None means each image's place in the batch.

    Raises:
        ValueError: If they are not integers or not one per image.

    Example:
        >>> as_index(None, 3)
        tensor([0, 1, 2])
    """
    if index is None:
        return torch.arange(num_images)
    return _integers(index, num_images, torch.device("cpu"), "index values", "index must be (stimulus,) int64")


def _integers(values: object, num_images: int, device: torch.device, what: str, wanted: str) -> Tensor:
    if not isinstance(values, Tensor):
        try:
            array = np.asarray(values)
        except (TypeError, ValueError, RuntimeError) as error:  # ragged lists, lists of tensors on a GPU
            raise ValueError(f"{wanted}; got a {type(values).__name__} that is not an array: {error}") from error
        if not array.ndim:
            raise ValueError(f"{wanted}; got {values!r}")
        # Through numpy, which reads every integer type and byte order; torch refuses some of them.
        values = torch.from_numpy(array.astype(np.int64)) if array.dtype.kind in "iub" else array
    shape = tuple(values.shape)
    if len(shape) == 2 and shape[0] == num_images:
        hint = "take squeeze(1)" if shape[1] == 1 else "one-hot or scores? take argmax(1)"
        raise ValueError(f"{wanted}; got shape {shape}: {hint}")
    if len(shape) != 1:
        raise ValueError(f"{wanted}; got shape {shape}")
    if shape[0] != num_images:
        raise ValueError(f"{num_images} images but {shape[0]} {what}: {wanted}, one for each image")
    if not isinstance(values, Tensor) or values.is_floating_point() or values.is_complex():
        hint = ": if these are whole numbers, make them integers first" if "float" in str(values.dtype) else ""
        raise ValueError(f"{wanted}; got values of type {values.dtype}{hint}")
    # A copy outside inference mode, because autograd keeps labels for the backward pass.
    return values.detach().to(device, torch.int64, copy=True)


class ClassRange:
    """The smallest and largest class in labels or targets, to be compared with a model's number of classes.

    The values are read once, so that on a GPU the host waits once and not at every pass through the model.

    Args:
        classes: (stimulus,) int64 tensors, by their name in messages.

    Example:
        >>> ClassRange({"labels": torch.tensor([0, 3])}).check(4)
    """

    def __init__(self, classes: Mapping[str, Tensor]) -> None:
        parts = {what: torch.stack(c.aminmax()) for what, c in classes.items() if c.numel()}
        ends = torch.stack(list(parts.values())).tolist() if parts else []
        self.ends = dict(zip(parts, ends))

    def check(self, num_classes: int) -> None:
        """Refuse classes that the model doesn't have.

        Raises:
            ValueError: If there are such classes; the message names the smallest and the largest class.
        """
        for what, (low, high) in self.ends.items():
            if low >= 0 and high < num_classes:
                continue
            hint = ": do they count from 1?" if (low, high) == (1, num_classes) else ""
            hint = ": leave images without a label out" if low == -1 and what == "labels" else hint
            raise ValueError(
                f"{what} run from {low} to {high}, but there are {num_classes} classes (0 to {num_classes - 1}); {what} must "
                f"be (stimulus,) int64 in 0..C-1{hint}"
            )


def check_targets(targets: Tensor, labels: Tensor) -> None:
    """Refuse targets that are an image's own label.

    Args:
        targets: (stimulus,) int64.
        labels: (stimulus,) int64.

    Raises:
        ValueError: If there are such targets; the message names the first image.
    """
    same = (targets == labels).nonzero()[:, 0].tolist()
    if same:
        first = same[0]
        raise ValueError(
            f"the target of {len(same)} of {len(labels)} images is their own label (the first: image {first}, class "
            f"{int(labels[first])}): a targeted attack needs another class"
        )
