"""Capacity, radius and dimension against depth, or from region to region."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from neuroalign.plot.styles import styles_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plot_geometry"]

_LABELS = {
    "capacity": "manifold capacity\n(larger: easier to separate)",
    "radius": "manifold radius\n(relative to the centre)",
    "dimension": "manifold dimension",
    "rms_radius": "RMS radius\n(relative to the distance between classes)",
    "center_correlation": "centre correlation\n(mean |cos|)",
    "participation_ratio": "participation ratio",
    "separability": "separability\n(share of variance between classes)",
}


def plot_geometry(
    table: pd.DataFrame,
    *,
    measures: Sequence[str] = ("capacity", "radius", "dimension"),
    by: str | None = None,
    title: str | None = None,
    axes: Sequence[Axes] | None = None,
) -> Sequence[Axes]:
    """One panel per measure, against the layers of a network in order of depth or against regions.

    Bars are two Monte-Carlo standard errors up and down (``<measure>_error``) or intervals (``<measure>_low``,
    ``<measure>_high``), whichever the table has; a line over each panel says which. The two can't be compared: standard
    errors cover the Gaussian draws only, intervals cover what another experiment would find.

    Args:
        table: Table of :func:`neuroalign.evaluation.layers`, or ``table`` of :func:`neuroalign.evaluation.regions`.
        measures: Columns to draw.
        by: Column with one line per value, such as the network's name; None draws one line.
        title: Title of the figure.
        axes: Axes to draw on, one per measure; None makes a new figure.

    Returns:
        The axes.

    Raises:
        ValueError: If a column is missing.

    Example:
        >>> table = pd.DataFrame(
        ...     {
        ...         "layer": ["conv1", "conv2"],
        ...         "capacity": [0.1, 0.3],
        ...         "capacity_error": [0.01, 0.02],
        ...     }
        ... )
        >>> plot_geometry(table, measures=["capacity"])[0].get_xlabel()
        'layer'
    """
    place = next((name for name in ("layer", "region") if name in table), None)
    missing = [name for name in (*measures, *([by] if by else [])) if name not in table]
    if place is None or missing:
        raise ValueError(
            f"the table has no column {', '.join(missing) or 'layer or region'}; it has {', '.join(map(str, table.columns))}"
        )
    if axes is None:
        from matplotlib.figure import Figure

        figure = Figure(figsize=(4.2 * len(measures), 4.0), layout="constrained")
        axes = list(figure.subplots(1, len(measures), squeeze=False)[0])
    elif len(axes) != len(measures):
        raise ValueError(f"{len(measures)} measures need as many axes; got {len(axes)}")
    names = list(dict.fromkeys(table[place]))
    labels, prefix = without_common_prefix(list(map(str, names)))
    groups = {"": table} if by is None else {str(k): part for k, part in table.groupby(by, sort=False)}
    styles = styles_of(list(groups))
    for ax, measure in zip(axes, measures):
        for i, (name, part) in enumerate(groups.items()):
            # Side by side, so that bars of different lines do not hide each other.
            x = np.array([names.index(v) for v in part[place]]) + 0.06 * (i - (len(groups) - 1) / 2)
            y, style = part[measure].to_numpy(float), dict(styles[name])
            if place == "region" and by is None:
                style["linestyle"] = "none"  # regions have no depth between them
            ax.errorbar(x, y, yerr=_bars(part, measure, y), label=name or None, capsize=3, markersize=5, **style)
        ax.set_title(_meaning(table, measure), fontsize=8, loc="left")
        long = max(map(len, labels)) > 4
        ax.set_xticks(range(len(names)), labels, rotation=30 if long else 0, ha="right" if long else "center")
        ax.set_xlabel(f"{place} of {prefix}" if prefix else place)
        ax.set_ylabel(_LABELS.get(measure, measure))
        ax.grid(True, axis="y", alpha=0.3)
        ax.spines[["top", "right"]].set_visible(False)
    if by is not None:
        axes[0].legend(fontsize=8, frameon=False)
    if title is not None:
        axes[0].figure.suptitle(title, fontsize=11)
    return axes


def without_common_prefix(names: Sequence[str]) -> tuple[list[str], str]:
    """Dotted names without the first parts that all share, and these parts; one name alone stays whole.

    Example:
        >>> without_common_prefix(["network.trunk.layer1", "network.trunk.layer1.0"])
        (['layer1', 'layer1.0'], 'network.trunk')
    """
    parts = [name.split(".") for name in names]
    shared = 0
    if len(set(names)) > 1:
        while all(len(p) > shared + 1 for p in parts) and len({p[shared] for p in parts}) == 1:
            shared += 1
    return [".".join(p[shared:]) for p in parts], ".".join(parts[0][:shared]) if parts else ""


def _meaning(table: pd.DataFrame, measure: str) -> str:
    """Text that says what the bars of a measure are."""
    if f"{measure}_low" in table:
        levels = list(table["confidence"].unique()) if "confidence" in table else []
        return f"bars: {100 * levels[0]:g} % interval" if len(levels) == 1 else "bars: interval"
    return "bars: ± 2 Monte-Carlo standard errors" if f"{measure}_error" in table else ""


def _bars(part: pd.DataFrame, measure: str, y: np.ndarray) -> np.ndarray | None:
    if f"{measure}_low" in part:
        low, high = part[f"{measure}_low"].to_numpy(float), part[f"{measure}_high"].to_numpy(float)
        return np.stack([y - low, high - y]).clip(0)
    if f"{measure}_error" in part:
        return 2 * part[f"{measure}_error"].to_numpy(float)
    return None
