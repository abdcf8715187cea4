"""What figures with a row per condition have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from neuroalign.study.figures.conditions import Conditions
from neuroalign.study.figures.labelling import mark_style
from neuroalign.study.figures.layout import plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__: list[str] = []


def dots_by_condition(
    ax: Axes, table: pd.DataFrame, value: str, intervals: pd.DataFrame, shown: Sequence[str], conditions: Conditions
) -> None:
    """A row per condition: a small point per replication, and a large mark with its interval.

    Args:
        ax: The axes.
        table: Columns ``label`` and ``value``.
        value: Name of the column of values.
        intervals: Index ``label``, columns ``mean``, ``low``, ``high``; NaN where there is no interval.
        shown: Labels from top to bottom.
        conditions: Styles of the conditions.
    """
    for row, name in enumerate(shown):
        points = table.loc[table["label"] == name, value].to_numpy(float)
        ax.plot(points, np.full(len(points), row + 0.22), ".", color="#555555", markersize=3.5)
        if name not in intervals.index:
            continue
        mean, low, high = (float(intervals[column][name]) for column in ("mean", "low", "high"))
        ax.plot(mean, row - 0.1, linestyle="none", markersize=6, **mark_style(conditions, name))
        if low == low:
            ax.plot([low, high], [row - 0.1] * 2, color=conditions.styles[name]["color"], linewidth=1.3, zorder=1)
    ax.set_yticks(range(len(shown)), list(shown))
    ax.set_ylim(len(shown) - 0.4, -0.6)
    for row in range(1, len(shown), 2):
        ax.axhspan(row - 0.5, row + 0.5, color="#f3f3f3", zorder=0, linewidth=0)
    plain(ax)


def matrix(
    ax: Axes, values: np.ndarray, rows: Sequence[str], columns: Sequence[str], *, label: str, smallest: float = 0.0
) -> None:
    """Shares as whole per cents in coloured cells, with a colour bar; empty cells where there is no number.

    Args:
        ax: The axes.
        values: Shares, 0 to 1 (row, column); NaN where there is none.
        rows: Texts at the left.
        columns: Texts above.
        label: What the colours are.
        smallest: The share of the lightest colour.
    """
    top = max(float(np.nanmax(values)), smallest + 0.01)
    image = ax.imshow(100 * values, cmap="Blues", vmin=100 * smallest, vmax=100 * top, aspect="auto")
    ax.set_xticks(range(len(columns)), list(columns))
    ax.set_yticks(range(len(rows)), list(rows))
    ax.tick_params(labelsize=8, length=0, labeltop=True, labelbottom=False)
    for (i, j), each in np.ndenumerate(values):
        if np.isfinite(each):
            color = "white" if each > smallest + 0.6 * (top - smallest) else "black"
            ax.text(j, i, f"{100 * each:.0f}", ha="center", va="center", fontsize=8, color=color)
    bar = ax.figure.colorbar(image, ax=ax, fraction=0.03, pad=0.01, label=label)
    bar.ax.tick_params(labelsize=8)
    bar.ax.yaxis.label.set_fontsize(9)
