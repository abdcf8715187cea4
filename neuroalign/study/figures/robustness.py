"""Accuracy against the budget of an attack."""

from __future__ import annotations

import math

import pandas as pd

from neuroalign.plot import plot_robustness
from neuroalign.study.figures.captioned import Captioned, said
from neuroalign.study.figures.conditions import Conditions
from neuroalign.study.figures.layout import grid, new_figure, plain
from neuroalign.study.study import Study

__all__: list[str] = []

CONFIDENCE = 0.95


def robustness_figure(
    accuracy: pd.DataFrame, conditions: Conditions, attack: str, norm: str = "linf", chance: float | None = None
) -> Captioned:
    """Accuracy against the budget: guided networks, controls and robust training in panels of at most eight lines.

    Args:
        accuracy: Columns ``condition``, ``replication``, ``eps``, ``accuracy``.
        conditions: Order, groups and styles of the conditions.
        attack: Name of the attack.
        norm: Norm of the attack's budget, "linf" or "l2".
        chance: Accuracy of guessing; None if it isn't known.
    """
    accuracy = accuracy.dropna(subset=["accuracy"])
    panels = conditions.panels(set(accuracy["condition"]))
    columns = min(2, len(panels))
    rows = math.ceil(len(panels) / columns)
    longest = max(map(len, panels.values()))
    figure = new_figure(
        0.4 + rows * (3.1 + 0.17 * longest), f"Accuracy under {attack}", conditions.origin, 7.5 if columns > 1 else 5.5
    )
    axes = grid(figure, len(panels), columns, sharey=True)
    for ax, (name, shown) in zip(axes, panels.items()):
        part = accuracy[accuracy["condition"].isin(shown)]
        part = part.sort_values("condition", key=lambda labels: labels.map(shown.index), kind="stable")
        plot_robustness(
            part, ax=ax, title=name, confidence=CONFIDENCE, norm=norm, chance=chance, styles=conditions.styles,
            legend="below",
        )  # fmt: skip
        plain(ax)
        ax.set_xlabel(f"attack budget ε ({'largest change of a pixel' if norm == 'linf' else 'L2 norm of the change'})")
    for ax in axes:
        ax.tick_params(labelleft=True)
        ax.set_ylim(0, min(1.02, 1.1 * float(accuracy["accuracy"].max()) + 0.02))
    seeds = accuracy.groupby("condition")["replication"].nunique()
    return Captioned(figure, _caption(attack, norm, conditions, panels, int(seeds.min()), int(seeds.max()), chance))


def chance_of(study: Study) -> float | None:
    """Accuracy of guessing among classes of equal size; None if the number of classes isn't known beforehand."""
    if study.images.classes is not None:
        return 1 / len(study.images.classes)
    known = {"digits": 10, "cifar10": 10, "cifar100": 100}.get(study.images.source)
    return None if known is None else 1 / known


def _caption(
    attack: str,
    norm: str,
    conditions: Conditions,
    panels: dict[str, list[str]],
    fewest: int,
    most: int,
    chance: float | None,
) -> str:
    number = f"{most}" if fewest == most else f"{fewest} to {most}"
    unit = "the largest change of a pixel" if norm == "linf" else "the Euclidean length of the change"
    sentences = [
        f"Accuracy on the test images as the budget of {attack} grows ({unit}, of pixels in [0, 1]){said(conditions.origin)}."
    ]
    if most > 1:
        sentences.append(
            f"Lines are means over {number} seeds, bands their 95 % t intervals: where the mean of other seeds would lie, "
            "with the same test images. Bands of two conditions may overlap although their paired difference is clear: the "
            "differences are in another figure."
        )
    else:
        sentences.append("There is one seed, so there are no bands: nothing is said about other seeds.")
    if len(panels) > 1 and len(set.intersection(*map(set, panels.values()))) > 0:
        always = sorted(set.intersection(*map(set, panels.values())))
        sentences.append(f"{' and '.join(always)} stands in every panel.")
    if any(label in conditions.controls for shown in panels.values() for label in shown):
        sentences.append("Dashed lines aren't guided by a brain.")
    if chance is not None:
        sentences.append(f"The dotted line is chance, {chance:.3g}.")
    return " ".join(sentences)
