"""Augmentation of each image by itself: seeds per batch and process, and transforms that would treat a batch as one image."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

__all__: list[str] = []

Augment = Callable[[Tensor], Tensor]
_COPIES, _DRAWS = 8, 6


def batch_seed(seed: int, batch: int, rank: int) -> int:
    """A different seed for every training batch of every process."""
    return ((seed * 1_000_003 + batch) * 1_000_003 + rank) % 2**63


def augmented(augment: Augment, images: Tensor, seed: int, *, image_by_image: bool) -> Tensor:
    """Augment images with random numbers from a seed; the global generator is not changed.

    Args:
        augment: From images (stimulus, channel, height, width) to images of the same or another size.
        images: (stimulus, channel, height, width).
        seed: Seed of the random numbers.
        image_by_image: Whether to call the augmentation with one image after the other.

    Raises:
        ValueError: If it returns another number of images.
    """
    with torch.random.fork_rng(devices=[images.device] if images.is_cuda else []):
        torch.manual_seed(seed)
        if image_by_image:
            out = torch.cat([augment(image[None]) for image in images]) if len(images) else images
        else:
            out = augment(images)
    if len(out) != len(images):
        raise ValueError(f"augment turned {len(images)} images into {len(out)}")
    return out


def treats_batches_alike(augment: Augment, image: Tensor) -> bool:
    """Whether an augmentation draws once per batch, so that all images of a batch would get the same crop or flip.

    torchvision's transforms do this when they are given a batch. Others are tried out on copies of one image: they draw once
    per batch if all copies come back equal, although another draw gives something else.

    Args:
        augment: The augmentation.
        image: (channel, height, width), any image.

    Example:
        >>> flip_all = lambda images: images.flip(3) if torch.rand(()) < 0.5 else images
        >>> treats_batches_alike(flip_all, torch.rand(3, 4, 4))
        True
    """
    if _torchvisions(augment):
        return True
    copies = image[None].repeat(_COPIES, 1, 1, 1)
    draws = [augmented(augment, copies, seed, image_by_image=False) for seed in range(_DRAWS)]
    if any(not bool((out == out[:1]).all()) for out in draws):
        return False
    first = draws[0][0]
    return any(out[0].shape != first.shape or not torch.equal(out[0], first) for out in draws)


def refuse_normalising(augment: Augment | None) -> None:
    """Refuse torchvision's Normalize among the transforms: networks here normalise in their first layer.

    Raises:
        ValueError: If there is one.
    """
    if any(type(part).__name__ == "Normalize" for part in _torchvisions(augment)):
        raise ValueError(
            "augment normalises images, but networks and predictors here do so themselves, in their first layer: leave "
            "Normalize out, and give its mean and std to the network"
        )


def _torchvisions(augment: Augment | None) -> list[Any]:
    parts: list[Any] = list(augment.modules()) if isinstance(augment, nn.Module) else [augment]
    parts += getattr(augment, "transforms", [])  # torchvision's older Compose is not an nn.Module
    return [part for part in parts if type(part).__module__.startswith("torchvision.transforms")]
