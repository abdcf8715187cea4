"""Whether adversarial images of one network fool another."""

from __future__ import annotations

import pandas as pd

from neuroalign.study.figures.captioned import Captioned, said
from neuroalign.study.figures.conditions import Conditions
from neuroalign.study.figures.layout import new_figure
from neuroalign.study.figures.rows import matrix

__all__: list[str] = []


def transfer_figure(transfer: pd.DataFrame, conditions: Conditions) -> Captioned:
    """A row per network that the images are made for, a column per network that they are shown to.

    Args:
        transfer: Columns ``seed``, ``source``, ``target``, ``rate`` (0 to 1).
        conditions: Order of the conditions.
    """
    shown = _ordered(set(transfer["source"]) | set(transfer["target"]), conditions)
    rates = (
        transfer.groupby(["source", "target"])["rate"]
        .mean()
        .unstack("target")
        .reindex(index=list(shown), columns=list(shown))
    )
    seeds = transfer["seed"].nunique()
    figure = new_figure(1.5 + 0.25 * len(shown), "Transfer of adversarial images", conditions.origin)
    ax = figure.subplots()
    numbers = [str(place) for place in range(1, len(shown) + 1)]
    rows = [f"{name}  {number}" for name, number in zip(shown.values(), numbers)]
    matrix(ax, rates.to_numpy(float), rows, numbers, label="images that fool the target, %")
    ax.set_ylabel("made for (source)", fontsize=9)
    ax.set_xlabel("shown to (target)", fontsize=9)
    ax.xaxis.set_label_position("top")
    over = f", mean over {seeds} seeds" if seeds > 1 else ", one seed"
    return Captioned(
        figure,
        f"Share of adversarial images of the network in the row that fool the network in the column, in %{over}"
        f"{said(conditions.origin)}, among images that both classify right without attack. Networks of one seed exchange "
        "images. On the diagonal a network is attacked by its own images. A network that others' images fool less may still "
        "be fooled by its own.",
    )


def _ordered(names: set[str], conditions: Conditions) -> dict[str, str]:
    """Names of networks in the order of the study, and how they are shown: without the subject where there is one."""
    labels = list(conditions.group_of)
    of = {
        name: max((x for x in labels if name == x or name.startswith(f"{x} ")), key=len, default=name) for name in names
    }
    subjects = {name.removeprefix(label) for name, label in of.items()} - {""}
    order = sorted(names, key=lambda name: (labels.index(of[name]) if of[name] in labels else len(labels), name))
    return {name: of[name] if len(subjects) < 2 else name for name in order}
