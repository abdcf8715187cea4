"""Accuracy against the budget of an attack."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, cast

import pandas as pd

from neuroalign.plot import plot_robustness
from neuroalign.study.figures.captioned import Captioned, said

if TYPE_CHECKING:
    from matplotlib.axes import Axes


__all__: list[str] = []

_MOST_LINES = 7  # more lines than that can't be told apart in one panel


def robustness_figure(
    accuracy: pd.DataFrame, controls: set[str], attack: str, origin: str, norm: str = "linf"
) -> Captioned:
    """Accuracy against the budget: one panel, guided networks and controls beside each other, or a panel per condition.

    Args:
        accuracy: Columns ``condition``, ``group`` (the condition without its region), ``replication``, ``eps``,
            ``accuracy``.
        controls: Conditions that are drawn gray and dashed.
        attack: Name of the attack.
        origin: A word on simulated subjects; may be empty.
        norm: Norm of the attack's budget, "linf" or "l2".
    """
    from matplotlib.figure import Figure

    conditions = list(dict.fromkeys(accuracy["condition"]))
    guided = [name for name in conditions if name not in controls]
    title = f"Accuracy under {attack}{f' ({origin})' if origin else ''}"
    caption = f"Accuracy of each network as the budget of {attack} grows{said(origin)}; dashed lines are controls."
    if len(conditions) <= _MOST_LINES or not guided or len(guided) == len(conditions):
        ax = plot_robustness(accuracy, title=title, controls=controls)
        _name_budget(ax, norm)
        return Captioned(cast(Figure, ax.figure), caption)
    # Networks without guidance stand in every panel, so that each can be read alone.
    panels = {"guided networks": guided, "controls": [c for c in conditions if c in controls]}
    if max(map(len, panels.values())) > 2 * _MOST_LINES:
        groups = accuracy.groupby("group", sort=False)["condition"].unique()
        panels = {str(name): list(shown) for name, shown in groups.items() if name != "none"}
    columns = 2 if len(panels) == 2 else 3
    rows = math.ceil(len(panels) / columns)
    figure = Figure(figsize=(7.2 * columns, 0.6 + 4.6 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, sharey=True, squeeze=False)
    for ax, (name, shown) in zip(axes.flatten(), panels.items()):
        part = accuracy[accuracy["condition"].isin([*shown, "none"])]
        _name_budget(plot_robustness(part, ax=ax, title=name, controls=controls), norm)
    for ax in axes[:, 1:].flatten():
        ax.set_ylabel("")
    for ax in axes.flatten()[len(panels) :]:
        ax.set_visible(False)
    figure.suptitle(title, fontsize=12)
    return Captioned(figure, caption)


def _name_budget(ax: Axes, norm: str) -> None:
    if norm == "l2":
        ax.set_xlabel("attack budget ε (length of the change, L2 norm, pixels of [0, 1])")
