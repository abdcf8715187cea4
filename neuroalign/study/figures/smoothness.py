"""How much the loss changes with the image: input gradients at clean images and at adversarial points."""

from __future__ import annotations

import numpy as np
import pandas as pd

from neuroalign.plot.styles import t_intervals
from neuroalign.study.figures.captioned import Captioned, said
from neuroalign.study.figures.conditions import Conditions
from neuroalign.study.figures.layout import new_figure
from neuroalign.study.figures.rows import dots_by_condition

__all__: list[str] = []

MEASURES = {"input gradient (clean)": "clean images", "input gradient (adversarial)": "adversarial points"}


def smoothness_figure(rows: pd.DataFrame, conditions: Conditions) -> Captioned:
    """Mean squared input gradients, a row per condition, a point per seed, on a logarithmic axis.

    Args:
        rows: Columns ``label``, ``replication``, ``measure``, ``value``: a mean over subjects each.
        conditions: Order, groups and styles of the conditions.
    """
    measured = rows[rows["measure"].isin(MEASURES)].dropna(subset=["value"])
    known = measured[measured["value"] > 0]
    shown = conditions.ordered(set(known["label"]))
    panels = {name: title for name, title in MEASURES.items() if name in set(known["measure"])}
    figure = new_figure(1.5 + 0.21 * len(shown), "Input gradients", conditions.origin)
    axes = np.atleast_1d(figure.subplots(1, len(panels), sharey=True, sharex=True))
    for ax, (name, title) in zip(axes, panels.items()):
        part = known[known["measure"] == name]
        # Averaged as logarithms, because ratios are what the axis shows.
        means = t_intervals(part.assign(value=np.log(part["value"])), "label", "value")
        intervals = means.assign(**{c: np.exp(means[c]) for c in ("mean", "low", "high")})
        dots_by_condition(ax, part, "value", intervals, shown, conditions)
        ax.set_xscale("log")
        ax.set_title(title, fontsize=10)
        ax.set_xlabel("mean squared input gradient", fontsize=9)
    seeds = int(known.groupby("label")["replication"].nunique().max())
    caption = (
        f"Mean squared gradient of the loss with respect to the image, at {' and at '.join(panels.values())}"
        f"{said(conditions.origin)}; smaller is smoother. The axis is logarithmic. Points are seeds"
        + (
            f", large marks their geometric means with 95 % t intervals of the logarithm over at most {seeds} seeds."
            if seeds > 1
            else "; with one seed there are no intervals."
        )
        + " A smooth loss doesn't make a network robust."
    )
    if len(known) < len(measured):
        caption += f" {len(measured) - len(known)} gradients of 0 have no place on this axis."
    return Captioned(figure, caption)
