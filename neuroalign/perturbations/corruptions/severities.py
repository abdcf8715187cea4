"""The strengths of the corruptions: a published table for each of three image sizes, and strengths for other sizes.

Source: severity parameters of Hendrycks & Dietterich, ICLR 2019, arXiv 1903.12261 (their scripts for CIFAR-10-C,
Tiny ImageNet-C and ImageNet-C). ``severities.json`` beside this file holds the numbers and their meaning. The
interpolation is ours: ``neuroalign.perturbations.corruptions.interpolation``.
"""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import Any

from neuroalign.perturbations.corruptions.interpolation import between, scaled
from neuroalign.types import unknown

__all__ = ["COMMON_CORRUPTIONS", "EXTRA_CORRUPTIONS"]

COMMON_CORRUPTIONS = (
    "gaussian_noise", "shot_noise", "impulse_noise",
    "defocus_blur", "glass_blur", "motion_blur", "zoom_blur",
    "snow", "frost", "fog", "brightness",
    "contrast", "elastic_transform", "pixelate", "jpeg_compression",
)  # fmt: skip
"""The 15 corruptions of ImageNet-C (Hendrycks & Dietterich 2019), over which the mean corruption error is taken."""
EXTRA_CORRUPTIONS = ("speckle_noise", "gaussian_blur", "spatter", "saturate")
"""The four further corruptions of the same work, meant for validation."""
SIZES = (32, 64, 224)
SEVERITIES = (1, 2, 3, 4, 5)


@cache
def _tables() -> dict[str, Any]:
    file = files("neuroalign.perturbations.corruptions") / "severities.json"
    return json.loads(file.read_text(encoding="utf-8"))["sizes"]


def check_corruption(name: str) -> str:
    """The name of a corruption, checked.

    Raises:
        ValueError: If it is none of the 19; the message names the nearest.
    """
    if name not in COMMON_CORRUPTIONS + EXTRA_CORRUPTIONS:
        raise ValueError(unknown("corruption", name, COMMON_CORRUPTIONS + EXTRA_CORRUPTIONS))
    return name


def check_severity(severity: int) -> int:
    """A severity, checked: 1 to 5.

    Raises:
        ValueError: If it is another number.
    """
    if severity not in SEVERITIES:
        raise ValueError(f"severity must be 1, 2, 3, 4 or 5, as published; got {severity!r}")
    return int(severity)


def check_table(table: int | None) -> int | None:
    """A size in pixels that has strengths, or None; checked.

    Raises:
        ValueError: If it is not a whole number of pixels, or below the smallest published size.
    """
    if table is None:
        return None
    if isinstance(table, bool) or table != int(table) or table < SIZES[0]:
        raise ValueError(
            f"table must be a whole number of pixels, at least {SIZES[0]}, the smallest size whose strengths were published "
            f"(32, 64, 224; others are interpolated); got table={table!r}"
        )
    return int(table)


def table_of(height: int, width: int) -> int:
    """The size whose strengths images of (height, width) pixels use: their shorter side.

    A photograph that isn't square shows more of a scene, not larger things.

    Raises:
        ValueError: If it is below 32 pixels: nothing smaller was published, and the next larger strengths wipe such an
            image out.

    Example:
        >>> table_of(64, 64), table_of(375, 500)
        (64, 375)
    """
    side = min(height, width)
    if side < SIZES[0]:
        raise ValueError(
            f"images of {height} x {width} pixels are too small for the corruptions: no strengths were published below "
            f"{SIZES[0]} x {SIZES[0]} pixels. Enlarge the images first, or pass table={SIZES[0]} to use the strengths for "
            f"{SIZES[0]} pixels, which are too strong here"
        )
    return side


def strengths_origin(table: int, height: int, width: int) -> str:
    """The origin of a table's strengths, in a few words, for images of (height, width) pixels.

    "published": the images are squares of a published size. "published for another size": the numbers of a published
    table, on images it wasn't made for. "interpolated": between two tables. "scaled up": from the largest one.

    Example:
        >>> [strengths_origin(min(s), *s) for s in [(64, 64), (224, 320), (96, 96), (375, 500)]]
        ['published', 'published for another size', 'interpolated', 'scaled up']
    """
    if table in SIZES:
        return "published" if height == width == table else "published for another size"
    return "interpolated" if table < SIZES[-1] else "scaled up"


def parameters(name: str, severity: int, table: int) -> tuple[float, ...]:
    """The numbers of a corruption at a severity.

    Args:
        name: Name of the corruption.
        severity: 1 to 5.
        table: Side of the images in pixels, at least 32. For 32, 64 and 224 the numbers are the published ones; between
            them they are interpolated, above 224 lengths grow with the side.

    Returns:
        The numbers, in the order in which ``severities.json`` explains them; lengths are in pixels.

    Raises:
        ValueError: If name, severity or table is not a known one.

    Example:
        >>> parameters("fog", 3, 224)
        (2.5, 1.7)
        >>> parameters("contrast", 1, 32)
        (0.75,)
        >>> (
        ...     parameters("gaussian_blur", 5, 448),
        ...     [round(p, 2) for p in parameters("gaussian_blur", 5, 120)],
        ... )
        ((12.0,), [3.01])
    """
    check_corruption(name), check_severity(severity), check_table(table)
    if table > SIZES[-1]:
        return scaled(name, _published(name, severity, SIZES[-1]), table / SIZES[-1])
    smaller, larger = max(s for s in SIZES if s <= table), min(s for s in SIZES if s >= table)
    low, high = (_published(name, severity, size) for size in (smaller, larger))
    return low if smaller == larger else between(name, (smaller, low), (larger, high), table)


def _published(name: str, severity: int, size: int) -> tuple[float, ...]:
    row = _tables()[str(size)][name][severity - 1]
    return tuple(row) if isinstance(row, list) else (row,)
