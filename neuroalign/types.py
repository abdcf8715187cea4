"""Types and checks that all subpackages share: what a batch is, and whether images are pixels in [0, 1]."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, TypedDict, cast

import torch
from torch import Tensor

from neuroalign.moved import former_names
from neuroalign.names import unknown as unknown

__all__ = ["Batch", "as_batch"]


class Batch(TypedDict, total=False):
    """A batch, as our DataModules yield it and our tasks and guidance read it.

    Keys: ``image`` (stimulus, channel, height, width) in [0, 1]; ``label`` (stimulus,) int64; ``response``
    (stimulus, voxel), NaN where a response is missing; ``stimulus`` (stimulus,) int64, the image's identity;
    ``subject`` (stimulus,) int64, the subject that responded, if several subjects share a batch.
    """

    image: Tensor
    label: Tensor
    response: Tensor
    stimulus: Tensor
    subject: Tensor


__getattr__ = former_names(__name__, {"Perturbation": "neuroalign.perturbations"})


def as_batch(batch: Any) -> Batch:
    """A batch as a dict: mappings pass through, a pair ``(images, labels)`` gets its names.

    Raises:
        TypeError: If the batch is neither.
    """
    if isinstance(batch, Mapping):
        return cast(Batch, batch)
    if isinstance(batch, (tuple, list)) and len(batch) >= 2:
        return {"image": batch[0], "label": batch[1]}
    raise TypeError(
        f"a batch is a dict with 'image' and 'label' or a pair (images, labels); got {type(batch).__name__}"
    )


_NORMALIZED = (
    "If they were normalised with a mean and standard deviation, give these to the evaluation or callback as mean=... and "
    "std=..., or leave that out of the data: the model normalises in its first layer, so that eps is in pixel units."
)


def check_images(
    images: Tensor, tolerance: float = 1e-6, *, if_normalized: str = _NORMALIZED, values: bool = True
) -> tuple[float, float]:
    """Refuse images that are not in [0, 1], the most frequent mistake in attacks.

    Args:
        images: (stimulus, channel, height, width), float.
        tolerance: How far outside [0, 1] rounding may reach.
        if_normalized: What the message advises for images that were normalised.
        values: Whether to look at the pixels, for which the host waits if they are on a GPU; if not, only at type and shape.

    Returns:
        The smallest and the largest pixel; NaN if pixels were not looked at.

    Raises:
        TypeError: If they are no tensor.
        ValueError: If a pixel lies outside, or is NaN, or the shape or dtype is not that of an image batch.
    """
    if not isinstance(images, Tensor):
        raise TypeError(
            "images must be a torch tensor (stimulus, channel, height, width), floating point in [0, 1]; got a "
            f"{type(images).__name__}: torch.as_tensor makes one of an array"
        )
    if images.ndim != 4:
        raise ValueError(f"images must be (stimulus, channel, height, width); got shape {tuple(images.shape)}")
    if not images.is_floating_point():
        raise ValueError(f"images must be floating point in [0, 1]; got {images.dtype} (divide uint8 by 255)")
    if images.device.type == "meta":
        raise ValueError("images are on the device 'meta', where tensors have shapes but no values")
    if images.numel() == 0:
        raise ValueError(f"images are empty: shape {tuple(images.shape)}")
    if not values:
        return math.nan, math.nan
    low, high = torch.stack(images.detach().aminmax()).tolist()
    if math.isnan(low) or math.isnan(high):
        number = int(images.isnan().flatten(1).any(1).sum())
        raise ValueError(f"images must be pixels in [0, 1]; NaN is in {number} of {len(images)} images")
    if low < -tolerance or high > 1 + tolerance:
        bytes_first = low >= -tolerance  # a normalised batch has values below 0
        advice = ("If they are in 0..255, divide by 255.", if_normalized)
        raise ValueError(
            f"images must be pixels in [0, 1]; found values from {low:.3g} to {high:.3g}. "
            + " ".join(advice if bytes_first else advice[::-1])
        )
    return low, high


def outside(images: Tensor, tolerance: float = 1e-6) -> Tensor:
    """Whether any pixel lies outside [0, 1] or is NaN, as a scalar bool tensor for which no host waits.

    Example:
        >>> outside(torch.tensor([0.0, 1.0])), outside(torch.tensor([0.0, 1.1]))
        (tensor(False), tensor(True))
    """
    low, high = images.detach().aminmax()
    return ~((low >= -tolerance) & (high <= 1 + tolerance))
