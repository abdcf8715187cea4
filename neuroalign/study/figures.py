"""The figures of a study, each with its caption."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, cast

import pandas as pd

from neuroalign.plot import plot_bars, plot_differences, plot_prediction, plot_robustness
from neuroalign.study.comparing import Compared

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__: list[str] = []

_MOST_LINES = 7  # more lines than that can't be told apart in one panel
_GEOMETRY = {
    "capacity": "manifold capacity\n(larger: easier to separate)",
    "rms_radius": "radius / distance between classes\n(smaller: tighter classes)",
    "participation_ratio": "participation ratio\n(effective dimensions of a class)",
    "separability": "separability\n(share of variance between classes)",
}


@dataclass(frozen=True)
class Captioned:
    """A figure and what it shows.

    Args:
        figure: The figure.
        caption: Sentences.
    """

    figure: Figure
    caption: str

    @cached_property
    def png(self) -> bytes:
        """The figure as the bytes of a PNG file; drawn once, because it takes seconds."""
        buffer = io.BytesIO()
        self.figure.savefig(buffer, dpi=150, format="png")
        return buffer.getvalue()


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
    caption = f"Accuracy of each network as the budget of {attack} grows{_said(origin)}; dashed lines are controls."
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


def advantage_figure(compared: Sequence[Compared], origin: str) -> Captioned:
    """Each treatment's accuracy minus that of its controls at every budget, a panel per treatment and attack.

    Args:
        compared: Comparisons, at least one.
        origin: A word on simulated subjects; may be empty.
    """
    from matplotlib.figure import Figure

    panels: dict[tuple[str, str], list[Compared]] = {}
    for each in compared:
        panels.setdefault((each.comparison.treatment, each.measure), []).append(each)
    columns = min(2, len(panels))
    rows = math.ceil(len(panels) / columns)
    figure = Figure(figsize=(8.6 * columns, 0.6 + 4.2 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, sharey=True, squeeze=False).flatten()
    several = len({measure for _, measure in panels}) > 1
    for ax, ((treatment, measure), group) in zip(axes, panels.items()):
        tables = {each.comparison.control: each.comparison.table for each in group}
        decides = all(each.comparison.decides for each in group)
        plot_differences(tables, ax=ax, title=f"{treatment}{f', {measure}' if several else ''}", decides=decides)
    for ax in axes[len(panels) :]:
        ax.set_visible(False)
    figure.suptitle(f"Accuracy minus that of each control{f' ({origin})' if origin else ''}", fontsize=12)
    confidence = compared[0].comparison.confidence * 100
    caption = (
        f"Accuracy of the treatment minus that of each control at every budget{_said(origin)}, with {confidence:g} % "
        "intervals that aren't corrected for their number. A hollow mark stands where the interval includes 0, so that no "
        "difference is shown."
    )
    return Captioned(figure, caption)


def none_shown(compared: Compared) -> str:
    """A sentence on the budgets at which a comparison shows no difference; empty if it shows one at every budget."""
    c = compared.comparison
    if not c.decides:
        return f"{c.treatment} - {c.control}: one replication decides nothing."
    hidden = c.table[(c.table["low"] <= 0) & (c.table["high"] >= 0)]
    if hidden.empty:
        return ""
    if len(hidden) == len(c.table):
        return f"{c.treatment} - {c.control}: no difference shown at any budget."
    clean = ["on clean images"] if (hidden["eps"] == 0).any() else []
    budgets = ", ".join(f"{eps:.3g}" for eps in hidden["eps"] if eps > 0)
    places = " and ".join([*clean, *([f"at ε {budgets}"] if budgets else [])])
    return f"{c.treatment} - {c.control}: no difference shown {places}."


def geometry_figure(geometry: pd.DataFrame, controls: set[str], origin: str) -> Captioned:
    """Geometry of categories in predicted responses and in the networks' features.

    Args:
        geometry: Columns ``label``, ``replication``, ``network`` and a column per measure.
        controls: Labels whose bars are gray.
        origin: A word on simulated subjects; may be empty.
    """
    from matplotlib.figure import Figure

    values = {name: label for name, label in _GEOMETRY.items() if name in geometry}
    titles = {"predictor": "predicted responses", "classifier": "features of networks"}
    parts = {name: geometry[geometry["network"] == name] for name in titles}
    parts = {name: part for name, part in parts.items() if len(part)}
    heights = [part["label"].nunique() + 2.5 for part in parts.values()]
    figure = Figure(figsize=(3.6 * len(values), 0.8 + 0.32 * sum(heights)), layout="constrained")
    axes = figure.subplots(len(parts), len(values), height_ratios=heights, squeeze=False)
    for row, (name, part) in enumerate(parts.items()):
        last = row == len(parts) - 1
        for column, (value, label) in enumerate(values.items()):
            ax = axes[row, column]
            plot_bars(
                part, value, label=label if last else "", by="label", ax=ax, title=titles[name], controls=controls
            )
            if column:
                ax.tick_params(labelleft=False)
    figure.suptitle(f"Category manifolds of the test images{f' ({origin})' if origin else ''}", fontsize=12)
    return Captioned(
        figure,
        "Capacity, size, dimension and separability of the categories' manifolds, in the predicted responses and in the last "
        f"features of each network{_said(origin)}. Points are predictors above, and seeds below (means over subjects, if "
        "there are several). Geometry need not follow robustness.",
    )


def prediction_figure(prediction: pd.DataFrame, origin: str) -> Captioned:
    """Correlation of predicted and held-out responses, a dot per voxel.

    Args:
        prediction: Rows of rightly fitted predictors: ``region``, ``correlation``, ``noise_ceiling``.
        origin: A word on simulated subjects; may be empty.
    """
    from matplotlib.figure import Figure

    title = f"Prediction of held-out responses{f' ({origin})' if origin else ''}"
    if prediction["noise_ceiling"].notna().any():
        known = prediction[prediction["noise_ceiling"].notna()]
        caption = (
            f"Correlation of predicted and held-out responses, one dot per voxel, against the largest correlation that "
            f"noise allows{_said(origin)}."
        )
        if len(known) < len(prediction):
            left_out = ", ".join(sorted(set(prediction["region"]) - set(known["region"]))) or "some voxels"
            caption += f" The noise ceiling of {left_out} isn't known."
        return Captioned(cast(Figure, plot_prediction(known, title=title).figure), caption)
    figure = Figure(figsize=(5.0, 4.5), layout="constrained")
    ax: Axes = figure.subplots()
    grouped = prediction.dropna(subset="correlation").groupby("region", sort=False)["correlation"]
    parts = {str(region): part for region, part in grouped}
    ax.boxplot([part.to_numpy() for part in parts.values()])
    ax.set_xticks(range(1, len(parts) + 1), list(parts))
    ax.set_ylabel("correlation with held-out responses")
    ax.axhline(0, color="gray", linewidth=0.5)
    ax.spines[["top", "right"]].set_visible(False)
    ax.set_title(title, fontsize=11)
    said = _said(origin)
    return Captioned(
        figure, f"Correlation of predicted and held-out responses, over voxels{said}; noise ceilings aren't known."
    )


def _name_budget(ax: Axes, norm: str) -> None:
    if norm == "l2":
        ax.set_xlabel("attack budget ε (length of the change, L2 norm, pixels of [0, 1])")


def _said(origin: str) -> str:
    return f" ({origin})" if origin else ""
