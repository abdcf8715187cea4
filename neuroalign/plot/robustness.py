"""Figures of robustness: curves with their intervals, corruptions, and the loss around an image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from neuroalign.plot.styles import axes_of, styles_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["plot_accuracy", "plot_corruptions", "plot_landscape", "plot_transforms"]

_UNITS = {
    "linf": "attack budget ε (largest change of a pixel, in 1/255)",
    "l2": "attack budget ε (Euclidean length of the change, pixels in [0, 1])",
}


def plot_accuracy(
    table: pd.DataFrame,
    x: str = "eps",
    *,
    by: str = "model",
    norm: str | None = None,
    label: str | None = None,
    chance: float | None = None,
    ax: Axes | None = None,
    title: str | None = None,
) -> Axes:
    """Accuracy against a strength, one line per network, each with a band of Wilson intervals.

    Args:
        table: Columns ``x``, ``by``, ``accuracy``, ``ci_low``, ``ci_high``, as in the table of
            :func:`evaluate_robustness`.
        x: Column of the strength: a budget, a severity, a contrast, a cutoff.
        by: Column with the names of the lines.
        norm: Norm of the budgets; those of "linf" are drawn in 1/255.
        label: Label of the x axis; None names the norm and its unit.
        chance: Accuracy of guessing, drawn as a line; None draws none.
        ax: Axes to draw on; None makes new ones.
        title: Title of the axes.

    Example:
        >>> table = pd.DataFrame(
        ...     {
        ...         "model": "a",
        ...         "eps": [0, 0.1],
        ...         "accuracy": [0.9, 0.2],
        ...         "ci_low": [0.8, 0.1],
        ...         "ci_high": [0.95, 0.3],
        ...     }
        ... )
        >>> plot_accuracy(table, norm="l2").get_ylabel()
        'accuracy (band: 95 % interval over images)'
    """
    ax = axes_of(ax)
    names = list(dict.fromkeys(table[by]))
    styles = styles_of(names)
    scale = 255 if norm == "linf" and x == "eps" else 1
    for name in names:
        part = table[table[by] == name].sort_values(x)
        if x == "eps" and {"clean_accuracy", "num_images"} <= set(part) and part["eps"].min() > 0:
            part = pd.concat([_clean(part), part])
        values = part[x].to_numpy(float) * scale
        ax.plot(values, part["accuracy"], label=name, markersize=4, linewidth=1.6, **styles[name])
        ax.fill_between(values, part["ci_low"], part["ci_high"], color=styles[name]["color"], alpha=0.15, linewidth=0)
    if chance is not None:
        ax.axhline(chance, color="gray", linewidth=0.8, linestyle=":")
        ax.annotate("chance", (1, chance), xycoords=("axes fraction", "data"), ha="right", va="bottom", fontsize=8,
                    color="gray")  # fmt: skip
    ax.set_xlabel(label or _UNITS.get(norm or "", x))
    ax.set_ylabel("accuracy (band: 95 % interval over images)")
    ax.set_ylim(-0.02, 1.02)
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    if title:
        ax.set_title(title, fontsize=11)
    return ax


def _clean(part: pd.DataFrame) -> pd.DataFrame:
    """The row of budget 0."""
    from neuroalign.functional.intervals import wilson  # loads torch, which the other figures don't need

    accuracy, total = float(part["clean_accuracy"].iloc[0]), int(part["num_images"].iloc[0])
    low, high = wilson(round(accuracy * total), total)
    return pd.DataFrame({"eps": [0.0], "accuracy": accuracy, "ci_low": low, "ci_high": high})


def plot_corruptions(
    table: pd.DataFrame, *, by: str = "model", ax: Axes | None = None, title: str | None = None
) -> Axes:
    """Accuracy under every corruption, averaged over severities; the clean accuracy is a dotted line.

    Args:
        table: Table of :func:`evaluate_corruptions`, with a column ``by`` if there are several networks.
        by: Column of the networks' names.
        ax: Axes to draw on; None makes new ones.
        title: Title of the axes.

    Example:
        >>> table = pd.DataFrame(
        ...     {
        ...         "corruption": ["fog", "snow"],
        ...         "severity": 1,
        ...         "accuracy": [0.8, 0.6],
        ...         "clean_accuracy": 0.9,
        ...     }
        ... )
        >>> len(plot_corruptions(table).get_yticklabels())
        2
    """
    table = table if by in table else table.assign(**{by: "network"})
    ax = axes_of(ax, 6.5, (0.2 + 0.08 * table[by].nunique()) * table["corruption"].nunique() + 1.6)
    networks, corruptions = list(dict.fromkeys(table[by])), list(dict.fromkeys(table["corruption"]))
    styles = styles_of(networks)
    height = 0.8 / len(networks)
    for i, name in enumerate(networks):
        part = table[table[by] == name]
        mean = part.groupby("corruption")["accuracy"].mean().reindex(corruptions)
        y = np.arange(len(corruptions)) + (i - (len(networks) - 1) / 2) * height
        ax.barh(y, mean, height=height, color=styles[name]["color"], alpha=0.8, label=name)
        ax.axvline(part["clean_accuracy"].iloc[0], color=styles[name]["color"], linewidth=1, linestyle=":")
    names = [c.replace("_", " ") + (" (own texture)" if c == "frost" else "") for c in corruptions]
    ax.set_yticks(np.arange(len(corruptions)), names, fontsize=8)
    ax.invert_yaxis()
    ax.set_xlim(0, 1)
    severities = sorted(set(table["severity"]))
    which = (
        f"severity {severities[0]}"
        if len(severities) == 1
        else f"mean over severities {', '.join(map(str, severities))}"
    )
    ax.set_xlabel(f"accuracy, {which} (dotted: without corruption)")
    ax.spines[["top", "right"]].set_visible(False)
    if len(networks) > 1:
        ax.legend(fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    if title:
        ax.set_title(title, fontsize=11)
    return ax


_KINDS = {
    "low-pass": ("coarse structure kept", "cutoff, cycles per image"),
    "high-pass": ("fine structure kept", "cutoff, cycles per image"),
    "contrast-level": ("contrast reduced", "share of contrast kept"),
}


def plot_transforms(
    table: pd.DataFrame, *, by: str = "model", chance: float | None = None, title: str | None = None
) -> Figure:
    """Psychophysical curves: accuracy against the strength of each kind of change, one panel per kind.

    Args:
        table: Columns ``kind``, ``strength``, ``accuracy``, ``ci_low``, ``ci_high``, as in ``SuiteResult.transforms``, and
            ``by`` if there are several networks.
        by: Column of the networks' names.
        chance: Accuracy of guessing, drawn as a line; None draws none.
        title: Title of the figure.

    Raises:
        ValueError: If no kind has several strengths.

    Example:
        >>> table = pd.DataFrame(
        ...     {
        ...         "kind": "low-pass",
        ...         "strength": [1, 2, 4],
        ...         "accuracy": [0.2, 0.5, 0.9],
        ...         "ci_low": 0.1,
        ...         "ci_high": 0.95,
        ...     }
        ... )
        >>> len(plot_transforms(table).axes)
        1
    """
    from matplotlib.figure import Figure

    table = table if by in table else table.assign(**{by: "network"})
    kinds = [str(k) for k, part in table.groupby("kind", sort=False) if part["strength"].nunique() > 1]
    if not kinds:
        raise ValueError("no kind of change has several strengths")
    figure = Figure(figsize=(4.2 * len(kinds) + 1.2, 3.8), layout="constrained")
    axes = np.atleast_1d(figure.subplots(1, len(kinds), sharey=True))
    for ax, kind in zip(axes, kinds):
        text, label = _KINDS.get(kind, (kind.replace("_", " "), "strength"))
        plot_accuracy(table[table["kind"] == kind], "strength", by=by, label=label, chance=chance, ax=ax, title=text)
        ax.set_xscale("log")
        strengths = sorted(set(table.loc[table["kind"] == kind, "strength"]))
        ax.set_xticks(strengths, [f"{s:g}" for s in strengths], fontsize=8)
        ax.minorticks_off()
        if ax is not axes[0]:
            ax.set_ylabel("")
        if ax is not axes[-1] or table[by].nunique() == 1:
            ax.get_legend().remove()
    if title:
        figure.suptitle(title, fontsize=11)
    return figure


def plot_landscape(
    table: pd.DataFrame, *, norm: str = "linf", ax: Axes | None = None, title: str | None = None
) -> Axes:
    """The loss over a plane around an image, with the attack's ball, the decision boundary and the limits of pixels.

    Args:
        table: Table of :func:`loss_landscape`.
        norm: Norm of the attack's ball.
        ax: Axes to draw on; None makes new ones.
        title: Title of the axes.

    Example:
        >>> points = [-1.0, 0.0, 1.0]
        >>> table = pd.DataFrame(
        ...     [(a, b, a + 1, a - 0.5, abs(a) + abs(b), 1.0) for a in points for b in points],
        ...     columns=["a", "b", "loss", "margin", "length", "in_box"],
        ... )
        >>> plot_landscape(table).get_xlabel()
        'along the gradient, in ε'
    """
    ax = axes_of(ax, 6.0, 4.5)
    grids = {c: table.pivot(index="b", columns="a", values=c).to_numpy(float) for c in table if c not in ("a", "b")}
    a, b = (np.unique(table[c]) for c in ("a", "b"))
    filled = ax.contourf(a, b, grids["loss"], levels=20, cmap="viridis")
    ax.figure.colorbar(filled, ax=ax, label="cross-entropy")
    lines: list[tuple[str, Any, str]] = []
    for values, level, color, style, text in (
        (grids["margin"], 0.0, "white", "-", "class changes"),
        (grids["length"], 1.0, "black", "-", f"{norm} ball of radius ε"),
        (grids["in_box"], 0.999, "#D55E00", "--", "all pixels in [0, 1]"),
    ):
        if values.min() < level < values.max():
            ax.contour(a, b, values, levels=[level], colors=[color], linestyles=[style], linewidths=1.6)
            lines.append((color, style, text))
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], color=c, linestyle=s, label=t) for c, s, t in lines]
    handles.append(Line2D([], [], color="white", marker="o", markeredgecolor="black", linestyle="", label="the image"))
    ax.plot(0, 0, "o", color="white", markeredgecolor="black", markersize=6)
    ax.set_xlabel("along the gradient, in ε")
    ax.set_ylabel("along a random direction, in ε")
    ax.legend(handles=handles, fontsize=8, loc="upper left", facecolor="#AAAAAA", framealpha=0.8)
    if title:
        ax.set_title(title, fontsize=11)
    return ax
