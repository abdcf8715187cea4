"""Sizes and letters of a study's figures: as wide as a page, with letters of 8 to 11 points."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__: list[str] = []

WIDTH = 7.5  # inches, so that the letters keep their size on a page and on a screen


def new_figure(height: float, title: str, origin: str = "", width: float = WIDTH) -> Figure:
    """A figure with its title, which says where simulated numbers come from.

    Args:
        height: Inches.
        title: What it shows.
        origin: A word on simulated subjects; may be empty.
        width: Inches.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    figure.suptitle(f"{title}{f' ({origin})' if origin else ''}", fontsize=11)
    return figure


def grid(figure: Figure, number: int, columns: int, *, sharex: bool = False, sharey: bool = False) -> list[Axes]:
    """Axes in rows of ``columns``, as many as are asked for."""
    rows = math.ceil(number / columns)
    axes = list(figure.subplots(rows, columns, sharex=sharex, sharey=sharey, squeeze=False).flatten())
    for ax in axes[number:]:
        ax.set_visible(False)
    return axes[:number]


def plain(axes: Axes | Sequence[Axes]) -> None:
    """Small letters, and no lines above and at the right."""
    for ax in [axes] if not isinstance(axes, Sequence) else axes:
        ax.spines[["top", "right"]].set_visible(False)
        ax.tick_params(labelsize=8)
        for axis in (ax.xaxis, ax.yaxis):
            axis.label.set_fontsize(9)
        ax.title.set_fontsize(10)
