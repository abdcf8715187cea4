"""Linear operations on batches, which several corruptions share: borders, filters, convolution, zoom, sampling.

Images are (stimulus, channel, height, width), float32. Filters along one axis are matrices, since two products of
matrices are faster than a convolution and take any border.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Literal

import torch
import torch.nn.functional as F
from scipy.fft import next_fast_len
from torch import Tensor

__all__: list[str] = []

Border = Literal["edge", "reflect", "symmetric"]


def border_index(size: int, margin: int, border: Border) -> Tensor:
    """Index of the pixel at each place of a row padded by ``margin`` on both sides: (size + 2 margin,) int64.

    Args:
        size: Number of pixels of the row.
        margin: Number of pixels added on each side, however large.
        border: As in ``numpy.pad``: "edge" repeats the last pixel, "reflect" mirrors about its centre, "symmetric" about
            its outer edge.

    Example:
        >>> border_index(3, 2, "reflect").tolist(), border_index(3, 2, "symmetric").tolist()
        ([2, 1, 0, 1, 2, 1, 0], [1, 0, 0, 1, 2, 2, 1])
    """
    place = torch.arange(-margin, size + margin)
    if border == "edge":
        return place.clamp(0, size - 1)
    period = 2 * size if border == "symmetric" else max(2 * size - 2, 1)
    last = 2 * size - 1 if border == "symmetric" else period
    place = place % period
    return torch.where(place < size, place, last - place)


def pad(images: Tensor, margin: tuple[int, int], border: Literal["edge", "reflect"]) -> Tensor:
    """Images with ``margin`` (rows, columns) added on each side, however many; see :func:`border_index`."""
    if border == "reflect" and any(m >= n for m, n in zip(margin, images.shape[-2:])):  # more than F.pad reflects
        rows, columns = (border_index(n, m, border).to(images.device) for n, m in zip(images.shape[-2:], margin))
        return images.index_select(-2, rows).index_select(-1, columns)
    sides = (margin[1], margin[1], margin[0], margin[0])
    return F.pad(images, sides, mode="replicate" if border == "edge" else "reflect")


def gaussian_taps(sigma: float, radius: int) -> Tensor:
    """Weights exp(-k^2 / 2 sigma^2) for k = -radius..radius that sum to 1, float64; one tap for sigma 0."""
    k = torch.arange(-radius, radius + 1, dtype=torch.float64)
    weights = (k == 0).double() if sigma <= 0 else torch.exp(-0.5 * (k / sigma) ** 2)
    return weights / weights.sum()


@lru_cache(maxsize=64)
def gaussian_matrix(size: int, sigma: float, border: Border = "edge", truncate: float = 4.0) -> Tensor:
    """The matrix (size, size) that smooths a row of pixels, cut at ``int(truncate * sigma + 0.5)`` pixels.

    Border and cut are those of ``scipy.ndimage.gaussian_filter1d``, whose "nearest" is our "edge", "reflect" our
    "symmetric" and "mirror" our "reflect".

    Example:
        >>> bool((gaussian_matrix(32, 2.0).sum(1) - 1).abs().max() < 1e-6)
        True
    """
    radius = int(truncate * sigma + 0.5)
    sources = border_index(size, radius, border).unfold(0, 2 * radius + 1, 1)
    taps = gaussian_taps(sigma, radius).expand(size, -1)
    return torch.zeros(size, size, dtype=torch.float64).scatter_add_(1, sources, taps).float()


@lru_cache(maxsize=64)
def box_matrix(size: int, new: int) -> Tensor:
    """The matrix (new, size) that resizes a row of pixels as Pillow's BOX filter does.

    A new pixel is the plain mean of the old ones whose centres lie under it; when enlarging, the nearest old pixel.

    Example:
        >>> box_matrix(4, 2).tolist()
        [[0.5, 0.5, 0.0, 0.0], [0.0, 0.0, 0.5, 0.5]]
    """
    scale = size / new
    centre = (torch.arange(new, dtype=torch.float64) + 0.5) * scale
    # multiplied by the reciprocal, as Pillow does, so that an offset of one half is rounded alike
    offset = (torch.arange(size, dtype=torch.float64) - centre[:, None] + 0.5) * (1 / max(scale, 1.0))
    under = ((offset > -0.5) & (offset <= 0.5)).double()
    return (under / under.sum(1, keepdim=True)).float()


def separable(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Apply a matrix along the height and one along the width: (..., height, width) -> (..., rows, columns)."""
    return rows.to(images) @ images @ columns.to(images).T


def box_means(images: Tensor, rows: int, columns: int) -> Tensor:
    """Shrink (stimulus, channel, height, width) to (..., rows, columns) by :func:`box_matrix`.

    Example:
        >>> box_means(torch.arange(4.0).view(1, 1, 2, 2), 1, 2)[0, 0]
        tensor([[1., 2.]])
    """
    height, width = images.shape[-2:]
    # Rows are contiguous, so that their means take half the time of a product of matrices.
    bins, under = box_matrix(height, rows).nonzero(as_tuple=True)
    first = torch.arange(images.shape[:2].numel())[:, None] * height
    starts = torch.searchsorted(bins, torch.arange(rows)) + torch.arange(len(first))[:, None] * len(under)
    where = ((first + under).flatten(), starts.flatten())
    means = F.embedding_bag(
        where[0].to(images.device), images.reshape(-1, width), where[1].to(images.device), mode="mean"
    )
    return means.view(*images.shape[:2], rows, width) @ box_matrix(width, columns).to(images).T


@lru_cache(maxsize=64)
def _nearest(size: int, new: int) -> Tensor | None:
    """The old pixel that each new one shows when a row is enlarged; None if PyTorch's own enlarging shows the same."""
    own = box_matrix(size, new).argmax(1)
    theirs = F.interpolate(torch.arange(float(size))[None, None], size=new, mode="nearest-exact")[0, 0]
    return None if torch.equal(own, theirs.long()) else own


def enlarge(images: Tensor, height: int, width: int) -> Tensor:
    """Enlarge images to (..., height, width) by :func:`box_matrix`: each new pixel is a copy of an old one.

    Example:
        >>> enlarge(torch.tensor([[[[1.0, 2.0]]]]), 1, 4)[0, 0]
        tensor([[1., 1., 2., 2.]])
    """
    sides = (height, width)
    chosen = [_nearest(n, m) for n, m in zip(images.shape[-2:], sides)]
    if chosen == [None, None]:
        return F.interpolate(images, size=sides, mode="nearest-exact")
    for axis, new in zip((-2, -1), sides):
        own = box_matrix(images.shape[axis], new).argmax(1)
        images = images.index_select(axis, own.to(images.device))
    return images


def gaussian_filter(images: Tensor, sigma: float, border: Border = "edge", truncate: float = 4.0) -> Tensor:
    """Smooth (..., height, width) by a Gaussian of ``sigma`` pixels; see :func:`gaussian_matrix`."""
    if int(truncate * sigma + 0.5) == 0:
        return images
    rows, columns = (gaussian_matrix(n, sigma, border, truncate) for n in images.shape[-2:])
    return separable(images, rows, columns)


def box_filter(images: Tensor) -> Tensor:
    """Mean over 3 x 3 pixels, border "reflect"."""
    padded = pad(images, (1, 1), "reflect")
    rows = padded[..., :-2, :] + padded[..., 1:-1, :] + padded[..., 2:, :]
    return (rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:]) / 9


def correlate(images: Tensor, kernels: Tensor, border: Literal["edge", "reflect"]) -> Tensor:
    """Weighted sums around each pixel, ``sum_o kernel(o) x(p + o)``, by Fourier transform.

    Args:
        images: (stimulus, channel, height, width).
        kernels: (stimulus or 1, 1, odd, odd), whose middle is the pixel itself.
        border: How the image continues outside; see :func:`border_index`.

    Returns:
        (stimulus, channel, height, width).

    Example:
        >>> right = torch.tensor([[[[0.0, 0.0, 1.0]]]])
        >>> correlate(torch.arange(4.0).view(1, 1, 1, 4), right, "edge").round().tolist()
        [[[[1.0, 2.0, 3.0, 3.0]]]]
    """
    height, width = images.shape[-2:]
    padded = pad(images, (kernels.shape[-2] // 2, kernels.shape[-1] // 2), border)
    size = [next_fast_len(n, real=True) for n in padded.shape[-2:]]
    spectrum = torch.fft.rfft2(padded, s=size).mul_(torch.fft.rfft2(kernels.to(images), s=size).conj())
    # Axis by axis, so that rows outside the image are left out of the second transform.
    rows = torch.fft.ifft(spectrum, dim=-2)[..., :height, :]
    return torch.fft.irfft(rows, n=size[1])[..., :width]


def central_zoom(images: Tensor, factor: float) -> Tensor:
    """Enlarge the middle of each image to the image's size: bilinear, with the outer pixels of the crop kept in place.

    The crop is ``ceil(side / factor)`` pixels, rounded as in ``scipy.ndimage.zoom``.

    Example:
        >>> central_zoom(torch.rand(2, 3, 32, 32), 1.5).shape
        torch.Size([2, 3, 32, 32])
    """
    sides = images.shape[-2:]
    crop = [math.ceil(n / factor) for n in sides]
    size = [round(c * factor) for c in crop]
    if crop == size == list(sides):
        return images
    top, left = ((n - c) // 2 for n, c in zip(sides, crop))
    middle = images[..., top : top + crop[0], left : left + crop[1]]
    zoomed = F.interpolate(middle, size=size, mode="bilinear", align_corners=True)
    top, left = ((z - n) // 2 for z, n in zip(size, sides))
    return zoomed[..., top : top + sides[0], left : left + sides[1]]


def sample(images: Tensor, y: Tensor, x: Tensor, border: Literal["reflect", "symmetric"]) -> Tensor:
    """Bilinear values at coordinates in pixels.

    Args:
        images: (stimulus, channel, height, width).
        y: (stimulus, height', width') rows; 0 is the centre of the first.
        x: (stimulus, height', width') columns.
        border: How the image continues outside; see :func:`border_index`.

    Example:
        >>> ramp = torch.arange(4.0).view(1, 1, 1, 4)
        >>> sample(
        ...     ramp, torch.zeros(1, 1, 2), torch.tensor([[[1.25, -1.0]]]), "reflect"
        ... ).flatten()
        tensor([1.2500, 1.0000])
    """
    height, width = images.shape[-2:]
    corners = border == "reflect"  # where -1 and 1 lie: at the centres of the outer pixels, or at their outer edges
    if corners:
        grid = torch.stack([2 * x / max(width - 1, 1) - 1, 2 * y / max(height - 1, 1) - 1], dim=-1)
    else:
        grid = torch.stack([(2 * x + 1) / width - 1, (2 * y + 1) / height - 1], dim=-1)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="reflection", align_corners=corners)
