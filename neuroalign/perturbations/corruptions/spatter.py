"""Drops of water or mud on the lens.

Source: Hendrycks & Dietterich, ICLR 2019, arXiv 1903.12261. Images are (stimulus, channel, height, width) in [0, 1];
results may leave [0, 1]: :class:`Corruption` clips them.
"""

from __future__ import annotations

import torch
from torch import Tensor

from neuroalign.perturbations.corruptions.draws import Draws
from neuroalign.perturbations.corruptions.filters import box_filter, gaussian_filter, pad

__all__: list[str] = []

TURQUOISE = (175 / 255, 238 / 255, 238 / 255)
BROWN = (63 / 255, 42 / 255, 20 / 255)


def spatter(
    images: Tensor, mean: float, sd: float, sigma: float, threshold: float, strength: float, mud: float, *, draws: Draws
) -> Tensor:
    """Cover the image with drops, which are where smooth noise exceeds a threshold.

    Water brightens the image toward a pale turquoise, most along one side of each drop; mud replaces the image by brown.

    Args:
        images: (stimulus, 3, height, width).
        mean: Mean of the noise.
        sd: Standard deviation of the noise before smoothing.
        sigma: Standard deviation in pixels of the Gaussian that smooths the noise.
        threshold: Noise above this value is a drop.
        strength: For water, the largest change in pixel units (before the colour); for mud, the standard deviation in
            pixels of the Gaussian that smooths the outlines.
        mud: 0 for water, 1 for mud.
        draws: Random numbers of the images.

    Example:
        >>> spatter(
        ...     torch.zeros(2, 3, 32, 32), 0.62, 0.1, 0.7, 0.7, 0.5, 0, draws=Draws([0, 1])
        ... ).shape
        torch.Size([2, 3, 32, 32])
    """
    liquid = gaussian_filter(mean + sd * draws.normal(1, *images.shape[-2:]), sigma)
    colour = torch.tensor(BROWN if mud else TURQUOISE).to(images)[:, None, None]
    if mud:
        cover = gaussian_filter((liquid > threshold).float(), strength)
        cover = cover.masked_fill(cover < 0.8, 0.0)
        return images * (1 - cover) + cover * colour
    shine = (liquid * 255).floor().masked_fill(liquid < threshold, 0.0) * relief(liquid >= threshold)
    return images + strength * colour * shine / shine.amax((1, 2, 3), keepdim=True).clamp_min(1e-12)


def relief(drops: Tensor, reach: int = 20) -> Tensor:
    """Light on drops: the slope of the distance from their outlines, seen from the upper left.

    Steps as published: distance up to 20 pixels, 3 x 3 mean, histogram equalised, slope along the diagonal where
    positive, 3 x 3 mean. Two steps differ: outlines are the pixels of a drop that touch a pixel outside it (the original
    uses Canny edges of the liquid), and distances are exact (OpenCV's are approximate).

    Args:
        drops: (stimulus, 1, height, width) bool.
        reach: Largest distance in pixels; longer distances count as this one.

    Returns:
        (stimulus, 1, height, width), 0 to 255.

    Example:
        >>> light = relief(torch.arange(64).view(1, 1, 8, 8) > 30)
        >>> light.shape, bool((light >= 0).all() and (light <= 255).all())
        (torch.Size([1, 1, 8, 8]), True)
    """
    outlines = drops & (box_filter(drops.float()) < 0.99)  # a pixel of the 3 x 3 around it is outside the drop
    distance = box_filter(distance_to(outlines, reach)).floor()
    equal = pad(equalize(distance.long(), reach + 1), (1, 1), "reflect")
    # slope: the weights [-2 -1 0, -1 0 1, 0 1 2] are i + j for i, j = -1, 0, 1, a difference of rows and one of columns
    down, right = equal[..., 2:, :] - equal[..., :-2, :], equal[..., 2:] - equal[..., :-2]
    down = down[..., :-2] + down[..., 1:-1] + down[..., 2:]
    right = right[..., :-2, :] + right[..., 1:-1, :] + right[..., 2:, :]
    return box_filter((down + right).clamp(0, 255))


def distance_to(marks: Tensor, reach: int) -> Tensor:
    """Euclidean distance to the nearest marked pixel, at most ``reach``, in pixels.

    Squared distances are found along rows first; then, for each pixel, the minimum over rows of a row's squared distance
    plus the squared distance to that row (Felzenszwalb & Huttenlocher, Theory of Computing 2012). Since k^2 = 1 + 3 + ... +
    (2k - 1), steps of one pixel at costs 1, 3, 5, ... find the minimum over all distances along an axis.

    Args:
        marks: (stimulus, 1, height, width) bool.
        reach: Largest distance, in pixels.

    Example:
        >>> marks = torch.zeros(1, 1, 4, 4, dtype=torch.bool)
        >>> marks[0, 0, 0, 0] = True
        >>> distance_to(marks, 4)[0, 0, 3]
        tensor([3.0000, 3.1623, 3.6056, 4.0000])
    """
    narrow = reach**2 + 2 * reach < 2**15  # half the memory
    squared = torch.where(marks, 0, reach**2).to(torch.int16 if narrow else torch.int32)
    for axis in (-1, -2):
        for k in range(1, min(reach, squared.shape[axis])):
            before, size = squared + (2 * k - 1), squared.shape[axis] - 1
            for here, there in ((0, 1), (1, 0)):
                part = squared.narrow(axis, here, size)
                torch.minimum(part, before.narrow(axis, there, size), out=part)
    return squared.float().sqrt()


def equalize(levels: Tensor, num: int) -> Tensor:
    """Spread each image's levels evenly over 0..255, by rank: histogram equalisation.

    The lowest level that occurs goes to 0, as in OpenCV's ``equalizeHist``.

    Args:
        levels: (stimulus, 1, height, width) int64, 0 to num - 1.
        num: Number of levels.

    Returns:
        (stimulus, 1, height, width) float32 of whole numbers.

    Example:
        >>> equalize(torch.tensor([3, 3, 5, 9]).view(1, 1, 1, 4), 10).flatten()
        tensor([  0.,   0., 128., 255.])
    """
    flat = levels.flatten(1)
    counts = torch.zeros_like(flat[:, :1]).repeat(1, num).scatter_add_(1, flat, torch.ones_like(flat))
    lowest = counts.gather(1, flat.amin(1, keepdim=True))
    rank = (counts.cumsum(1) - lowest) / (flat.shape[1] - lowest).clamp_min(1)
    return (255 * rank.clamp_min(0)).round().gather(1, flat).view(levels.shape)
