"""Noise in every pixel and channel: Gaussian, shot, impulse and speckle.

Source: Hendrycks & Dietterich, ICLR 2019, arXiv 1903.12261. Images are (stimulus, channel, height, width) in [0, 1];
results may leave [0, 1]: :class:`Corruption` clips them.
"""

from __future__ import annotations

import torch
from torch import Tensor

from neuroalign.perturbations.corruptions.draws import Draws

__all__: list[str] = []


def gaussian_noise(images: Tensor, sd: float, *, draws: Draws) -> Tensor:
    """Add Gaussian noise, as a sensor does in low light.

    Args:
        images: (stimulus, channel, height, width) in [0, 1].
        sd: Standard deviation, in pixel units of [0, 1].
        draws: Random numbers of the images.

    Example:
        >>> noisy = gaussian_noise(torch.zeros(1, 3, 64, 64), 0.5, draws=Draws([0]))
        >>> (noisy.std() - 0.5).abs() < 0.01
        tensor(True)
    """
    return draws.normal(*images.shape[1:]).mul_(sd).add_(images)


def shot_noise(images: Tensor, photons: float, *, draws: Draws) -> Tensor:
    """Count photons: a Poisson number of mean ``photons`` times the pixel, divided by ``photons``.

    Args:
        images: (stimulus, channel, height, width) in [0, 1].
        photons: Mean count of a white pixel; fewer photons mean more noise.
        draws: Random numbers of the images.

    Example:
        >>> noisy = shot_noise(torch.ones(1, 3, 64, 64), 100, draws=Draws([0]))
        >>> (noisy.std() - 0.1).abs() < 0.01
        tensor(True)
    """
    return draws.poisson(images * photons, photons).div_(photons)


def impulse_noise(images: Tensor, share: float, *, draws: Draws) -> Tensor:
    """Set a share of all channel values to 0 or 1, each with the same probability: salt and pepper.

    Args:
        images: (stimulus, channel, height, width) in [0, 1].
        share: Expected share of channel values that are changed.
        draws: Random numbers of the images.

    Example:
        >>> hit = impulse_noise(torch.full((1, 3, 64, 64), 0.5), 0.2, draws=Draws([0])) != 0.5
        >>> (hit.float().mean() - 0.2).abs() < 0.02
        tensor(True)
    """
    chance = draws.uniform(*images.shape[1:])
    # Far below 0 where pepper is, far above 1 where salt is: in place this takes half the time of two `where`. The least
    # difference of two numbers drawn is 2^-24; half of it keeps a chance of exactly 0 from being pepper at a share of 0.
    pepper = (chance - (share / 2 - 2**-26)).mul_(1e30)
    salt = chance.sub_(1 - share / 2).mul_(1e30)
    return torch.maximum(torch.minimum(images, pepper, out=pepper), salt, out=salt).clamp_(0, 1)


def speckle_noise(images: Tensor, sd: float, *, draws: Draws) -> Tensor:
    """Add Gaussian noise in proportion to the pixel: ``x + x n``.

    Args:
        images: (stimulus, channel, height, width) in [0, 1].
        sd: Standard deviation at a white pixel, in pixel units.
        draws: Random numbers of the images.

    Example:
        >>> speckle_noise(torch.zeros(1, 3, 8, 8), 0.5, draws=Draws([0])).count_nonzero()
        tensor(0)
    """
    return draws.normal(*images.shape[1:]).mul_(sd).mul_(images).add_(images)
