"""Figures of a study's tables. Every function draws on given axes or new ones and returns them; nothing is shown."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from neuroalign.plot.styles import (
    COLORS,
    MARKERS,
    Style,
    axes_of,
    budget_labels,
    legend_place,
    style_for,
    t_intervals,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plot_bars", "plot_prediction", "plot_robustness"]


def plot_robustness(
    table: pd.DataFrame,
    *,
    ax: Axes | None = None,
    title: str | None = None,
    controls: Collection[str] | None = None,
    confidence: float | None = None,
    norm: str | None = None,
    chance: float | None = None,
    styles: Mapping[str, Style] | None = None,
    legend: Literal["right", "below"] = "right",
) -> Axes:
    """Accuracy against attack budget, one line per condition: the mean over replications and how far it may be off.

    By default, bars of one standard deviation; with ``confidence``, bands of t intervals over replications. The legend's
    title says which. A condition with a single replication has neither.

    Args:
        table: Columns ``condition``, ``replication``, ``eps``, ``accuracy``.
        ax: Axes to draw on; None makes new ones.
        title: Title of the axes.
        controls: Conditions that are drawn gray and dashed; None judges by their names (:func:`is_control`).
        confidence: Confidence of the bands, such as 0.95; None draws bars of one standard deviation.
        norm: Norm of the budgets, "linf" or "l2"; those of "linf" are written as "2/255" where they are such.
        chance: Accuracy of guessing, drawn as a dotted line; None draws none.
        styles: By condition, keywords of its line (``color``, ``linestyle``, ``marker``), so that several figures can agree;
            None takes those of ``controls``.
        legend: Where the legend stands.

    Example:
        >>> table = pd.DataFrame(
        ...     {"condition": "none", "replication": 0, "eps": [0, 0.1], "accuracy": [0.9, 0.2]}
        ... )
        >>> plot_robustness(table).get_legend().get_title().get_text()
        '1 replication, so no bars'
    """
    ax = axes_of(ax)
    conditions = list(dict.fromkeys(table["condition"]))
    for name, style in style_for(styles, conditions, controls).items():
        part = table[table["condition"] == name]
        if confidence is None:
            by_eps = part.groupby("eps")["accuracy"]
            mean, spread = by_eps.mean(), by_eps.std()
            ax.errorbar(
                mean.index.to_numpy(), mean.to_numpy(), spread.to_numpy(), label=name, capsize=2, markersize=5,
                linewidth=1.6, **style,
            )  # fmt: skip
            continue
        found = t_intervals(part, "eps", "accuracy", confidence).sort_index()
        ax.plot(found.index.to_numpy(), found["mean"].to_numpy(), label=name, markersize=4.5, linewidth=1.4, **style)
        ax.fill_between(
            found.index.to_numpy(float), found["low"], found["high"], color=style["color"], alpha=0.13, linewidth=0
        )
    if chance is not None:
        ax.axhline(chance, color="#555555", linewidth=0.9, linestyle=":")
        ax.annotate("chance", (1, chance), xycoords=("axes fraction", "data"), ha="right", va="bottom", fontsize=8,
                    color="#555555")  # fmt: skip
    _budget_axis(ax, sorted(set(table["eps"].astype(float))), norm)
    ax.set_ylabel("accuracy", fontsize=9)
    ax.set_ylim(-0.02, 1.02)
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(
        **legend_place(legend), fontsize=8, frameon=False, handlelength=3.2, title=_spread_of(table, confidence),
        title_fontsize=8,
    )  # fmt: skip
    if title:
        ax.set_title(title, fontsize=10)
    return ax


def _spread_of(table: pd.DataFrame, confidence: float | None) -> str:
    """What bars or bands are over, as the title of a legend."""
    counts = sorted(set(table.groupby("condition")["replication"].nunique()))
    number = str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    if counts[-1] < 2:
        return f"1 replication, so no {'bars' if confidence is None else 'bands'}"
    if confidence is None:
        return f"mean ± sd over {number} replications"
    return f"mean, {confidence * 100:g} % interval over {number} replications"


def _budget_axis(ax: Axes, budgets: Sequence[float], norm: str | None) -> None:
    """Ticks at the budgets, as many as can be read."""
    unit = {"l2": "length of the change, L2 norm, pixels of [0, 1]"}.get(
        norm or "", "largest change of a pixel, of [0, 1]"
    )
    ax.set_xlabel(f"attack budget ε ({unit})", fontsize=9)
    if norm is None:
        return
    apart = 0.13 * (budgets[-1] - budgets[0])  # narrower labels would touch
    shown = [budgets[-1]] if budgets else []
    for eps in reversed(budgets[:-1]):
        if shown[-1] - eps >= apart and (eps == budgets[0] or eps - budgets[0] >= apart):
            shown.append(eps)
    ax.set_xticks(shown, budget_labels(shown, norm))
    ax.tick_params(labelsize=8)


def plot_bars(
    table: pd.DataFrame,
    value: str,
    *,
    label: str,
    by: str = "condition",
    ax: Axes | None = None,
    title: str | None = None,
    controls: Collection[str] | None = None,
    confidence: float | None = None,
    styles: Mapping[str, Style] | None = None,
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
        confidence: Confidence of a t interval over replications, drawn as a line on each bar; None draws none.
        styles: By name, a dictionary with the ``color`` of its bar; None takes those of ``controls``.

    Example:
        >>> table = pd.DataFrame(
        ...     {"condition": ["V1", "TO"], "replication": 0, "radius": [1.0, 0.5]}
        ... )
        >>> len(plot_bars(table, "radius", label="radius").patches)
        2
    """
    ax = axes_of(ax, 5.0, 3.5)
    names = list(dict.fromkeys(table[by]))
    colors = [style["color"] for style in style_for(styles, names, controls).values()]
    mean = table.groupby(by, sort=False)[value].mean().reindex(names)
    y = np.arange(len(names))
    ax.barh(y, mean.to_numpy(), color=colors, alpha=0.6, height=0.7)
    beside = 0.0 if confidence is None else 0.17  # so that an interval hides no points
    for i, name in enumerate(names):
        points = table.loc[table[by] == name, value].to_numpy()
        ax.plot(points, np.full(len(points), i + beside), "o", color="black", markersize=2.5, markerfacecolor="white")
    if confidence is not None:
        found = t_intervals(table, by, value, confidence).reindex(names)
        ax.errorbar(
            mean.to_numpy(), y - beside, xerr=(found["high"] - found["mean"]).to_numpy(), color="black", linestyle="none",
            linewidth=1.2, capsize=2,
        )  # fmt: skip
    ax.set_yticks(y, names, fontsize=8)
    ax.set_ylim(len(names) - 0.4, -0.6)
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
    ax = axes_of(ax, 5.0, 4.5)
    for i, (region, part) in enumerate(table.groupby("region", sort=False)):
        ceiling = np.sqrt(part["noise_ceiling"].clip(lower=0))  # unclamped estimates may be negative
        ax.plot(
            ceiling, part["correlation"], MARKERS[i % len(MARKERS)], color=COLORS[i % len(COLORS)], markersize=3.5,
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
