"""Normalisation of images as a network's first layer, and the normalisation that a pretrained network was trained with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from neuroalign.config import Described
from neuroalign.models.pretraining import torchvision_weights

__all__ = ["Normalize"]

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
PerChannel = Sequence[float] | Literal["auto"] | None
"""One value per channel; "auto" takes the network's own values, None means no normalisation."""


class Normalize(Described, nn.Module):
    """Subtract a mean and divide by a standard deviation, per channel. As a model's first layer it keeps eps in pixels.

    Args:
        mean: (channel,), in pixel units of [0, 1].
        std: (channel,), positive.

    Raises:
        ValueError: If a standard deviation is not positive, or the two differ in length.

    Example:
        >>> Normalize((0.5,), (0.25,))(torch.ones(1, 1, 1, 1)).item()
        2.0
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float] = IMAGENET_MEAN, std: Sequence[float] = IMAGENET_STD) -> None:
        super().__init__()
        if len(mean) != len(std) or min(std) <= 0:
            raise ValueError(f"mean and std must have one value per channel, std positive; got {mean} and {std}")
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32)[:, None, None])
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32)[:, None, None])

    def forward(self, images: Tensor) -> Tensor:
        """Normalise images (stimulus, channel, height, width)."""
        if images.shape[-3] != len(self.mean) and len(self.mean) != 1:
            number = images.shape[-3]
            advice = (
                "; grey images are repeated by np.repeat(images, 3, axis=1)"
                if (number, len(self.mean)) == (1, 3)
                else ""
            )
            raise ValueError(
                f"images have {number} channel{'' if number == 1 else 's'}, the normalisation {len(self.mean)}{advice}"
            )
        return (images - self.mean) / self.std

    def extra_repr(self) -> str:
        """Shown in ``repr``."""
        mean, std = ([float(f"{value:.6g}") for value in part.flatten().tolist()] for part in (self.mean, self.std))
        return f"mean={mean}, std={std}"


def own_normalization(
    backbone: nn.Module, name: str | None = None, weights: str | bool | None = None
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation, per channel, that a network was trained with; ImageNet's if they are not known.

    Args:
        backbone: The network; networks of timm carry their own values.
        name: Torchvision name of the network; None if it was not built by one.
        weights: Name of its torchvision weights, which carry their own values; None for random weights.

    Example:
        >>> own_normalization(nn.Identity())[0]
        (0.485, 0.456, 0.406)
    """
    told: Any = getattr(backbone, "pretrained_cfg", None)
    if isinstance(told, Mapping) and told.get("mean") is not None and told.get("std") is not None:
        return tuple(map(float, told["mean"])), tuple(map(float, told["std"]))
    if name is not None and weights is not None:
        from torchvision import models

        if name in models.list_models(module=models):
            transform = torchvision_weights(name, weights).transforms()
            return tuple(map(float, transform.mean)), tuple(map(float, transform.std))
    return IMAGENET_MEAN, IMAGENET_STD
