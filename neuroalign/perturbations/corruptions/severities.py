"""The published strengths of the corruptions: one table for each of three image sizes.

Source: severity parameters of Hendrycks & Dietterich, ICLR 2019, arXiv 1903.12261 (their scripts for CIFAR-10-C,
Tiny ImageNet-C and ImageNet-C). ``severities.json`` beside this file holds the numbers, and what each of them means.
"""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import Any

from neuroalign.types import unknown

COMMON_CORRUPTIONS = (
    "gaussian_noise", "shot_noise", "impulse_noise",
    "defocus_blur", "glass_blur", "motion_blur", "zoom_blur",
    "snow", "frost", "fog", "brightness",
    "contrast", "elastic_transform", "pixelate", "jpeg_compression",
)  # fmt: skip
EXTRA_CORRUPTIONS = ("speckle_noise", "gaussian_blur", "spatter", "saturate")
SIZES = (32, 64, 224)
SEVERITIES = (1, 2, 3, 4, 5)


@cache
def _tables() -> dict[str, Any]:
    file = files("neuroalign.perturbations.corruptions") / "severities.json"
    return json.loads(file.read_text(encoding="utf-8"))["sizes"]


def check_corruption(name: str) -> str:
    """A known name.

    Raises:
        ValueError: If it is none of the 19, with the nearest that are.
    """
    if name not in COMMON_CORRUPTIONS + EXTRA_CORRUPTIONS:
        raise ValueError(unknown("corruption", name, COMMON_CORRUPTIONS + EXTRA_CORRUPTIONS))
    return name


def check_severity(severity: int) -> int:
    """A severity, 1 to 5.

    Raises:
        ValueError: If it is another number.
    """
    if severity not in SEVERITIES:
        raise ValueError(f"severity must be 1, 2, 3, 4 or 5, as published; got {severity!r}")
    return int(severity)


def check_table(table: int | None) -> int | None:
    """A size for which parameters were published, or None.

    Raises:
        ValueError: If it is another size.
    """
    if table is not None and table not in SIZES:
        raise ValueError(f"parameters were published for images of 32, 64 and 224 pixels; got table={table!r}")
    return table


def table_of(height: int, width: int) -> int:
    """The table that belongs to images of a size.

    Raises:
        ValueError: If none does: the strengths for 224 pixels wipe out an image of 32, so no table is guessed.

    Example:
        >>> table_of(64, 64)
        64
    """
    if height != width or height not in SIZES:
        raise ValueError(
            f"no table of severities for images of {height} x {width} pixels: parameters were published for 32 x 32, "
            "64 x 64 and 224 x 224. Resize the images to one of these first, or pass table=32, 64 or 224 to say whose "
            "strengths, in pixels, to use"
        )
    return height


def parameters(name: str, severity: int, table: int) -> tuple[float, ...]:
    """The numbers of a corruption at a severity.

    Args:
        name: Of the corruption.
        severity: 1 to 5.
        table: Image size in pixels that the numbers were published for: 32, 64 or 224.

    Returns:
        The numbers, in the order in which ``severities.json`` explains them; lengths are in pixels.

    Raises:
        ValueError: If name, severity or table is not a known one.

    Example:
        >>> parameters("fog", 3, 224)
        (2.5, 1.7)
        >>> parameters("contrast", 1, 32)
        (0.75,)
    """
    row = _tables()[str(check_table(table))][check_corruption(name)][check_severity(severity) - 1]
    return tuple(row) if isinstance(row, list) else (row,)
