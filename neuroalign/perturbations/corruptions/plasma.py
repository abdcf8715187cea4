"""Random clouds, for fog and for the haze of frost."""

from __future__ import annotations

import torch
from torch import Tensor

from neuroalign.perturbations.corruptions.draws import Draws

__all__: list[str] = []


def plasma(draws: Draws, height: int, width: int, decay: float) -> Tensor:
    """Clouds by midpoint displacement on a torus, the diamond-square algorithm.

    Each new point is the mean of its four neighbours plus a uniform displacement, whose range is divided by the square of
    ``decay`` from level to level, as in the published code.

    Args:
        draws: Random numbers of the images.
        height: Height in pixels; the result is cut from a square of the next power of two, as published.
        width: Width in pixels.
        decay: Larger values give smoother clouds.

    Returns:
        (stimulus, height, width), from 0 to 1 over the whole square.

    Source: Fournier, Fussell & Carpenter, Communications of the ACM 1982.

    Example:
        >>> clouds = plasma(Draws([0, 1]), 32, 32, 2.0)
        >>> clouds.shape, clouds.amin((1, 2)), clouds.amax((1, 2))
        (torch.Size([2, 32, 32]), tensor([0., 0.]), tensor([1., 1.]))
    """
    size = 1 << (max(height, width, 2) - 1).bit_length()
    displacement = draws.uniform(size, size, low=-1.0, high=1.0)  # one per point: each point is set at one level only
    points = torch.zeros_like(displacement)
    step, reach = size, 1.0
    while step >= 2:
        half = step // 2
        corners = points[:, ::step, ::step]
        right = corners + corners.roll(-1, 2)
        below = corners + corners.roll(-1, 1)
        middle = (right + right.roll(-1, 1)) / 4 + reach * displacement[:, half::step, half::step]
        points[:, half::step, half::step] = middle
        beside = (right + middle + middle.roll(1, 1)) / 4
        points[:, ::step, half::step] = beside + reach * displacement[:, ::step, half::step]
        under = (below + middle + middle.roll(1, 2)) / 4
        points[:, half::step, ::step] = under + reach * displacement[:, half::step, ::step]
        step, reach = half, reach / decay**2
    points -= points.amin((1, 2), keepdim=True)
    return (points / points.amax((1, 2), keepdim=True).clamp_min(1e-12))[:, :height, :width]
