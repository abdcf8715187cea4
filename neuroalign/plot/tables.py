"""Figures of a study's tables. Every function draws on given axes or new ones and returns them; nothing is shown."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["is_control", "plot_bars", "plot_prediction", "plot_robustness"]

# Okabe & Ito's palette, which colour-blind readers can tell apart; controls are also dashed.
_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7A4B9A")
_GRAYS = ("#000000", "#666666", "#999999", "#444444", "#888888", "#BBBBBB", "#777777")
_CONTROLS = ("none", "random", "shuffled", "label", "geometry", "no brain")
_MARKERS = "osD^vPX*<>"


def is_control(condition: str) -> bool:
    """Whether a condition is a control, judged by its name."""
    return any(word in condition for word in _CONTROLS)


def _style(conditions: Sequence[str], controls: Collection[str] | None = None) -> dict[str, dict[str, Any]]:
    styles: dict[str, dict[str, Any]] = {}
    num_colors = num_grays = 0
    for i, name in enumerate(conditions):
        if is_control(name) if controls is None else name in controls:
            styles[name] = {"color": _GRAYS[num_grays % len(_GRAYS)], "linestyle": "--", "marker": _MARKERS[i % 10]}
            num_grays += 1
        else:
            styles[name] = {"color": _COLORS[num_colors % len(_COLORS)], "linestyle": "-", "marker": _MARKERS[i % 10]}
            num_colors += 1
    return styles


def _axes(ax: Axes | None, width: float = 7.0, height: float = 4.5) -> Axes:
    if ax is not None:
        return ax
    from matplotlib.figure import Figure

    # A new Figure rather than one of pyplot: no global state, no window, nothing to close.
    return Figure(figsize=(width, height), layout="constrained").subplots()


def plot_robustness(
    table: pd.DataFrame, *, ax: Axes | None = None, title: str | None = None, controls: Collection[str] | None = None
) -> Axes:
    """Accuracy against attack budget, one line per condition: mean over replications, bars of one standard deviation.

    The legend's title says so. A condition with a single replication has no bars.

    Args:
        table: Columns ``condition``, ``replication``, ``eps``, ``accuracy``.
        ax: Axes to draw on; None makes new ones.
        title: Title of the axes.
        controls: Conditions that are drawn gray and dashed; None judges by their names (:func:`is_control`).

    Example:
        >>> table = pd.DataFrame({"condition": "none", "replication": 0, "eps": [0, 0.1], "accuracy": [0.9, 0.2]})
        >>> plot_robustness(table).get_legend().get_title().get_text()
        '1 replication, so no bars'
    """
    ax = _axes(ax)
    conditions = list(dict.fromkeys(table["condition"]))
    styles = _style(conditions, controls)
    for name in conditions:
        by_eps = table[table["condition"] == name].groupby("eps")["accuracy"]
        mean, spread = by_eps.mean(), by_eps.std()
        ax.errorbar(
            mean.index.to_numpy(), mean.to_numpy(), spread.to_numpy(), label=name, capsize=2, markersize=5, linewidth=1.6,
            **styles[name],
        )  # fmt: skip
    counts = sorted(set(table.groupby("condition")["replication"].nunique()))
    number = str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    ax.set_xlabel("attack budget ε (largest change of a pixel, of [0, 1])")
    ax.set_ylabel("accuracy")
    ax.set_ylim(-0.02, 1.02)
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(
        fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5),
        title=f"mean ± sd over {number} replications" if counts[-1] > 1 else "1 replication, so no bars", title_fontsize=8,
    )  # fmt: skip
    if title:
        ax.set_title(title, fontsize=11)
    return ax


def plot_bars(
    table: pd.DataFrame,
    value: str,
    *,
    label: str,
    by: str = "condition",
    ax: Axes | None = None,
    title: str | None = None,
    controls: Collection[str] | None = None,
) -> Axes:
    """One bar per condition for the mean, and one point per replication; the label of the axis says so.

    Args:
        table: Columns ``by``, ``replication`` and ``value``.
        value: Column to draw.
        label: Label of the value's axis, with its unit; "" leaves the axis without a label.
        by: Column with the names of the bars.
        ax: Axes to draw on; None makes new ones.
        title: Title of the axes.
        controls: Names whose bars are gray; None judges by the names (:func:`is_control`).

    Example:
        >>> table = pd.DataFrame({"condition": ["V1", "TO"], "replication": 0, "radius": [1.0, 0.5]})
        >>> len(plot_bars(table, "radius", label="radius").patches)
        2
    """
    ax = _axes(ax, 5.0, 3.5)
    names = list(dict.fromkeys(table[by]))
    styles = _style(names, controls)
    mean = table.groupby(by, sort=False)[value].mean().reindex(names)
    y = np.arange(len(names))
    ax.barh(y, mean.to_numpy(), color=[styles[n]["color"] for n in names], alpha=0.75, height=0.7)
    for i, name in enumerate(names):
        points = table.loc[table[by] == name, value].to_numpy()
        ax.plot(points, np.full(len(points), i), "o", color="black", markersize=3, alpha=0.8)
    ax.set_yticks(y, names, fontsize=8)
    ax.invert_yaxis()
    replications = table["replication"].nunique()
    what = f"bar: mean, points: {replications} replications" if replications > 1 else "1 replication"
    ax.set_xlabel(f"{label}\n({what})" if label else "", fontsize=9)
    ax.spines[["top", "right"]].set_visible(False)
    if title:
        ax.set_title(title, fontsize=10)
    return ax


def plot_prediction(table: pd.DataFrame, *, ax: Axes | None = None, title: str | None = None) -> Axes:
    """Held-out correlation of every voxel against its noise ceiling, one colour per region.

    Args:
        table: Columns ``region``, ``correlation`` and ``noise_ceiling`` (share of variance), one row per voxel.
        ax: Axes to draw on; None makes new ones.
        title: Title of the axes.

    Example:
        >>> table = pd.DataFrame({"region": "V1", "correlation": [0.5], "noise_ceiling": [0.6]})
        >>> plot_prediction(table).get_xlabel()
        'largest correlation that noise allows, √NC'
    """
    ax = _axes(ax, 5.0, 4.5)
    for i, (region, part) in enumerate(table.groupby("region", sort=False)):
        ceiling = np.sqrt(part["noise_ceiling"].clip(lower=0))  # unclamped estimates may be negative
        ax.plot(
            ceiling, part["correlation"], _MARKERS[i % len(_MARKERS)], color=_COLORS[i % len(_COLORS)], markersize=3.5,
            alpha=0.6, label=f"{region}: median r {part['correlation'].median():.2f} of {ceiling.median():.2f}",
        )  # fmt: skip
    ax.plot([0, 1], [0, 1], color="black", linewidth=0.8)
    ax.annotate("as good as noise allows", (0.42, 0.44), rotation=45, fontsize=8, rotation_mode="anchor",
                transform_rotates_text=True)  # fmt: skip
    ax.axhline(0, color="gray", linewidth=0.5)
    ax.set_xlim(0, 1)
    ax.set_ylim(min(-0.1, float(table["correlation"].min()) - 0.02), 1)
    ax.set_xlabel("largest correlation that noise allows, √NC")
    ax.set_ylabel("correlation with held-out responses")
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(fontsize=8, frameon=False, loc="upper left")
    if title:
        ax.set_title(title, fontsize=11)
    return ax
