"""Decisions for shape or texture."""

from __future__ import annotations

import pandas as pd

from neuroalign.plot.styles import t_intervals
from neuroalign.study.figures.captioned import Captioned, said
from neuroalign.study.figures.conditions import Conditions
from neuroalign.study.figures.layout import new_figure
from neuroalign.study.figures.rows import dots_by_condition

__all__: list[str] = []

BIAS = "shape bias"


def shape_bias_figure(rows: pd.DataFrame, conditions: Conditions) -> Captioned:
    """The share of decisions for the shape, a row per condition, a point per seed.

    Args:
        rows: Columns ``label``, ``replication``, ``measure``, ``value``, ``n``: a mean over subjects each.
        conditions: Order, groups and styles of the conditions.
    """
    bias = rows[rows["measure"] == BIAS].dropna(subset=["value"])
    shown = conditions.ordered(set(bias["label"]))
    seeds = int(bias.groupby("label")["replication"].nunique().max())
    intervals = t_intervals(bias, "label", "value")
    if seeds < 2:
        ends = rows.groupby(["measure", "label"])["value"].mean()
        for column in ("low", "high"):
            known = ends.get(f"{BIAS}, {column}")
            intervals[column] = known.reindex(intervals.index) if known is not None else float("nan")
    figure = new_figure(1.5 + 0.21 * len(shown), "Shape bias", conditions.origin, 5.8)
    ax = figure.subplots()
    dots_by_condition(ax, bias, "value", intervals, shown, conditions)
    ax.axvline(0.5, color="#555555", linewidth=0.9, linestyle=":")
    ax.set_xlim(-0.02, 1.02)
    ax.set_xlabel("share of decisions for the shape", fontsize=9)
    ax.annotate(
        "← texture   shape →", (0.5, 1.005), xycoords=("data", "axes fraction"), ha="center", va="bottom", fontsize=8
    )
    decided = bias["n"].dropna()
    number = f"{decided.min():.0f} to {decided.max():.0f}" if decided.nunique() > 1 else f"{decided.max():.0f}"
    interval = (
        f"Points are seeds, large marks means with 95 % t intervals over at most {seeds} seeds."
        if seeds > 1
        else "With one seed the 95 % intervals are over stimuli alone: they say nothing about other seeds."
    )
    return Captioned(
        figure,
        f"Share of decisions for the shape among decisions for shape or texture ({number} stimuli) on cue-conflict images"
        f"{said(conditions.origin)}. {interval} The dotted line is as many decisions for the one as for the other.",
    )
