"""Geometry of the categories' manifolds from layer to layer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from neuroalign.plot.styles import t_intervals
from neuroalign.study.figures.captioned import Captioned, said
from neuroalign.study.figures.conditions import Conditions
from neuroalign.study.figures.geometry import LABELS, measures_in
from neuroalign.study.figures.layout import WIDTH, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__: list[str] = []


def layers_figure(layers: pd.DataFrame, conditions: Conditions) -> Captioned:
    """A panel per measure with layers from left to right; guided networks, controls and robust training below each other.

    Args:
        layers: Columns ``label``, ``replication``, ``layer`` (in the order of depth) and a column per measure: a row per
            network and layer.
        conditions: Order, groups and styles of the conditions.
    """
    from matplotlib.figure import Figure

    measures, names = measures_in(layers), list(dict.fromkeys(layers["layer"]))
    panels = conditions.panels(set(layers["label"]))
    heights = [2.35 + 0.17 * -(-len(shown) // 2) for shown in panels.values()]
    figure = Figure(figsize=(WIDTH, 0.5 + sum(heights)), layout="constrained")
    origin = f" ({conditions.origin})" if conditions.origin else ""
    figure.suptitle(f"Category manifolds from layer to layer{origin}", fontsize=11)
    limits: dict[str, list[Axes]] = {measure: [] for measure in measures}
    parts = figure.subfigures(len(panels), 1, height_ratios=heights, squeeze=False).flatten()
    for part, (title, shown) in zip(parts, panels.items()):
        part.suptitle(title, fontsize=10)
        axes = part.subplots(1, len(measures), squeeze=False)[0]
        for ax, measure in zip(axes, measures):
            _lines(ax, layers, measure, names, shown, conditions)
            ax.set_title(LABELS[measure].split("\n")[0], fontsize=9)
            limits[measure].append(ax)
        part.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize=8, frameon=False,
                    handlelength=3.2)  # fmt: skip
    for alike in limits.values():
        ends = [ax.get_ylim() for ax in alike]
        for ax in alike:
            ax.set_ylim(min(low for low, _ in ends), max(high for _, high in ends))
    seeds = int(layers.groupby("label")["replication"].nunique().max())
    spread = (
        f"Lines are means and bands 95 % t intervals over at most {seeds} seeds (means over subjects, if there are several)."
        if seeds > 1
        else "There is one seed, so there are no bands."
    )
    meanings = "; ".join(" ".join(LABELS[measure].replace("-\n", "").split("\n")) for measure in measures)
    return Captioned(
        figure,
        "Geometry of the categories' manifolds at layers of the networks, from the first to the last"
        f"{said(conditions.origin)}: {meanings}. {spread} "
        "A measure has the same axis in all rows. Dashed lines aren't guided by a brain.",
    )


def _lines(
    ax: Axes, layers: pd.DataFrame, measure: str, names: list[str], shown: list[str], conditions: Conditions
) -> None:
    x = np.arange(len(names))
    for label in shown:
        style = conditions.styles[label]
        found = t_intervals(layers[layers["label"] == label], "layer", measure).reindex(names)
        ax.plot(x, found["mean"], label=label, markersize=4, linewidth=1.2, **style)
        ax.fill_between(x, found["low"], found["high"], color=style["color"], alpha=0.12, linewidth=0)
    slanted = len(names) * max(map(len, names)) > 20
    ax.set_xticks(x, names, rotation=35 if slanted else 0, ha="right" if slanted else "center")
    plain(ax)
