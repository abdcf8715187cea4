"""Differences between treatments and their controls, budget by budget."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from neuroalign.plot import plot_differences
from neuroalign.plot.styles import budget_labels
from neuroalign.study.comparing import Compared
from neuroalign.study.figures.captioned import Captioned, said
from neuroalign.study.figures.layout import WIDTH, grid, new_figure, plain

__all__: list[str] = []


def advantage_figure(compared: Sequence[Compared], origin: str, norms: Mapping[str, str] | None = None) -> Captioned:
    """Each treatment's accuracy minus that of its controls at every budget, a panel per treatment and attack.

    Args:
        compared: Comparisons, at least one.
        origin: A word on simulated subjects; may be empty.
        norms: Norm of the budgets, "linf" or "l2", by the name of the attack; None writes budgets as numbers.
    """
    panels: dict[tuple[str, str], list[Compared]] = {}
    for each in compared:
        panels.setdefault((each.comparison.treatment, each.measure), []).append(each)
    columns = min(2, len(panels))
    most = max(map(len, panels.values()))
    height = math.ceil(len(panels) / columns) * (2.9 + 0.17 * most)
    figure = new_figure(0.4 + height, "Accuracy minus that of each control", origin, WIDTH if columns > 1 else 5.5)
    axes = grid(figure, len(panels), columns, sharey=True)
    several = len({measure for _, measure in panels}) > 1
    for ax, ((treatment, measure), group) in zip(axes, panels.items()):
        tables = {each.comparison.control: each.comparison.table for each in group}
        plot_differences(
            tables, ax=ax, title=f"{treatment}{f', {measure}' if several else ''}",
            decides=all(each.comparison.decides for each in group), norm=(norms or {}).get(measure), legend="below",
        )  # fmt: skip
        plain(ax)
        ax.tick_params(labelleft=True)
    return Captioned(figure, _caption(compared, origin, norms or {}))


def _caption(compared: Sequence[Compared], origin: str, norms: Mapping[str, str]) -> str:
    confidence = compared[0].comparison.confidence * 100
    decides = any(each.comparison.decides for each in compared)
    over = list(dict.fromkeys(each.comparison.interval_over for each in compared))
    sentences = [
        f"Accuracy of the treatment minus that of each control at every budget{said(origin)}, with {confidence:g} % "
        f"intervals over {' or '.join(over)}.",
        "These intervals are not corrected for their number, other than the p values of the comparisons, which are over the "
        "mean of the budgets.",
        "A filled mark stands where the interval at this budget excludes 0, a hollow one where it includes 0, so that no "
        "difference is shown; that isn't equality."
        if decides
        else "All marks are hollow: one replication decides nothing.",
    ]
    if decides:
        sentences.extend(_without(compared, norms))
    return " ".join(sentences)


def _without(compared: Sequence[Compared], norms: Mapping[str, str]) -> list[str]:
    """A sentence per treatment on the budgets at which it shows no difference from its controls."""
    found: dict[str, dict[str, list[str]]] = {}
    for each in compared:
        c = each.comparison
        hidden = c.table[(c.table["low"] <= 0) & (c.table["high"] >= 0)] if c.decides else c.table
        if len(hidden):
            budgets = budget_labels(sorted(hidden["eps"]), norms.get(each.measure))
            where = "any budget" if len(hidden) == len(c.table) else ", ".join(budgets)
            treatment = c.treatment if len(norms) < 2 else f"{c.treatment}, {each.measure},"
            found.setdefault(treatment, {}).setdefault(where, []).append(c.control)
    return [
        f"No difference of {treatment} shown: "
        + "; ".join(f"from {', '.join(controls)} at {where}" for where, controls in places.items())
        + "."
        for treatment, places in found.items()
    ]
