"""Budgets in pixel units of [0, 1]: projection into their balls, and random points. Lengths are in functional/norms.py."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from neuroalign.budgets import check_largest, with_numbers
from neuroalign.functional.draws import image_keys, normal, splitmix64, uniform
from neuroalign.functional.norms import Norm, length

__all__: list[str] = []


def per_sample(eps: float | str | Sequence[float | str] | Tensor, images: Tensor, norm: Norm) -> Tensor:
    """Budgets as (stimulus, 1, 1, 1), from a number or one value per image; an infinite one allows the whole box.

    A value may be a text, such as "8/255".

    Raises:
        ValueError: If a budget is not a number, negative, NaN or (linf) above 1, or there is not one budget per image.
    """
    eps = with_numbers(eps)
    try:
        # A number is checked where it is, on the host: reading it back from a GPU would make the host wait.
        eps = torch.as_tensor(eps, dtype=images.dtype)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"eps must be a number or one value per image ({len(images)}); got {eps!r}") from error
    if eps.ndim > 1 or (eps.ndim == 1 and len(eps) != len(images)):
        raise ValueError(f"eps must be a number or one value per image ({len(images)}); got shape {tuple(eps.shape)}")
    if not bool((eps >= 0).all()):
        raise ValueError(f"eps must not be negative; got {eps.tolist()}")
    if norm == "linf" and bool((eps > 1).any()):
        check_largest(float(eps.max()), norm)
    eps = torch.where(eps.isinf(), math.sqrt(images[0].numel()), eps)
    if not eps.ndim and eps.device.type == "cpu":
        return images.new_full((), float(eps)).expand(len(images), 1, 1, 1)
    return eps.to(images.device).expand(len(images))[:, None, None, None]


def project(delta: Tensor, images: Tensor, eps: Tensor, norm: Norm) -> Tensor:
    """The images plus ``delta``, projected into their balls and then into the box [0, 1]."""
    if norm == "linf":
        return (images + delta.clamp(-eps, eps)).clamp(0, 1)
    return (images + delta * (eps / length(delta, "l2").clamp_min(1e-30)).clamp_max(1)).clamp(0, 1)


def random_points(images: Tensor, eps: Tensor, norm: Norm, index: Tensor, *, seed: int, stream: int) -> Tensor:
    """A random point of each image's ball and box: drawn uniformly from the ball, then clipped to [0, 1].

    Args:
        images: (stimulus, channel, height, width).
        eps: (stimulus, 1, 1, 1).
        norm: Norm of the ball.
        index: (stimulus,) identity of each image.
        seed: Seed of all draws.
        stream: Number of this draw, if an image has several.
    """
    shape = images.shape[1:]
    keys = image_keys(index.to(images.device), seed, stream)
    if norm == "linf":
        noise = uniform(keys, *shape, low=-1.0, bits=16)  # finer than a pixel of 8 bits, at any budget
    else:
        noise = normal(keys, *shape)
        share = uniform(splitmix64(keys, 0)) ** (1 / math.prod(shape))
        noise *= share[:, None, None, None] / length(noise, "l2")
    return torch.addcmul(images, noise.to(images), eps).clamp_(0, 1)
