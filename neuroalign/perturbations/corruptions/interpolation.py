"""Strengths of corruptions for image sizes that have no published table. The rules are ours, not Hendrycks & Dietterich's.

Between two published sizes every number is a power of the side: a straight line through both tables on logarithmic axes.
So noise counted in photons and noise given as a standard deviation are interpolated to the same images, and numbers that
grow in proportion to the side from one table to the next do so between them. Above the largest published size, numbers that
are lengths in pixels grow with the side, so that the picture looks as it does at that size; all others stay the same.
"""

from __future__ import annotations

import math

__all__: list[str] = []

# The power of the side with which each number grows above the largest table; corruptions without an entry keep theirs.
GROWTH: dict[str, tuple[int, ...]] = {
    "gaussian_blur": (1,),
    "glass_blur": (1, 1, 0),
    "defocus_blur": (1, 1),
    "motion_blur": (1, 1),
    "snow": (0, 0, 1, 0, 1, 1, 0),  # the zoom is the size of a flake in pixels
    # Smoothing by a wider Gaussian averages more pixels: noise needs the larger sd for the same share above the threshold.
    "spatter": (0, 1, 1, 0, 0, 0),
    # For the same reason a displacement is alpha over sigma: for it to grow with the side, alpha grows with its square.
    "elastic_transform": (2, 1, 1),
    "pixelate": (-1,),  # 1 / scale is the side of a large pixel
}
WHOLE = {"glass_blur": (1, 2), "jpeg_compression": (0,)}  # positions of the numbers that must be whole


def between(
    name: str, smaller: tuple[int, tuple[float, ...]], larger: tuple[int, tuple[float, ...]], side: int
) -> tuple[float, ...]:
    """The numbers of a corruption for a side between two published ones, each between the two published numbers.

    A number that is 0 in one of the tables has no logarithm: it is linear in the logarithm of the side. Numbers that
    must be whole are rounded.

    Args:
        name: Name of the corruption.
        smaller: A published side in pixels, and the numbers there.
        larger: The next published side, and the numbers there.
        side: Side in pixels, between the two.

    Returns:
        As many numbers as published; for the zoom blur, a list of factors whose length and largest value are interpolated.

    Example:
        >>> between("shot_noise", (64, (100,)), (256, (25,)), 128)
        (50.0,)
    """
    (low, a), (high, b) = smaller, larger
    share = math.log(side / low) / math.log(high / low)
    if name == "zoom_blur":
        return _zoom_factors(a, b, share)
    found = [_between(x, y, share) for x, y in zip(a, b)]
    if name == "defocus_blur" and found[0] < 1:
        # A disk of a radius below 1 is a single pixel. The radius becomes 1 at half the way; until then alias is the whole
        # blur, so alias must not fall before the disk has grown.
        if b[0] >= 1 and share >= 0.5:
            found[0] = 1.0
        else:
            found[1] = max(found[1], a[1])
    return _rounded(name, found)


def scaled(name: str, numbers: tuple[float, ...], factor: float) -> tuple[float, ...]:
    """The numbers of a corruption for images larger by a factor than those they were published for.

    Args:
        name: Name of the corruption.
        numbers: Published for the largest size.
        factor: Ratio of the sides.

    Example:
        >>> scaled("defocus_blur", (10.0, 0.5), 1.5), scaled("gaussian_noise", (0.38,), 1.5)
        ((15.0, 0.75), (0.38,))
    """
    growth = GROWTH.get(name, (0,) * len(numbers))
    found = [x * factor**power for x, power in zip(numbers, growth)]
    if name == "spatter" and numbers[-1] == 1:
        found[4] *= factor  # for mud, the strength is a length: it smooths the outlines
    return _rounded(name, found)


def _between(a: float, b: float, share: float) -> float:
    if a == b:
        return a
    return a ** (1 - share) * b**share if a > 0 and b > 0 else a + share * (b - a)


def _zoom_factors(a: tuple[float, ...], b: tuple[float, ...], share: float) -> tuple[float, ...]:
    if a == b:
        return a
    largest, num = _between(a[-1] - 1, b[-1] - 1, share), round(_between(len(a), len(b), share))
    return tuple(1 + largest * i / (num - 1) for i in range(num))


def _rounded(name: str, numbers: list[float]) -> tuple[float, ...]:
    whole = WHOLE.get(name, ())
    return tuple(float(round(x)) if place in whole else x for place, x in enumerate(numbers))
