"""Labels at the sides of a panel, with a line to what they name, so that none hides another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__: list[str] = []

_SIZE = 9.0  # points
_MOST = 12  # names at one side, unless there are too many for two such sides


def label_at_sides(ax: Axes, places: Mapping[str, tuple[float, float]], colors: Mapping[str, str]) -> None:
    """Write names at the left and right of a panel whose limits are set, and draw a line from each to its place.

    Args:
        ax: The panel.
        places: (x, y) by name.
        colors: Colour of the line by name.
    """
    left, right = _sides(places, sum(ax.get_xlim()) / 2)
    low, high = ax.get_ylim()
    for x, align, edge, names in ((-0.03, "right", 1.0, left), (1.03, "left", 0.0, right)):
        names = sorted(names, key=lambda name: places[name][1])
        heights = spread([(places[name][1] - low) / (high - low) for name in names], gap=1 / max(len(names), 8))
        for name, height in zip(names, heights):
            line = {"arrowstyle": "-", "color": colors[name], "linewidth": 0.7, "alpha": 0.8, "relpos": (edge, 0.5),
                    "shrinkA": 1, "shrinkB": 4}  # fmt: skip
            ax.annotate(
                name, places[name], (x, height), textcoords="axes fraction", ha=align, va="center", fontsize=_SIZE,
                arrowprops=line, annotation_clip=False, zorder=3,
            )  # fmt: skip


def _sides(places: Mapping[str, tuple[float, float]], middle: float) -> tuple[list[str], list[str]]:
    """Names at the left and at the right: each at its nearer side, unless that is full."""
    names = sorted(places, key=lambda name: places[name][0])
    most = max(_MOST, (len(names) + 1) // 2)
    number = sum(places[name][0] < middle for name in names)
    number = min(max(number, len(names) - most), most)
    return names[:number], names[number:]


def spread(heights: Sequence[float], gap: float) -> list[float]:
    """Heights in rising order, moved apart as little as it takes, within 0 and 1 where there is room.

    Args:
        heights: In rising order.
        gap: Smallest distance of two.

    Example:
        >>> [round(height, 2) for height in spread([0.5, 0.5, 0.95], gap=0.2)]
        [0.4, 0.6, 0.95]
    """
    if not heights:
        return []
    # With the gaps taken off, moving them apart is making them rise: isotonic regression, whose result is the nearest one.
    from sklearn.isotonic import isotonic_regression

    steps = gap * np.arange(len(heights))
    rising = isotonic_regression(np.asarray(heights, dtype=float) - steps)
    top = max(0.0, 1 - float(steps[-1]))
    return [float(height) for height in np.clip(rising, 0, top) + steps]
