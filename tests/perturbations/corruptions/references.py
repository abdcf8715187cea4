"""Float64 references of image corruptions after Hendrycks & Dietterich (2019); images (height, width, 3) in [0, 1].

Everything stays in float (the original code truncates to 8 bits on the way), except JPEG, which needs 8 bits. Random
corruptions are given by the exact mean and variance of every channel value, after or before clipping to [0, 1].
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image
from scipy import ndimage, stats

Array = NDArray[np.float64]
Moments = tuple[Array, Array]


def _per_channel(x: ArrayLike, change: Callable[[Array], Array]) -> Array:
    """The same change of every (height, width) channel, clipped to [0, 1]."""
    image = np.asarray(x, dtype=np.float64)
    return np.clip(np.stack([change(image[:, :, c]) for c in range(image.shape[2])], axis=2), 0, 1)


# Blurs


def gaussian_blur(x: ArrayLike, sigma: float) -> Array:
    """Gaussian of standard deviation sigma per channel: edge pixels repeated, cut at int(4 sigma + 0.5) pixels."""
    radius = int(4 * sigma + 0.5)
    offsets = np.arange(-radius, radius + 1)
    taps = np.exp(-(offsets**2) / (2 * sigma**2)) if sigma > 0 else np.ones(1)
    taps = taps / np.sum(taps)

    def blur(channel: Array) -> Array:
        columns = ndimage.correlate1d(channel, taps, axis=0, mode="nearest")
        return ndimage.correlate1d(columns, taps, axis=1, mode="nearest")

    return _per_channel(x, blur)


def disk_kernel(radius: float, alias_blur: float) -> Array:
    """Disk of sum 1 on the integers -8..8 (radius > 8: -radius..radius), blurred by 3 x 3 (5 x 5) Gaussian taps.

    The blur mirrors the kernel about its border pixels (without repeating them). A disk that touches its border (an
    integer radius of 8 or more) therefore ends with a sum slightly off 1; it is not normalised again.
    """
    grid, half = (np.arange(-8, 9), 1) if radius <= 8 else (np.arange(-radius, radius + 1), 2)
    columns, rows = np.meshgrid(grid, grid)
    disk = (columns**2 + rows**2 <= radius**2).astype(np.float64)
    disk = disk / np.sum(disk)
    taps = np.exp(-(np.arange(-half, half + 1) ** 2) / (2 * alias_blur**2)) if alias_blur > 0 else np.ones(1)
    taps = taps / np.sum(taps)
    disk = ndimage.correlate1d(disk, taps, axis=0, mode="mirror")
    return ndimage.correlate1d(disk, taps, axis=1, mode="mirror")


def defocus_blur(x: ArrayLike, radius: float, alias_blur: float) -> Array:
    """Correlation of every channel with the disk kernel; the image is mirrored about its border pixels."""
    kernel = disk_kernel(radius, alias_blur)
    half = len(kernel) // 2

    def blur(channel: Array) -> Array:
        height, width = channel.shape
        padded = np.pad(channel, half, mode="reflect")
        total = np.zeros_like(channel)
        for i in range(len(kernel)):
            for j in range(len(kernel)):
                total += kernel[i, j] * padded[i : i + height, j : j + width]
        return total

    return _per_channel(x, blur)


def _zoom_matrix(length: int, factor: float) -> Array:
    """Weights (length, length) of a centre crop, magnified along one axis and trimmed to the same length.

    The crop has ceil(length / factor) pixels from (length - crop) // 2; it grows to round(crop * factor) pixels whose
    first and last lie on the crop's first and last: pixel o reads position o (crop - 1) / (grown - 1), linearly.
    """
    crop = math.ceil(length / factor)
    top = (length - crop) // 2
    grown = round(crop * factor)
    trim = (grown - length) // 2
    weights = np.zeros((length, length))
    for i in range(length):
        position = (i + trim) * (crop - 1) / (grown - 1) if grown > 1 else 0.0
        position = min(position, crop - 1)  # the last one against rounding
        lower = min(int(position), max(crop - 2, 0))
        share = position - lower
        weights[i, top + lower] += 1 - share
        if share > 0:
            weights[i, top + lower + 1] += share
    return weights


def clipped_zoom(x: ArrayLike, factor: float) -> Array:
    """The image's centre magnified by a factor >= 1, at the image's own size."""
    image = np.asarray(x, dtype=np.float64)
    vertical, horizontal = _zoom_matrix(image.shape[0], factor), _zoom_matrix(image.shape[1], factor)
    return _per_channel(image, lambda channel: vertical @ channel @ horizontal.T)


def zoom_blur(x: ArrayLike, factors: Sequence[float]) -> Array:
    """Mean of the image and of its zooms: (x + sum_f zoom_f(x)) / (len(factors) + 1)."""
    total = np.array(x, dtype=np.float64)
    for factor in factors:
        total = total + clipped_zoom(x, factor)
    return np.clip(total / (len(factors) + 1), 0, 1)


# Colours


def rgb_to_hsv(x: ArrayLike) -> Array:
    """Hue in [0, 1) (0 for greys), saturation (max - min) / max (0 for black) and value max."""
    image = np.asarray(x, dtype=np.float64)
    red, green, blue = image[..., 0], image[..., 1], image[..., 2]
    value = np.max(image, axis=-1)
    spread = value - np.min(image, axis=-1)
    coloured = spread > 0
    divisor = np.where(coloured, spread, 1)
    sector = np.where(value == blue, 4 + (red - green) / divisor, 0)
    sector = np.where(value == green, 2 + (blue - red) / divisor, sector)
    sector = np.where(value == red, (green - blue) / divisor, sector)
    hue = np.where(coloured, (sector / 6) % 1, 0)
    saturation = np.where(coloured, spread / np.where(coloured, value, 1), 0)
    return np.stack([hue, saturation, value], axis=-1)


def hsv_to_rgb(hsv: ArrayLike) -> Array:
    """RGB of hue, saturation and value: six sectors of the hue circle, linear in each."""
    array = np.asarray(hsv, dtype=np.float64)
    hue, saturation, value = array[..., 0], array[..., 1], array[..., 2]
    sector = np.floor(hue * 6)
    part = hue * 6 - sector
    low = value * (1 - saturation)
    falling = value * (1 - saturation * part)
    rising = value * (1 - saturation * (1 - part))
    triples = [
        (value, rising, low),
        (falling, value, low),
        (low, value, rising),
        (low, falling, value),
        (rising, low, value),
        (value, low, falling),
    ]
    rgb = np.zeros_like(array)
    for number, triple in enumerate(triples):
        chosen = sector % 6 == number
        for channel in range(3):
            rgb[..., channel] = np.where(chosen, triple[channel], rgb[..., channel])
    return rgb


def contrast(x: ArrayLike, c: float) -> Array:
    """(x - m) c + m with m the mean of the channel, clipped."""
    return _per_channel(x, lambda channel: (channel - np.mean(channel)) * c + np.mean(channel))


def brightness(x: ArrayLike, c: float) -> Array:
    """V of HSV raised by c and clipped."""
    hsv = rgb_to_hsv(x)
    hsv[..., 2] = np.clip(hsv[..., 2] + c, 0, 1)
    return np.clip(hsv_to_rgb(hsv), 0, 1)


def saturate(x: ArrayLike, factor: float, offset: float) -> Array:
    """S of HSV times the factor plus the offset, clipped. Greys have hue 0: an offset tints them red."""
    hsv = rgb_to_hsv(x)
    hsv[..., 1] = np.clip(hsv[..., 1] * factor + offset, 0, 1)
    return np.clip(hsv_to_rgb(hsv), 0, 1)


# Compression and resolution


def jpeg_compression(x: ArrayLike, quality: int) -> Array:
    """JPEG at a quality, by Pillow with its defaults (colour at half resolution). In 8 bits: round(255 x) goes in."""
    pixels = np.rint(np.clip(np.asarray(x, dtype=np.float64), 0, 1) * 255).astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, format="JPEG", quality=int(quality))
    stream.seek(0)
    with Image.open(stream) as picture:
        return np.asarray(picture.convert("RGB"), dtype=np.float64) / 255


def box_matrix(length: int, size: int) -> Array:
    """Weights (size, length) of a box resize along one axis: equal ones on the pixels whose centre lies in the box.

    With step = length / size, output i has its centre at (i + 0.5) step and a box max(step, 1) wide; input k counts
    where -0.5 < (k + 0.5 - centre) / width <= 0.5. So a pixel counts whole or not at all, not by its covered share, and
    upward the nearest one is taken. The range start..stop says the same and settles borders that rounding blurs.
    """
    step = length / size
    width = max(step, 1.0)
    weights = np.zeros((size, length))
    for i in range(size):
        centre = (i + 0.5) * step
        start = max(int(centre - 0.5 * width + 0.5), 0)
        stop = min(int(centre + 0.5 * width + 0.5), length)
        for k in range(start, stop):
            weights[i, k] = -0.5 < (k - centre + 0.5) * (1 / width) <= 0.5
        weights[i] /= np.sum(weights[i])
    return weights


def pixelate(x: ArrayLike, scale: float) -> Array:
    """Box resize down to int(height * scale) x int(width * scale) pixels and up again, without rounding to 8 bits."""
    height, width = np.asarray(x).shape[:2]
    small_height, small_width = int(height * scale), int(width * scale)
    vertical = box_matrix(small_height, height) @ box_matrix(height, small_height)
    horizontal = box_matrix(small_width, width) @ box_matrix(width, small_width)
    return _per_channel(x, lambda channel: vertical @ channel @ horizontal.T)


# Random corruptions: mean and variance


def _normal_moments(mean: Array, deviation: Array, clipped: bool) -> Moments:
    """Mean and variance of N(mean, deviation^2), clipped to [0, 1] or not; a deviation of 0 is a constant."""
    if not clipped:
        return mean.copy(), deviation**2
    random = deviation > 0
    sd = np.where(random, deviation, 1)
    low, high = (0 - mean) / sd, (1 - mean) / sd
    inside = stats.norm.cdf(high) - stats.norm.cdf(low)
    first = stats.norm.pdf(low) - stats.norm.pdf(high)  # E[Z; low < Z < high]
    second = inside + low * stats.norm.pdf(low) - high * stats.norm.pdf(high)  # E[Z^2; low < Z < high]
    above = stats.norm.sf(high)  # mass at 1
    average = mean * inside + sd * first + above
    square = mean**2 * inside + 2 * mean * sd * first + sd**2 * second + above
    return np.where(random, average, np.clip(mean, 0, 1)), np.where(random, np.maximum(square - average**2, 0), 0)


def gaussian_noise_moments(x: ArrayLike, c: float, clipped: bool = True) -> Moments:
    """Mean and variance of x + N(0, c^2)."""
    image = np.asarray(x, dtype=np.float64)
    return _normal_moments(image, np.full_like(image, c), clipped)


def speckle_noise_moments(x: ArrayLike, c: float, clipped: bool = True) -> Moments:
    """Mean and variance of x + x N(0, c^2)."""
    image = np.asarray(x, dtype=np.float64)
    return _normal_moments(image, image * c, clipped)


def shot_noise_moments(x: ArrayLike, c: float, clipped: bool = True) -> Moments:
    """Mean and variance of Poisson(x c) / c; clipped at 1, a sum over the counts below c and the mass from c on."""
    image = np.asarray(x, dtype=np.float64)
    if not clipped:
        return image.copy(), image / c
    counts = range(math.ceil(c))  # k / c < 1
    masses = [stats.poisson.pmf(k, image * c) for k in counts]
    above = stats.poisson.sf(math.ceil(c) - 1, image * c)  # k / c >= 1
    mean = above.copy()
    for k, mass in zip(counts, masses):
        mean += mass * (k / c)
    variance = above * (1 - mean) ** 2
    for k, mass in zip(counts, masses):
        variance += mass * (k / c - mean) ** 2
    return mean, variance


def impulse_noise_moments(x: ArrayLike, c: float) -> Moments:
    """Mean and variance of x with each channel value, on its own, 0 or 1 with chance c / 2 each."""
    image = np.asarray(x, dtype=np.float64)
    mean = (1 - c) * image + c / 2
    variance = (1 - c) * (image - mean) ** 2 + c / 2 * mean**2 + c / 2 * (1 - mean) ** 2
    return mean, variance
