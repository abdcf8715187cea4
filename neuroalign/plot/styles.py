"""How lines and marks of conditions look, so that they can be told apart in print and by the colour-blind."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["is_control"]

Style = dict[str, Any]
"""Keywords of a line of Matplotlib: ``color``, ``linestyle``, ``marker``."""

# Okabe & Ito's palette, which colour-blind readers can tell apart; its yellow can't be read on white.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7A4B9A")
GRAYS = ("#000000", "#666666", "#999999", "#444444", "#888888", "#BBBBBB", "#777777")
MARKERS = "osD^vPX*<>"
DASHES: tuple[Any, ...] = ("--", "-.", (0, (1, 1.2)), (0, (6, 1.5)), (0, (3, 1.2, 1, 1.2, 1, 1.2)))
_CONTROLS = ("none", "random", "shuffled", "label", "geometry", "no brain")


def is_control(condition: str) -> bool:
    """Whether a condition is a control, judged by its name.

    Example:
        >>> is_control("shuffled fit (TO)"), is_control("neural guidance (TO)")
        (True, False)
    """
    return any(word in condition for word in _CONTROLS)


def styles_of(conditions: Sequence[str], controls: Collection[str] | None = None) -> dict[str, Style]:
    """A style per condition: treatments are coloured and solid, controls gray and dashed; every line has its own marker.

    Args:
        conditions: Names.
        controls: Those that are controls; None judges by their names.
    """
    styles: dict[str, Style] = {}
    num_colors = num_grays = 0
    for i, name in enumerate(conditions):
        if is_control(name) if controls is None else name in controls:
            styles[name] = {"color": GRAYS[num_grays % len(GRAYS)], "linestyle": "--", "marker": MARKERS[i % 10]}
            num_grays += 1
        else:
            styles[name] = {"color": COLORS[num_colors % len(COLORS)], "linestyle": "-", "marker": MARKERS[i % 10]}
            num_colors += 1
    return styles


def axes_of(ax: Axes | None, width: float = 7.0, height: float = 4.5) -> Axes:
    """The given axes, or those of a new figure."""
    if ax is not None:
        return ax
    from matplotlib.figure import Figure

    # A new Figure rather than one of pyplot: no global state, no window, nothing to close.
    return Figure(figsize=(width, height), layout="constrained").subplots()


def t_intervals(table: pd.DataFrame, by: str | list[str], value: str, confidence: float = 0.95) -> pd.DataFrame:
    """Mean of each group and its t interval over the group's rows.

    Args:
        table: Columns ``by`` and ``value``; rows without a value are left out.
        by: Column or columns of the groups, which keep their order.
        value: Column of the values.
        confidence: Confidence of the intervals.

    Returns:
        Index ``by``; columns ``mean``, ``low``, ``high``, ``n``. A group of one row has no interval (NaN).

    Source:
        Student 1908, Biometrika 6:1-25, by ``scipy.stats.t``.
    """
    from scipy.stats import t

    known = table.assign(**{value: pd.to_numeric(table[value])}).dropna(subset=[value])
    stats = known.groupby(by, sort=False)[value].agg(mean="mean", sd="std", n="count")
    half = t.ppf((1 + confidence) / 2, (stats["n"] - 1).clip(lower=1)) * stats["sd"] / np.sqrt(stats["n"])
    return stats.assign(low=stats["mean"] - half, high=stats["mean"] + half)[["mean", "low", "high", "n"]]


def budget_labels(budgets: Iterable[float], norm: str | None) -> list[str]:
    """Texts of budgets: "clean" for 0, "2/255" where budgets of Linf are such, else a number.

    Example:
        >>> budget_labels([0, 2 / 255, 0.5 / 255], "linf"), budget_labels([0.25], "l2")
        (['clean', '2/255', '0.5/255'], ['0.25'])
    """
    budgets = [float(eps) for eps in budgets]
    halves = [eps * 255 * 2 for eps in budgets]
    in_255 = norm == "linf" and all(abs(each - round(each)) < 1e-3 for each in halves)
    return ["clean" if eps == 0 else f"{eps * 255:.3g}/255" if in_255 else f"{eps:.3g}" for eps in budgets]


def style_for(
    styles: Mapping[str, Style] | None, names: Sequence[str], controls: Collection[str] | None
) -> dict[str, Style]:
    """The given styles of some conditions, or their default ones."""
    return styles_of(names, controls) if styles is None else {name: dict(styles[name]) for name in names}


def legend_place(place: str) -> dict[str, Any]:
    """Keywords of a legend at the right of its axes, or below them."""
    places: dict[str, dict[str, Any]] = {
        "right": {"loc": "center left", "bbox_to_anchor": (1, 0.5)},
        "below": {"loc": "upper center", "bbox_to_anchor": (0.5, -0.2)},
    }
    return places[place]
