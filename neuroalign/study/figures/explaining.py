"""Geometry against robustness, given clean accuracy."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from neuroalign.study.figures.captioned import Captioned, said
from neuroalign.study.figures.conditions import ROBUST, Conditions
from neuroalign.study.figures.geometry import LABELS
from neuroalign.study.figures.labelling import label_marks, mark_style, mark_words, numbered_handles
from neuroalign.study.figures.layout import WIDTH, grid, new_figure, p_text, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__: list[str] = []

FEATURES, SCOPE = "features", "between conditions"
EVERY, PLAIN = "all", "without robust training"
FEWEST = 4  # conditions: with fewer, a line given clean accuracy goes through them whatever they are


def explaining_measures(networks: pd.DataFrame) -> list[str]:
    """Measures of geometry that differ between enough conditions."""
    found = []
    for name in LABELS:
        if name in networks:
            known = networks.astype({name: float}).dropna(subset=[name, "clean", "robust"])
            means = known.groupby("label")[["clean", name]].mean()
            if len(means) >= FEWEST and _differ(means["clean"]) and _differ(means[name]):
                found.append(name)
    return found


def _differ(values: pd.Series) -> bool:
    """Whether values differ by more than rounding."""
    return bool(values.max() - values.min() > 1e-9 * max(1.0, float(values.abs().max())))


def explaining_figure(
    networks: pd.DataFrame, regression: pd.DataFrame, conditions: Conditions, attack: str
) -> Captioned:
    """Partial residuals: what clean accuracy doesn't explain of robustness, against the same of each measure of geometry.

    With robust training, everything is shown a second time without it: it is of one kind, which counts for each of its
    conditions.

    Args:
        networks: Columns ``label``, ``replication``, ``clean``, ``robust`` and measures of geometry; a row per network.
        regression: Columns ``layer``, ``networks``, ``measure``, ``scope``, ``partial_r``, ``partial_low``,
            ``partial_high``, ``p``, ``p_holm``, ``expected`` ("+" or "-"), ``test``; may be empty.
        conditions: Order, groups and styles of the conditions.
        attack: Name of the attack.
    """
    shown = conditions.ordered(set(networks["label"]))
    robust = {name for name in shown if conditions.group_of[name] == ROBUST}
    sets = {EVERY: networks}
    plain_ones = networks[~networks["label"].isin(robust)]
    if robust and explaining_measures(plain_ones) == explaining_measures(networks):
        sets[PLAIN] = plain_ones
    panels = [(measure, name) for measure in explaining_measures(networks) for name in sets]
    columns, names = min(2, len(panels)), 2 if len(shown) < 12 else 3
    height = 0.5 + 2.7 * math.ceil(len(panels) / columns) + 0.17 * math.ceil(len(shown) / names)
    figure = new_figure(height, "Does geometry explain robustness, given clean accuracy?", conditions.origin, WIDTH)
    axes, points = grid(figure, len(panels), columns), []
    for place, (ax, (measure, name)) in enumerate(zip(axes, panels)):
        points.append(_panel(ax, sets[name].dropna(subset=[measure, "clean", "robust"]), measure, conditions))
        plain(ax)
        ax.set_title(_title(measure, name if len(sets) > 1 else "", _row(regression, measure, name)), fontsize=9)
        ax.locator_params(axis="x", nbins=5)
        ax.set_xlabel(f"{LABELS[measure].splitlines()[0]}, given clean accuracy")
        if place % columns == 0:
            ax.set_ylabel(f"accuracy under {attack},\ngiven clean accuracy", fontsize=9)
    figure.legend(
        handles=numbered_handles(conditions, shown), loc="outside lower center", ncols=names, fontsize=8, frameon=False,
        handletextpad=0.3, columnspacing=1.0,
    )  # fmt: skip
    figure.draw_without_rendering()
    for ax, means in zip(axes, points):
        label_marks(ax, means)
    return Captioned(figure, _caption(regression, conditions, attack, panels, shown))


def _panel(ax: Axes, networks: pd.DataFrame, measure: str, conditions: Conditions) -> dict[str, tuple[float, float]]:
    """Draw the networks, their conditions' means and the line through these; the means' places by their numbers."""
    table = networks.astype({measure: float})
    means = table.groupby("label", sort=False)[["clean", "robust", measure]].mean()
    # The lines of clean accuracy go through the means of conditions, as in the test between conditions.
    left = {}
    for value in (measure, "robust"):
        across = means["clean"] - means["clean"].mean()
        slope = float((across * means[value]).sum() / (across**2).sum())
        left[value] = [
            each[value] - means[value].mean() - slope * (each["clean"] - means["clean"].mean())
            for each in (table, means)
        ]
    (x, x_means), (y, y_means) = left[measure], left["robust"]
    if _differ(x_means):
        ends = np.array([x_means.min(), x_means.max()])
        slope = float((x_means * y_means).sum() / (x_means**2).sum())
        ax.plot(ends, slope * ends, color="black", linewidth=1.3, zorder=2)
    found = {}
    for label in conditions.ordered(set(means.index)):
        style, own = mark_style(conditions, label), table["label"] == label
        ax.plot(x[own], y[own], linestyle="none", markersize=3, alpha=0.35, **style)
        found[str(conditions.number(label))] = float(x_means[label]), float(y_means[label])
        ax.plot(*found[str(conditions.number(label))], linestyle="none", markersize=7, zorder=3, **style)
    ax.margins(0.12)
    ax.axhline(0, color="#bbbbbb", linewidth=0.6, zorder=0)
    ax.axvline(0, color="#bbbbbb", linewidth=0.6, zorder=0)
    return found


def _row(regression: pd.DataFrame, measure: str, networks: str) -> Mapping[str, Any] | None:
    if regression.empty:
        return None
    rows = regression[
        (regression["measure"] == measure) & (regression["scope"] == SCOPE) & (regression["layer"] == FEATURES)
    ]
    rows = rows[rows["networks"] == networks] if "networks" in rows else rows
    return dict(rows.iloc[0]) if len(rows) else None


def _title(measure: str, networks: str, row: Mapping[str, Any] | None) -> str:
    title = LABELS[measure].splitlines()[0] + (f", {networks}" if networks else "")
    if row is None or pd.isna(row["partial_r"]):
        return title
    expected = {"+": ", expected +", "-": ", expected −"}.get(str(row.get("expected", "")), "")
    interval = "" if pd.isna(row["partial_low"]) else f" [{row['partial_low']:+.2f}, {row['partial_high']:+.2f}]"
    return f"{title}{expected}\npartial r {row['partial_r']:+.2f}{interval}\n{p_text(row)}"


def _caption(
    regression: pd.DataFrame, conditions: Conditions, attack: str, panels: list[tuple[str, str]], shown: list[str]
) -> str:
    rows = [row for row in (_row(regression, *panel) for panel in panels) if row is not None]
    sentences = [
        f"Mean accuracy over the budgets of {attack} above 0 against the geometry of the last features"
        f"{said(conditions.origin)}, both without what clean accuracy explains (a straight line through the means of the "
        "conditions). Small marks are networks, large ones the means of conditions; the black line is the regression through "
        "the means.",
    ]
    if rows:
        test = str(rows[0].get("test") or "").strip()
        sentences.append(
            f"Above each panel: the partial correlation between conditions with its 95 % interval, p, and p after Holm's "
            f"correction{f' ({test})' if test else ''}; 'expected' is the sign by the manifold hypothesis."
        )
    if any(name == PLAIN for _, name in panels):
        sentences.append(
            "At the right the same without robust training, which is of one kind but counts for each condition."
        )
    sentences += [
        "The conditions were chosen, not drawn: a correlation over them shows no cause.",
        mark_words(conditions, shown),
    ]
    return " ".join(filter(None, sentences))
