"""Geometry of the categories' manifolds."""

from __future__ import annotations

import pandas as pd

from neuroalign.plot import plot_bars
from neuroalign.study.figures.captioned import Captioned, said
from neuroalign.study.figures.conditions import Conditions
from neuroalign.study.figures.layout import new_figure, plain

__all__: list[str] = []

LABELS = {
    "capacity": "capacity\n(larger: easier\nto separate)",
    "radius": "radius\n(relative to\nthe centre)",
    "dimension": "dimension\n(effective)",
    "rms_radius": "radius / distance\nbetween classes\n(smaller: tighter)",
    "participation_ratio": "participation ratio\n(effective dimen-\nsions of a class)",
    "separability": "separability\n(share of variance\nbetween classes)",
}
MOST_PANELS = 4


def measures_in(table: pd.DataFrame) -> list[str]:
    """The measures of geometry that a table holds numbers of, at most as many as fit beside each other."""
    found = [name for name in LABELS if name in table and pd.to_numeric(table[name]).notna().any()]
    return found[:MOST_PANELS]


def geometry_figure(geometry: pd.DataFrame, conditions: Conditions) -> Captioned:
    """Geometry of categories in predicted responses and in the networks' features.

    Args:
        geometry: Columns ``label``, ``replication``, ``network`` ("predictor" or "classifier") and a column per measure.
        conditions: Order, groups and styles of the conditions.
    """
    values = measures_in(geometry)
    titles = {"predictor": "predicted responses", "classifier": "features of networks"}
    parts = {name: geometry[geometry["network"] == name] for name in titles}
    parts = {name: part for name, part in parts.items() if len(part)}
    heights = [part["label"].nunique() + 1.5 for part in parts.values()]
    figure = new_figure(1.5 + 0.2 * sum(heights), "Category manifolds of the test images", conditions.origin)
    axes = figure.subplots(len(parts), len(values), height_ratios=heights, squeeze=False)
    for row, (name, part) in enumerate(parts.items()):
        gray = {"color": "#888888"}
        styles = {label: conditions.styles.get(label, gray) for label in part["label"]}
        styles = {label: gray if label in conditions.controls else style for label, style in styles.items()}
        for column, value in enumerate(values):
            ax = axes[row, column]
            plot_bars(part, value, label="", by="label", ax=ax, styles=styles, confidence=0.95)
            plain(ax)
            ax.tick_params(labelleft=column == 0)
            ax.locator_params(axis="x", nbins=4)
            if row == len(parts) - 1:
                ax.set_xlabel(LABELS[value], fontsize=9)
        axes[row, 0].set_title(titles[name], fontsize=10, loc="left")
    return Captioned(figure, _caption(parts, conditions))


def _caption(parts: dict[str, pd.DataFrame], conditions: Conditions) -> str:
    where = {
        "predictor": "in the predicted responses of each region",
        "classifier": "in the last features of each network",
    }
    most = max(int(part.groupby("label")["replication"].nunique().max()) for part in parts.values())
    points = {"predictor": "predictors", "classifier": "seeds (means over subjects, if there are several)"}
    spread = (
        f"Bars are means, points {' or '.join(points[name] for name in parts)}, black lines 95 % t intervals over at most "
        f"{most} of them."
        if most > 1
        else "There is one of each, so there are no intervals."
    )
    return (
        "Capacity, size, dimension and separability of the categories' manifolds "
        f"{' and '.join(where[name] for name in parts)}{said(conditions.origin)}. {spread} "
        "Gray bars are of networks that aren't guided by a brain, and of regions. "
        "Geometry need not follow robustness."
    )
