"""Blurs: Gaussian, out of focus, frosted glass, motion and zoom.

Source: Hendrycks & Dietterich, ICLR 2019, arXiv 1903.12261. Images are (stimulus, channel, height, width) in [0, 1],
lengths in pixels.
"""

from __future__ import annotations

import torch
from torch import Tensor

from neuroalign.perturbations.corruptions.draws import Draws
from neuroalign.perturbations.corruptions.filters import (
    border_index,
    central_zoom,
    correlate,
    gaussian_filter,
    gaussian_taps,
)

__all__: list[str] = []


def gaussian_blur(images: Tensor, sigma: float) -> Tensor:
    """Blur each channel by a Gaussian, cut at four standard deviations, the border repeated.

    Args:
        images: (stimulus, channel, height, width).
        sigma: Standard deviation in pixels.

    Example:
        >>> spot = torch.zeros(1, 1, 9, 9)
        >>> spot[0, 0, 4, 4] = 1
        >>> gaussian_blur(spot, 1.0).sum().round(decimals=4), gaussian_blur(spot, 0.0).sum()
        (tensor(1.), tensor(1.))
    """
    return gaussian_filter(images, sigma)


def disk(radius: float, alias: float) -> Tensor:
    """The image of a point out of focus: a disk on the pixel grid, its edge smoothed.

    Args:
        radius: Radius in pixels. Up to 8 the grid is 17 pixels wide and the edge is smoothed over 3 pixels, as published;
            above, the grid is as wide as the disk and the edge is smoothed over 5 pixels.
        alias: Standard deviation of that smoothing, in pixels. Larger values than published smooth over more pixels.

    Returns:
        Weights (1, 1, side, side) that sum to 1.

    Example:
        >>> disk(3, 0.1).shape, disk(10, 0.5).shape
        (torch.Size([1, 1, 17, 17]), torch.Size([1, 1, 21, 21]))
    """
    reach, width = (8, 3) if radius <= 8 else (int(radius), 5)
    width = max(width, 2 * round(2 * alias) + 1)
    grid = torch.arange(-reach, reach + 1, dtype=torch.float64)
    inside = (grid[:, None] ** 2 + grid**2 <= radius**2).double()
    taps = gaussian_taps(alias, width // 2)
    # rows of a matrix that smooths the grid; at its border "reflect", as in OpenCV's GaussianBlur
    sources = border_index(len(grid), width // 2, "reflect").unfold(0, width, 1)
    smooth = torch.zeros(len(grid), len(grid), dtype=torch.float64).scatter_add_(1, sources, taps.expand(len(grid), -1))
    return (smooth @ (inside / inside.sum()) @ smooth.T).float()[None, None]


def defocus_blur(images: Tensor, radius: float, alias: float) -> Tensor:
    """Put the image out of focus: every point becomes a disk, the border mirrored.

    Args:
        images: (stimulus, channel, height, width).
        radius: Radius of the disk, in pixels; a disk of a radius below 1 is one pixel.
        alias: Standard deviation in pixels of the smoothing of the disk's edge.

    Example:
        >>> defocus_blur(torch.ones(1, 3, 32, 32), 3, 0.1).min().round(decimals=4)
        tensor(1.)
    """
    return correlate(images, disk(radius, alias), "reflect")


def motion_kernel(radius: float, sigma: float, degrees: Tensor) -> Tensor:
    """The path of a moving camera: one half of a Gaussian along a line, from the pixel outward.

    Tap i = 0, 1, ..., 2 radius has weight exp(-i^2 / 2 sigma^2) and stands at the pixel nearest to
    i (cos a, sin a), as ImageMagick documents its motion blur; the weights sum to 1.

    Args:
        radius: Half the number of steps of the path, in pixels.
        sigma: Standard deviation in pixels.
        degrees: (stimulus,) direction; 0 is to the right, 90 down.

    Returns:
        (stimulus, 1, 4 radius + 1, 4 radius + 1).

    Example:
        >>> motion_kernel(1, 1.0, torch.tensor([0.0]))[0, 0, 2].round(decimals=2)
        tensor([0.0000, 0.0000, 0.5700, 0.3500, 0.0800])
    """
    reach = int(2 * radius)
    side = 2 * reach + 1
    steps = torch.arange(reach + 1, device=degrees.device, dtype=torch.float32)
    weights = torch.exp(-0.5 * (steps / sigma) ** 2)
    angle = torch.deg2rad(degrees.float())[:, None]
    x, y = (steps * angle.cos()).round().long(), (steps * angle.sin()).round().long()
    kernels = weights.new_zeros(len(degrees), side * side)
    kernels.scatter_add_(1, (y + reach) * side + x + reach, (weights / weights.sum()).expand(len(degrees), -1))
    return kernels.view(-1, 1, side, side)


def motion_blur(images: Tensor, radius: float, sigma: float, *, draws: Draws) -> Tensor:
    """Blur along a line in a random direction within 45 degrees of the horizontal, the border repeated.

    The kernel is our own, after ImageMagick's; see :func:`motion_kernel`.

    Args:
        images: (stimulus, channel, height, width).
        radius: Half the length of the path, in pixels.
        sigma: Standard deviation along it, in pixels.
        draws: Random numbers of the images.

    Example:
        >>> blurred = motion_blur(torch.ones(2, 3, 32, 32), 6, 1.0, draws=Draws([0, 1]))
        >>> blurred.min().round(decimals=4)
        tensor(1.)
    """
    return correlate(images, motion_kernel(radius, sigma, draws.uniform(low=-45.0, high=45.0)), "edge")


def zoom_blur(images: Tensor, *factors: float) -> Tensor:
    """Average the image with enlargements of its middle, as if one drove toward it.

    Args:
        images: (stimulus, channel, height, width).
        factors: Factors of the enlargements; the published ones begin with 1, so that the image itself counts twice.

    Example:
        >>> images = torch.rand(2, 3, 32, 32)
        >>> bool((zoom_blur(images, 1.0) - images).abs().max() < 1e-6)
        True
    """
    total = images.clone()
    for factor in factors:
        total += central_zoom(images, factor)
    return total / (len(factors) + 1)


def glass_blur(images: Tensor, sigma: float, shift: float, iterations: float, *, draws: Draws) -> Tensor:
    """The view through frosted glass: blur, let pixels take the values of near-by ones, blur again.

    The published procedure visits the pixels one by one from the lower right, and exchanges each with the pixel at a random
    offset from -shift to shift - 1. Because it uses views of one array, it copies instead of exchanging, and a copied value
    may have been copied before. We do the same, but follow all chains of copies at once (:func:`taken_from`).

    Args:
        images: (stimulus, channel, height, width).
        sigma: Standard deviation in pixels of both blurs.
        shift: Largest offset, in pixels.
        iterations: Number of visits to all pixels.
        draws: Random numbers of the images.

    Example:
        >>> images = torch.rand(2, 3, 32, 32)
        >>> blurred = glass_blur(images, 0.05, 1, 1, draws=Draws([0, 1]))
        >>> (
        ...     bool(torch.isin(blurred, images).all()),
        ...     torch.equal(blurred[..., :2, :], images[..., :2, :]),
        ... )
        (True, True)
    """
    height, width = images.shape[-2:]
    offsets = draws.integers(-int(shift), int(shift), int(iterations), 2, height, width)
    source = taken_from(offsets, int(shift)).flatten(1)[:, None].expand(-1, images.shape[1], -1)
    blurred = gaussian_blur(images, sigma)
    return gaussian_blur(blurred.flatten(2).gather(2, source).view_as(images), sigma)


def taken_from(offsets: Tensor, shift: int) -> Tensor:
    """Place of the pixel that each pixel shows, after copies made one by one from the last pixel to the first.

    Pixel p takes the value of p + offset: the new value if that pixel was visited before, else its old one. So new values
    form chains that end at an old one; all chains are followed together, with twice the length at each step.

    Args:
        offsets: (stimulus, iteration, 2, height, width) int64, rows before columns, from -shift to shift - 1.
        shift: Pixels at the border (``shift + 1`` at the first rows and columns, ``shift - 1`` at the last) stay.

    Returns:
        (stimulus, height, width) int64, places in the flattened image.

    Example:
        >>> taken_from(torch.full((1, 1, 2, 4, 4), -1), 1)[0]
        tensor([[ 0,  1,  2,  3],
                [ 4,  5,  6,  7],
                [ 8,  9,  5,  6],
                [12, 13,  9, 10]])
    """
    num, iterations, _, height, width = offsets.shape
    place = torch.arange(height * width, device=offsets.device)
    row, column = place // width, place % width
    visited = (row > shift) & (row <= height - shift) & (column > shift) & (column <= width - shift)
    result = place.expand(num, -1)
    for i in range(iterations):
        step = (offsets[:, i, 0] * width + offsets[:, i, 1]).flatten(1)
        source = place + step * visited
        unfinished = visited[source] & (source > place)  # shows a new value, so the chain goes on
        while bool(unfinished.any()):
            source, unfinished = (
                torch.where(unfinished, source.gather(1, source), source),
                unfinished & unfinished.gather(1, source),
            )
        result = result.gather(1, source)
    return result.view(num, height, width)
