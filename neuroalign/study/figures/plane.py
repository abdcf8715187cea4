"""Accuracy on clean images against accuracy under attack."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pandas as pd

from neuroalign.plot.styles import t_intervals
from neuroalign.study.figures.captioned import Captioned, said
from neuroalign.study.figures.conditions import ROBUST, UNGUIDED, Conditions
from neuroalign.study.figures.labelling import label_marks, mark_style, mark_words, numbered_handles
from neuroalign.study.figures.layout import new_figure, plain
from neuroalign.study.networks import over_subjects

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__: list[str] = []


def plane_figure(networks: pd.DataFrame, conditions: Conditions, attack: str) -> Captioned:
    """A small mark per network and a large one per condition, with intervals over seeds in both directions.

    Networks of robust training lie far from all others: where there are such, the others are enlarged in a second panel.

    Args:
        networks: Columns ``label``, ``replication``, ``clean`` and ``robust`` (0 to 1), a row per network.
        conditions: Order, groups and styles of the conditions.
        attack: Name of the attack.
    """
    networks = networks.dropna(subset=["clean", "robust"])
    shown = conditions.ordered(set(networks["label"]))
    near = [name for name in shown if conditions.group_of[name] != ROBUST]
    columns = 2 if len(shown) < 12 else 3
    height = 4.6 + 0.17 * math.ceil(len(shown) / columns)
    figure = new_figure(height, f"Clean accuracy and accuracy under {attack}", conditions.origin)
    if len(near) < len(shown) and len(near) > 2:
        axes = list(figure.subplots(1, 2, width_ratios=[1, 1.9]))
        parts = [shown, near]
        axes[0].set_title("all")
        axes[1].set_title("enlarged: without robust training")
    else:
        axes, parts = [figure.subplots()], [shown]
    for ax, names in zip(axes, parts):
        _draw(ax, networks[networks["label"].isin(names)], names, conditions)
        ax.set_xlabel("accuracy on clean images")
        plain(ax)
    axes[0].set_ylabel(f"accuracy under {attack}, mean over budgets", fontsize=9)
    figure.legend(
        handles=numbered_handles(conditions, shown), loc="outside lower center", ncols=columns, fontsize=8, frameon=False,
        handletextpad=0.3, columnspacing=1.0,
    )  # fmt: skip
    figure.draw_without_rendering()
    far = [name for name in shown if conditions.group_of[name] in (ROBUST, UNGUIDED)]
    means = over_subjects(networks, ["clean", "robust"]).groupby("label", sort=False)[["clean", "robust"]].mean()
    for ax, names in zip(axes, [far, near] if len(axes) > 1 else [shown]):
        label_marks(ax, {str(conditions.number(n)): (means["clean"][n], means["robust"][n]) for n in names})
    return Captioned(figure, _caption(attack, conditions, shown, networks, enlarged=len(axes) > 1))


def _draw(ax: Axes, networks: pd.DataFrame, shown: list[str], conditions: Conditions) -> None:
    means = over_subjects(networks, ["clean", "robust"])
    x, y = (t_intervals(means, "label", value).reindex(shown) for value in ("clean", "robust"))
    for name in shown:
        style, part = mark_style(conditions, name), networks[networks["label"] == name]
        ax.plot(part["clean"], part["robust"], linestyle="none", markersize=3, alpha=0.4, **style)
        half = [t["high"][name] - t["mean"][name] for t in (x, y)]
        bars = {"xerr": half[0], "yerr": half[1]} if half[0] == half[0] else {}
        ax.errorbar(
            x["mean"][name], y["mean"][name], **bars, linestyle="none", markersize=7.5, elinewidth=0.9, capsize=2, zorder=3,
            **style,
        )  # fmt: skip
    # By the networks, not by intervals that two seeds make very long.
    for values, axis, put in ((networks["clean"], ax.xaxis, ax.set_xlim), (networks["robust"], ax.yaxis, ax.set_ylim)):
        low, high = float(values.min()), float(values.max())
        margin = max(0.01, 0.15 * (high - low))
        put(max(low - margin, -0.01), min(high + margin, 1.01))  # an accuracy is no more than 1
        axis.set_ticks([tick for tick in axis.get_majorticklocs() if 0 <= tick <= 1])
    ax.annotate("better ↗", (0.99, 0.99), xycoords="axes fraction", ha="right", va="top", fontsize=8, color="#555555")


def _caption(attack: str, conditions: Conditions, shown: list[str], networks: pd.DataFrame, *, enlarged: bool) -> str:
    seeds = networks.groupby("label")["replication"].nunique().max()
    subjects = len(set(networks["subject"]) - {""}) if "subject" in networks else 1
    over = f"seeds (at most {seeds}{', each the mean over subjects' if subjects > 1 else ''})"
    large = (
        f"large ones are means with 95 % t intervals over {over} in both directions, which may reach beyond the axes"
        if seeds > 1
        else "large ones are means; with one seed there are no intervals"
    )
    sentences = [
        f"Accuracy on clean images and mean accuracy over the budgets of {attack} above 0{said(conditions.origin)}.",
        f"Small marks are networks, {large}.",
        "Further up and further right is better; the axes don't begin at 0.",
        "The right panel enlarges a part of the left one; marks that are numbered there have no number at the left."
        if enlarged
        else "",
        mark_words(conditions, shown),
    ]
    return " ".join(filter(None, sentences))
