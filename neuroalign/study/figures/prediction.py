"""How well responses are predicted."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import pandas as pd

from neuroalign.plot import plot_prediction
from neuroalign.study.figures.captioned import Captioned, said

if TYPE_CHECKING:
    from matplotlib.axes import Axes


__all__: list[str] = []


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
            f"noise allows{said(origin)}."
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
    where = said(origin)
    return Captioned(
        figure, f"Correlation of predicted and held-out responses, over voxels{where}; noise ceilings aren't known."
    )
