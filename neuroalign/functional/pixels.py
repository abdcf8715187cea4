"""Images of either storage, uint8 or floats in [0, 1], brought to one form; and the size of square ones."""

from __future__ import annotations

from numbers import Integral
from typing import Any

import numpy as np
import torch
from torch import Tensor

from neuroalign.types import check_images

__all__: list[str] = []


def as_pixels(images: np.ndarray | Tensor) -> Tensor:
    """Images as (stimulus, channel, height, width) uint8 or float32 in [0, 1].

    Args:
        images: uint8 (stimulus, height, width, channel) or (stimulus, channel, height, width); or float (stimulus, channel,
            height, width).

    Raises:
        TypeError: If images are no numbers.
        ValueError: If they have another shape, or are floats outside [0, 1].
    """
    if isinstance(images, np.ndarray):
        if images.dtype.kind not in "fiub":
            raise TypeError(f"images must be numbers, uint8 or floats in [0, 1]; got the type {images.dtype}")
        images = np.ascontiguousarray(images, dtype=images.dtype.newbyteorder("="))
    images = torch.as_tensor(images)
    if images.ndim != 4:
        raise ValueError(f"images must have four axes, (stimulus, channel, height, width); got {tuple(images.shape)}")
    channels_last = images.shape[1] not in (1, 3) and images.shape[3] in (1, 3)
    if images.dtype == torch.uint8:
        return (images.permute(0, 3, 1, 2) if channels_last else images).contiguous()
    if channels_last:
        raise ValueError(
            f"images are {tuple(images.shape)}: floats must be (stimulus, channel, height, width), channels first; "
            "images.transpose(0, 3, 1, 2) makes an array so"
        )
    check_images(images)
    return images.float().contiguous()


def to_pixels(images: Tensor) -> Tensor:
    """uint8 images as float32 in [0, 1], on the device they are on; other images as they are.

    Example:
        >>> to_pixels(torch.tensor([0, 51, 255], dtype=torch.uint8))
        tensor([0.0000, 0.2000, 1.0000])
    """
    if images.dtype != torch.uint8:
        return images
    pixels = images.float()
    # By a tensor on the same device: a GPU multiplies by the inverse of a number, which rounds differently.
    return pixels.div_(pixels.new_full((), 255))


def whole_size(image_size: Any) -> int:
    """The side of square images in pixels.

    Raises:
        TypeError: If it is no whole number.
        ValueError: If it is below 1.

    Example:
        >>> whole_size(16)
        16
    """
    if isinstance(image_size, bool) or not isinstance(image_size, Integral):
        raise TypeError(f"image_size must be one whole number, the side in pixels of square images; got {image_size!r}")
    size = int(image_size)
    if size < 1:
        raise ValueError(f"image_size must be at least 1; got {size}")
    return size
