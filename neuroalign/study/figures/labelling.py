"""Marks with labels that don't cover one another: every label is put where there is room, and a line leads to its mark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from neuroalign.plot.styles import Style
from neuroalign.study.figures.conditions import Conditions

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D

__all__: list[str] = []

_RINGS = (0, 6, 13, 21, 30, 40)  # points between a mark and its label, beside what both take


def mark_style(conditions: Conditions, label: str) -> Style:
    """The mark of a condition: filled if it is guided by a brain, hollow if it isn't."""
    style = conditions.styles[label]
    face = style["color"] if label not in conditions.controls else "white"
    return {"color": style["color"], "marker": style["marker"], "markerfacecolor": face, "markeredgewidth": 1.4}


def label_marks(ax: Axes, points: Mapping[str, tuple[float, float]]) -> None:
    """Write a short text beside each mark, where it covers no other text and as few marks as possible.

    The axes must have their final limits and size: draw the figure without rendering before.

    Args:
        ax: The axes.
        points: Place of the mark in data coordinates, by its text.
    """
    from matplotlib.patheffects import withStroke

    scale = ax.figure.dpi / 72
    marks = {text: ax.transData.transform(xy) / scale for text, xy in points.items()}  # in points
    box = ax.get_window_extent()
    inside = np.array([[box.x0, box.y0], [box.x1, box.y1]]) / scale
    taken: list[tuple[np.ndarray, np.ndarray]] = []
    # Marks in a crowd first, because they have the least choice.
    everywhere = np.array(list(marks.values()))
    order = sorted(marks, key=lambda text: -int((np.linalg.norm(everywhere - marks[text], axis=1) < 25).sum()))
    for text in order:
        half = np.array([2.7 * len(text) + 1.5, 4.5])
        offset = _best(marks[text], half, everywhere, taken, inside)
        taken.append((marks[text] + offset, half))
        ax.annotate(
            text, points[text], xytext=tuple(offset), textcoords="offset points", ha="center", va="center", fontsize=8,
            annotation_clip=False, path_effects=[withStroke(linewidth=2, foreground="white")],
            arrowprops={"arrowstyle": "-", "linewidth": 0.6, "color": "#555555", "shrinkA": 0, "shrinkB": 3},
        ).set_in_layout(False)  # fmt: skip


def _best(
    mark: np.ndarray,
    half: np.ndarray,
    marks: np.ndarray,
    taken: Sequence[tuple[np.ndarray, np.ndarray]],
    inside: np.ndarray,
) -> np.ndarray:
    """The offset with the least overlap, near ones first."""
    best, least = np.zeros(2), np.inf
    for ring in _RINGS:
        for angle in np.linspace(np.pi / 4, np.pi / 4 + 2 * np.pi, 16, endpoint=False):
            direction = np.array([np.cos(angle), np.sin(angle)])
            offset = direction / np.abs(direction).max() * (half + 6 + ring)
            center = mark + offset
            over_marks = (np.abs(marks - center) < half + 6).all(1).sum()
            over_texts = sum(bool((np.abs(place - center) < half + size).all()) for place, size in taken)
            outside = bool((center - half < inside[0]).any() or (center + half > inside[1]).any())
            cost = 4 * over_texts + 2 * over_marks + 6 * outside + ring / 40
            if cost < least:
                best, least = offset, cost
    return best


def numbered_handles(conditions: Conditions, shown: Sequence[str]) -> list[Line2D]:
    """Entries of a legend: mark, number and name of each condition."""
    from matplotlib.lines import Line2D

    return [
        Line2D(
            [],
            [],
            linestyle="none",
            markersize=6.5,
            label=f"{conditions.number(name)}  {name}",
            **mark_style(conditions, name),
        )
        for name in shown
    ]


def mark_words(conditions: Conditions, shown: Sequence[str]) -> str:
    """A sentence on filled and hollow marks; empty where all are of one kind."""
    kinds = {name in conditions.controls for name in shown}
    return "Filled marks are guided by a brain, hollow ones aren't." if len(kinds) > 1 else ""
