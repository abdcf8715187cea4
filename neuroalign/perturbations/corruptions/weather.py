"""Weather: snow, frost and fog.

Source: Hendrycks & Dietterich, ICLR 2019, arXiv 1903.12261. Images are (stimulus, channel, height, width) in [0, 1];
results may leave [0, 1]: :class:`Corruption` clips them.
"""

from __future__ import annotations

import torch
from torch import Tensor

from neuroalign.perturbations.corruptions.blur import motion_kernel
from neuroalign.perturbations.corruptions.digital import luma
from neuroalign.perturbations.corruptions.draws import Draws
from neuroalign.perturbations.corruptions.filters import central_zoom, correlate
from neuroalign.perturbations.corruptions.frost_texture import frost_texture
from neuroalign.perturbations.corruptions.plasma import plasma

__all__: list[str] = []


def snow(
    images: Tensor,
    mean: float,
    sd: float,
    zoom: float,
    threshold: float,
    radius: float,
    sigma: float,
    kept: float,
    *,
    draws: Draws,
) -> Tensor:
    """Whiten the image and add falling flakes: bright points of noise, enlarged and blurred along a steep line.

    A second layer of flakes is the first rotated by 180 degrees, as published; the motion kernel is our own
    (:func:`motion_kernel`).

    Args:
        images: (stimulus, channel, height, width).
        mean: Mean of the noise from which the flakes come, in pixel units.
        sd: Standard deviation of the noise.
        zoom: Factor by which the flakes are enlarged.
        threshold: Noise below this value is no flake.
        radius: Half the length of a falling flake's path, in pixels.
        sigma: Standard deviation along the path, in pixels.
        kept: Weight of the image; the rest goes to the image whitened by ``max(x, 1.5 luma + 0.5)``.
        draws: Random numbers of the images.

    Example:
        >>> snow(
        ...     torch.zeros(2, 3, 32, 32), 0.1, 0.2, 1.0, 0.6, 8, 3.0, 0.95, draws=Draws([0, 1])
        ... ).shape
        torch.Size([2, 3, 32, 32])
    """
    layer = central_zoom(mean + sd * draws.normal(1, *images.shape[-2:]), zoom)
    layer = layer.masked_fill(layer < threshold, 0.0).clamp(0, 1)
    layer = correlate(layer, motion_kernel(radius, sigma, draws.uniform(low=-135.0, high=-45.0)), "edge")
    whitened = torch.maximum(images, 1.5 * luma(images) + 0.5)
    return kept * images + (1 - kept) * whitened + layer + layer.rot90(2, (-2, -1))


def frost(images: Tensor, kept: float, amount: float, *, draws: Draws) -> Tensor:
    """Add ice crystals to the image: ``kept x + amount texture``.

    The published corruption adds crops of five photographs. Ours adds a drawn texture, :func:`frost_texture`, so that
    numbers for frost, and means over corruptions that include it, are not those of published tables.

    Args:
        images: (stimulus, 3, height, width).
        kept: Weight of the image.
        amount: Weight of the texture.
        draws: Random numbers of the images.

    Example:
        >>> frost(torch.zeros(2, 3, 32, 32), 1.0, 0.2, draws=Draws([0, 1])).shape
        torch.Size([2, 3, 32, 32])
    """
    return frost_texture(draws, *images.shape[-2:]).mul_(amount).add_(images, alpha=kept)


def fog(images: Tensor, amount: float, decay: float, *, draws: Draws) -> Tensor:
    """Add a cloud and bring the brightest pixel back to where it was: ``(x + amount cloud) m / (m + amount)``.

    m is the image's largest value.

    Args:
        images: (stimulus, channel, height, width).
        amount: Weight of the cloud, in pixel units.
        decay: How fast fine structure fades in the cloud; see :func:`plasma`.
        draws: Random numbers of the images.

    Example:
        >>> images = torch.rand(2, 3, 32, 32)
        >>> torch.equal(fog(images, 0.0, 3.0, draws=Draws([0, 1])), images)
        True
    """
    height, width = images.shape[-2:]
    largest = images.amax((1, 2, 3), keepdim=True)
    cloud = plasma(draws, height, width, decay)[:, None]
    return (images + amount * cloud) * (largest / (largest + amount).clamp_min(1e-12))
