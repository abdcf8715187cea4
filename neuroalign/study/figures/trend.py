"""Accuracy under attack along a hierarchy of regions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from neuroalign.plot.styles import t_intervals
from neuroalign.study.figures.captioned import Captioned, said
from neuroalign.study.figures.conditions import Conditions
from neuroalign.study.figures.layout import grid, new_figure, p_text, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__: list[str] = []


def trend_figure(
    accuracy: pd.DataFrame, hierarchy: Sequence[str], trend: pd.DataFrame, conditions: Conditions, attack: str
) -> Captioned:
    """A panel per condition that has several of the regions: a thin line per unit, the mean with its interval.

    Args:
        accuracy: Columns ``condition``, ``region``, ``unit`` (name of a subject or seed), ``accuracy``: a mean over budgets
            above 0 each.
        hierarchy: Regions in the order in which robustness is expected to rise.
        trend: Columns ``condition``, ``control`` (empty for the condition itself), ``effect`` (slope), ``low``, ``high``,
            ``p``, ``p_holm``; may be empty.
        conditions: Order, groups and styles of the conditions.
        attack: Name of the attack.
    """
    known = accuracy[accuracy["region"].isin(hierarchy)].dropna(subset=["accuracy"])
    several = known.groupby("condition")["region"].nunique()
    shown = [name for name in dict.fromkeys(conditions.condition_of.values()) if several.get(name, 0) > 1]
    columns = min(3, len(shown))
    height = 0.7 + 2.75 * math.ceil(len(shown) / columns)
    title = f"Accuracy under {attack} along {' < '.join(hierarchy)}"
    figure = new_figure(height, title, conditions.origin, 2.5 * max(2, columns))
    axes = grid(figure, len(shown), columns, sharey=True)
    for ax, name in zip(axes, shown):
        _panel(ax, known[known["condition"] == name], hierarchy, _style(name, conditions))
        ax.set_title(_title(name, _row(trend, name, "")), fontsize=9)
        plain(ax)
        ax.title.set_fontsize(9)
        ax.tick_params(labelleft=True)
    for ax in axes[::columns]:
        ax.set_ylabel("accuracy, mean over budgets", fontsize=9)
    return Captioned(figure, _caption(shown, known, hierarchy, trend, conditions, attack))


def _panel(ax: Axes, part: pd.DataFrame, hierarchy: Sequence[str], style: Mapping[str, Any]) -> None:
    wide = part.pivot_table(index="unit", columns="region", values="accuracy", sort=False).reindex(
        columns=list(hierarchy)
    )
    x = np.arange(len(hierarchy))
    for values in wide.to_numpy(float):
        there = np.isfinite(values)
        ax.plot(x[there], values[there], color="#999999", linewidth=0.8, marker=".", markersize=4, zorder=1)
    means = t_intervals(part, "region", "accuracy").reindex(list(hierarchy))
    half = None if means["low"].isna().all() else (means["high"] - means["mean"]).to_numpy()
    ax.errorbar(
        x,
        means["mean"].to_numpy(),
        yerr=half,
        linewidth=1.8,
        markersize=6,
        capsize=3,
        elinewidth=1.2,
        zorder=3,
        **style,
    )
    ax.set_xticks(x, list(hierarchy))
    ax.set_xlim(-0.4, len(hierarchy) - 0.6)


def _style(condition: str, conditions: Conditions) -> dict[str, Any]:
    """Guided conditions are blue with filled marks, controls vermilion and dashed with hollow ones."""
    labels = [label for label, name in conditions.condition_of.items() if name == condition]
    if all(label in conditions.controls for label in labels):
        return {"color": "#D55E00", "linestyle": "--", "marker": "s", "markerfacecolor": "white"}
    return {"color": "#0072B2", "linestyle": "-", "marker": "o"}


def _row(trend: pd.DataFrame, condition: str, control: str) -> Mapping[str, Any] | None:
    if trend.empty:
        return None
    rows = trend[(trend["condition"] == condition) & (trend["control"].fillna("") == control)]
    return dict(rows.iloc[0]) if len(rows) else None


def _title(name: str, row: Mapping[str, Any] | None) -> str:
    return name if row is None or pd.isna(row["effect"]) else f"{name}\n{_slope(row)}\n{p_text(row)}".rstrip()


def _slope(row: Mapping[str, Any]) -> str:
    interval = "" if pd.isna(row["low"]) else f" [{row['low']:+.3f}, {row['high']:+.3f}]"
    return f"{row['effect']:+.3f} per step{interval}"


def _caption(
    shown: Sequence[str],
    known: pd.DataFrame,
    hierarchy: Sequence[str],
    trend: pd.DataFrame,
    conditions: Conditions,
    attack: str,
) -> str:
    unit = str(known["kind"].iloc[0]) if "kind" in known and len(known) else "seed"
    number = known["unit"].nunique()
    sentences = [
        f"Accuracy averaged over the budgets of {attack} above 0, from region to region in the order that the study's file "
        f"names before: {', '.join(hierarchy)}{said(conditions.origin)}.",
        f"Thin gray lines are {unit}s, thick ones their means"
        + (
            f" with 95 % t intervals over {number} {unit}s."
            if number > 1
            else f"; with one {unit} there are no intervals."
        ),
        "Blue, solid: guided by a brain; vermilion, dashed, hollow: controls. A trend that a control shows too "
        "doesn't come from the responses.",
    ]
    if len(trend):
        sentences.append(
            "Above each panel: the change of accuracy per step of the hierarchy with its 95 % interval, the one-sided p "
            f"value of the ordered trend{f' ({test})' if (test := _test(trend)) else ''}, and p after Holm's correction."
        )
        over = trend[(trend["control"].fillna("") != "") & trend["condition"].isin(shown) & trend["effect"].notna()]
        differences = [
            f"{row['condition']} minus {row['control']} {_slope(row)}, {p_text(row)}"
            for row in ({str(key): value for key, value in each.items()} for each in over.to_dict("records"))
        ]
        if differences:
            sentences.append(f"Trends of differences: {'; '.join(differences)}.")
    return " ".join(sentences)


def _test(trend: pd.DataFrame) -> str:
    """The test in words, where it is the same in all rows."""
    tests = set(trend["test"].dropna()) if "test" in trend else set()
    return str(next(iter(tests))) if len(tests) == 1 else ""
