"""Geometry against robustness, given clean accuracy."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from neuroalign.study.figures.captioned import Captioned, said
from neuroalign.study.figures.conditions import Conditions
from neuroalign.study.figures.geometry import LABELS
from neuroalign.study.figures.labelling import label_marks, mark_style, mark_words, numbered_handles
from neuroalign.study.figures.layout import WIDTH, grid, new_figure, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__: list[str] = []

FEATURES, SCOPE = "features", "all networks"
FEWEST = 4  # networks: with fewer, the line goes through clean accuracy and them whatever they are


def explaining_measures(networks: pd.DataFrame) -> list[str]:
    """Measures of geometry that differ between enough networks."""
    clean = networks["clean"] if "clean" in networks else pd.Series(dtype=float)
    if len(networks) < FEWEST or clean.nunique() < 2:
        return []
    known = {name: pd.to_numeric(networks[name]) for name in LABELS if name in networks}
    return [name for name, values in known.items() if values.notna().sum() >= FEWEST and values.nunique() > 1]


def explaining_figure(
    networks: pd.DataFrame, regression: pd.DataFrame, conditions: Conditions, attack: str
) -> Captioned:
    """Partial residuals: what clean accuracy doesn't explain of robustness, against the same of each measure of geometry.

    Args:
        networks: Columns ``label``, ``replication``, ``clean``, ``robust`` and measures of geometry; a row per network.
        regression: Columns ``layer``, ``measure``, ``scope``, ``partial_r``, ``partial_low``, ``partial_high``, ``p``,
            ``p_holm``, ``expected`` ("+" or "-"); may be empty.
        conditions: Order, groups and styles of the conditions.
        attack: Name of the attack.
    """
    measures = explaining_measures(networks)
    shown = conditions.ordered(set(networks["label"]))
    columns = min(2, len(measures))
    names = 2 if len(shown) < 12 else 3
    height = 0.5 + 3.1 * math.ceil(len(measures) / columns) + 0.17 * math.ceil(len(shown) / names)
    figure = new_figure(height, "Does geometry explain robustness, given clean accuracy?", conditions.origin, WIDTH)
    axes = grid(figure, len(measures), columns)
    points = []
    for ax, measure in zip(axes, measures):
        points.append(_panel(ax, networks.dropna(subset=[measure, "clean", "robust"]), measure, conditions))
        ax.set_title(_title(measure, _row(regression, measure)), fontsize=9)
        plain(ax)
        ax.title.set_fontsize(9)
        ax.locator_params(axis="x", nbins=5)
        ax.set_xlabel(f"{LABELS[measure].splitlines()[0]}, given clean accuracy")
    for ax in axes[::columns]:
        ax.set_ylabel(f"accuracy under {attack},\ngiven clean accuracy", fontsize=9)
    figure.legend(
        handles=numbered_handles(conditions, shown), loc="outside lower center", ncols=names, fontsize=8, frameon=False,
        handletextpad=0.3, columnspacing=1.0,
    )  # fmt: skip
    figure.draw_without_rendering()
    for ax, means in zip(axes, points):
        label_marks(ax, means)
    return Captioned(figure, _caption(networks, regression, conditions, attack, measures, shown))


def residuals(values: pd.Series, given: pd.Series) -> np.ndarray:
    """What is left of values when a straight line through another variable is taken away."""
    slope, intercept = np.polyfit(given.to_numpy(float), values.to_numpy(float), 1)
    return np.asarray(values.to_numpy(float) - (slope * given.to_numpy(float) + intercept))


def _panel(ax: Axes, networks: pd.DataFrame, measure: str, conditions: Conditions) -> dict[str, tuple[float, float]]:
    """Draw the networks, their conditions' means and the line; the means' places by their numbers."""
    table = pd.DataFrame({
        "label": networks["label"].to_numpy(), "x": residuals(networks[measure], networks["clean"]),
        "y": residuals(networks["robust"], networks["clean"]),
    })  # fmt: skip
    slope = float((table["x"] * table["y"]).sum() / (table["x"] ** 2).sum())  # both have mean 0
    ends = np.array([table["x"].min(), table["x"].max()])
    ax.plot(ends, slope * ends, color="black", linewidth=1.2, zorder=2)
    means = {}
    for label in conditions.ordered(set(table["label"])):
        part, style = table[table["label"] == label], mark_style(conditions, label)
        ax.plot(part["x"], part["y"], linestyle="none", markersize=3, alpha=0.4, **style)
        place = float(part["x"].mean()), float(part["y"].mean())
        ax.plot(*place, linestyle="none", markersize=7, zorder=3, **style)
        means[str(conditions.number(label))] = place
    ax.margins(0.12)
    ax.axhline(0, color="#bbbbbb", linewidth=0.6, zorder=0)
    ax.axvline(0, color="#bbbbbb", linewidth=0.6, zorder=0)
    return means


def _row(regression: pd.DataFrame, measure: str) -> Mapping[str, Any] | None:
    if regression.empty:
        return None
    rows = regression[
        (regression["measure"] == measure) & (regression["scope"] == SCOPE) & (regression["layer"] == FEATURES)
    ]
    return dict(rows.iloc[0]) if len(rows) else None


def _title(measure: str, row: Mapping[str, Any] | None) -> str:
    name = LABELS[measure].splitlines()[0]
    if row is None or pd.isna(row["partial_r"]):
        return name
    interval = "" if pd.isna(row["partial_low"]) else f" [{row['partial_low']:+.2f}, {row['partial_high']:+.2f}]"
    expected = {"+": ", expected +", "-": ", expected −"}.get(str(row.get("expected", "")), "")
    return f"{name}{expected}\npartial r {row['partial_r']:+.2f}{interval}"


def _caption(
    networks: pd.DataFrame,
    regression: pd.DataFrame,
    conditions: Conditions,
    attack: str,
    measures: list[str],
    shown: list[str],
) -> str:
    rows = [row for row in (_row(regression, measure) for measure in measures) if row is not None]
    sentences = [
        f"Mean accuracy over the budgets of {attack} above 0 against the geometry of the last features"
        f"{said(conditions.origin)}, both without what clean accuracy explains (a straight line through all "
        f"{len(networks)} networks). Small marks are networks, large ones the means of conditions.",
        "The black line is the regression of robustness on the measure given clean accuracy.",
    ]
    if rows:
        test = str(rows[0].get("test") or "").strip()
        sentences.append(
            "Partial correlations have 95 % intervals"
            + (f" ({test})." if test else ".")
            + " 'Expected' is the sign by the manifold hypothesis."
        )
    sentences.append(
        "Networks of one condition aren't independent, and the conditions were chosen by us: a correlation over them is no "
        "cause."
    )
    sentences.append(mark_words(conditions, shown))
    return " ".join(filter(None, sentences))
