"""Gabor energy, the standard model of complex cells in V1 (Adelson & Bergen 1985)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

__all__ = ["gabor_energy", "gabor_filters"]


def gabor_filters(
    size: int, wavelength: float, num_orientations: int = 4, *, bandwidth: float = 0.5, aspect: float = 1.0
) -> Float[Tensor, "{num_orientations} 2 {size} {size}"]:
    """Quadrature pairs of Gabor filters, zero mean and unit norm.

    Args:
        size: Height and width in pixels, odd.
        wavelength: Period of the carrier in pixels.
        num_orientations: Number of orientations, spread evenly over 180 degrees.
        bandwidth: Standard deviation of the envelope in wavelengths.
        aspect: Length of the envelope along the stripes divided by its width.

    Returns:
        (orientation, 2, height, width): even and odd phase.

    Raises:
        ValueError: If ``size`` is even or the wavelength is below the Nyquist limit of 2 pixels.

    Example:
        >>> gabor_filters(7, 4.0).shape
        torch.Size([4, 2, 7, 7])
    """
    if size % 2 == 0:
        raise ValueError(f"size must be odd, so that the filter has a centre; got {size}")
    if wavelength < 2:
        raise ValueError(f"wavelength must be at least 2 pixels; got {wavelength}")
    half = size // 2
    y, x = torch.meshgrid(torch.arange(-half, half + 1.0), torch.arange(-half, half + 1.0), indexing="ij")
    theta = torch.arange(num_orientations)[:, None, None] * math.pi / num_orientations
    across, along = x * theta.cos() + y * theta.sin(), -x * theta.sin() + y * theta.cos()
    sigma = bandwidth * wavelength
    envelope = torch.exp(-(across**2 + (along / aspect) ** 2) / (2 * sigma**2))
    phase = 2 * math.pi * across / wavelength
    pair = torch.stack([envelope * phase.cos(), envelope * phase.sin()], 1)
    # An even filter with a mean would respond to brightness.
    pair = pair - envelope[:, None] * pair.sum((-2, -1), keepdim=True) / envelope.sum((-2, -1))[:, None, None, None]
    result: Tensor = pair / pair.flatten(2).norm(dim=-1)[..., None, None]
    return result


def gabor_energy(
    images: Float[Tensor, "stimulus channel height width"],
    filters: Float[Tensor, "orientation 2 size size"],
    *,
    normalize: float | None = None,
) -> Float[Tensor, "stimulus orientation height width"]:
    r"""Phase-invariant energy :math:`\sqrt{e^2+o^2}` of every orientation at every position.

    Args:
        images: (stimulus, channel, height, width); channels are averaged to luminance.
        filters: (orientation, 2, size, size) from :func:`gabor_filters`.
        normalize: Semi-saturation constant of a divisive normalisation over orientations (Heeger 1992), in units of energy;
            None means no normalisation.

    Returns:
        (stimulus, orientation, height, width), non-negative. Images are padded by reflection, so that their border
        is not an edge itself.

    Example:
        >>> gabor_energy(torch.full((1, 3, 8, 8), 0.5), gabor_filters(5, 3.0)).amax() < 1e-5
        tensor(True)
    """
    gray = images.mean(1, keepdim=True)
    pad = min(filters.shape[-1] // 2, gray.shape[-1] - 1, gray.shape[-2] - 1)
    short = filters.shape[-1] // 2 - pad
    kernel = filters.to(gray).flatten(0, 1)[:, None]
    gray = F.pad(gray, [pad] * 4, mode="reflect")
    if short:
        gray = F.pad(gray, [short] * 4, mode="replicate")
    quadrature = F.conv2d(gray, kernel).unflatten(1, (-1, 2))
    energy = (quadrature.square().sum(2) + 1e-12).sqrt()
    result: Tensor = energy if normalize is None else energy / (normalize + energy.mean(1, keepdim=True))
    return result
