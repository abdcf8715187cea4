"""Figure of differences in accuracy: a treatment against each of its controls, budget by budget."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from neuroalign.plot.styles import COLORS, MARKERS, axes_of, budget_labels, legend_place

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plot_differences"]


def plot_differences(
    tables: Mapping[str, pd.DataFrame],
    *,
    ax: Axes | None = None,
    title: str | None = None,
    decides: bool = True,
    norm: str | None = None,
    legend: Literal["right", "below"] = "right",
) -> Axes:
    r"""Accuracy of a treatment minus that of each control, at every budget, with its interval.

    A filled mark stands where the interval excludes 0; a hollow one where no difference is shown.

    Args:
        tables: By name of the control, a table with columns ``eps``, ``difference``, ``low`` and ``high``, such as
            the ``table`` of :class:`neuroalign.evaluation.Comparison`.
        ax: Axes to draw on; None makes new ones.
        title: Title of the axes.
        decides: Whether the intervals are over several replications; with one, all marks are hollow.
        norm: Norm of the budgets, "linf" or "l2"; those of "linf" are written as "2/255" where they are such.
        legend: Where the legend stands.

    Example:
        >>> table = pd.DataFrame(
        ...     {
        ...         "eps": [0.0, 0.1],
        ...         "difference": [0.0, 0.2],
        ...         "low": [-0.1, 0.1],
        ...         "high": [0.1, 0.3],
        ...     }
        ... )
        >>> legend = plot_differences({"none": table}).get_legend()
        >>> [text.get_text() for text in legend.get_texts()]
        ['none', 'no difference shown\n(the interval includes 0)']
    """
    ax = axes_of(ax, 8.0, 4.5)
    budgets = sorted({float(eps) for table in tables.values() for eps in table["eps"]})
    for i, table in enumerate(tables.values()):
        eps, difference, low, high = (table[c].to_numpy(dtype=float) for c in ("eps", "difference", "low", "high"))
        x = np.searchsorted(budgets, eps) + 0.72 * ((i + 0.5) / len(tables) - 0.5)
        shown = ((low > 0) | (high < 0)) & decides
        color, marker = COLORS[i % len(COLORS)], MARKERS[i % len(MARKERS)]
        ends = np.stack([difference - low, high - difference]).clip(min=0)
        ax.errorbar(x, difference, ends, color=color, linestyle="none", capsize=2.5, linewidth=1.4)
        for chosen, face in ((shown, color), (~shown, "white")):
            ax.plot(
                x[chosen],
                difference[chosen],
                linestyle="none",
                marker=marker,
                markersize=6,
                color=color,
                markerfacecolor=face,
            )
    ax.axhline(0, color="black", linewidth=0.9)
    for between in range(1, len(budgets)):
        ax.axvline(between - 0.5, color="#dddddd", linewidth=0.8)
    ax.set_xticks(range(len(budgets)), budget_labels(budgets, norm))
    ax.set_xlim(-0.5, len(budgets) - 0.5)
    ax.set_xlabel("attack budget ε")
    ax.set_ylabel("difference in accuracy")
    ax.spines[["top", "right"]].set_visible(False)
    _legend(ax, list(tables), decides, legend)
    if title:
        ax.set_title(title, fontsize=10)
    return ax


def _legend(ax: Axes, controls: list[str], decides: bool, place: str) -> None:
    """A legend of the controls, and of what a hollow mark means."""
    from matplotlib.lines import Line2D

    marks = [
        Line2D([], [], color=COLORS[i % len(COLORS)], marker=MARKERS[i % len(MARKERS)], linestyle="none")
        for i in range(len(controls))
    ]
    marks.append(Line2D([], [], color="black", marker="o", markerfacecolor="white", linestyle="none"))
    hollow = "no difference shown\n(the interval includes 0)" if decides else "one replication\ndecides nothing"
    ax.legend(
        marks, [*controls, hollow], **legend_place(place), title="minus", title_fontsize=8, fontsize=8, frameon=False
    )
