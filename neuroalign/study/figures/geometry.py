"""Geometry of the categories' manifolds."""

from __future__ import annotations

import pandas as pd

from neuroalign.plot import plot_bars
from neuroalign.study.figures.captioned import Captioned, said

__all__: list[str] = []

_GEOMETRY = {
    "capacity": "manifold capacity\n(larger: easier to separate)",
    "rms_radius": "radius / distance between classes\n(smaller: tighter classes)",
    "participation_ratio": "participation ratio\n(effective dimensions of a class)",
    "separability": "separability\n(share of variance between classes)",
}


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
        f"features of each network{said(origin)}. Points are predictors above, and seeds below (means over subjects, if "
        "there are several). Geometry need not follow robustness.",
    )
