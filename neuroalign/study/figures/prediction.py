"""How well responses are predicted."""

from __future__ import annotations

import numpy as np
import pandas as pd

from neuroalign.plot import plot_prediction
from neuroalign.plot.styles import COLORS, MARKERS
from neuroalign.study.figures.captioned import Captioned, said
from neuroalign.study.figures.layout import new_figure, plain

__all__: list[str] = []

_TITLE = "Prediction of held-out responses"


def prediction_figure(prediction: pd.DataFrame, origin: str) -> Captioned:
    """Correlation of predicted and held-out responses, a mark per voxel, against its noise ceiling where that is known.

    Args:
        prediction: Rows of rightly fitted predictors: ``subject``, ``region``, ``seed``, ``voxel``, ``correlation``,
            ``noise_ceiling``.
        origin: A word on simulated subjects; may be empty.
    """
    voxels, predictors = _by_voxel(prediction.dropna(subset=["correlation"]))
    known = voxels[voxels["noise_ceiling"].notna()]
    mean = f", the mean over {predictors} predictors" if predictors > 1 else ""
    if known.empty:
        return _without_ceilings(voxels, origin, mean)
    figure = new_figure(4.9, _TITLE, origin, 5.8)
    ax = plot_prediction(known, ax=figure.subplots())
    plain(ax)
    caption = (
        f"Correlation of predicted and held-out responses, one mark per voxel{mean}, against the largest correlation that "
        f"noise allows{said(origin)}. On the diagonal a prediction is as good as noise allows; above it are voxels whose "
        "ceiling or correlation is off by chance. The legend gives medians over voxels."
    )
    if len(known) < len(voxels):
        left_out = ", ".join(sorted(set(voxels["region"]) - set(known["region"]))) or "some voxels"
        caption += f" The noise ceiling of {left_out} isn't known."
    return Captioned(figure, caption)


def _by_voxel(prediction: pd.DataFrame) -> tuple[pd.DataFrame, int]:
    """Means over predictors of the same voxel, and their largest number."""
    keys = [key for key in ("subject", "region", "voxel") if key in prediction]
    if "voxel" not in keys:
        return prediction, 1
    by_voxel = prediction.astype({"noise_ceiling": float}).groupby(keys, sort=False, dropna=False)
    return by_voxel[["correlation", "noise_ceiling"]].mean().reset_index(), int(by_voxel.size().max())


def _without_ceilings(voxels: pd.DataFrame, origin: str, mean: str) -> Captioned:
    """A column of marks per region."""
    figure = new_figure(4.2, _TITLE, origin, 5.8)
    ax = figure.subplots()
    regions = list(dict.fromkeys(voxels["region"]))
    rng = np.random.default_rng(0)
    for place, region in enumerate(regions):
        values = voxels.loc[voxels["region"] == region, "correlation"].to_numpy(float)
        ax.plot(
            place + rng.uniform(-0.18, 0.18, len(values)), values, linestyle="none", markersize=3, alpha=0.5,
            color=COLORS[place % len(COLORS)], marker=MARKERS[place % len(MARKERS)],
        )  # fmt: skip
        middle = float(np.median(values))
        ax.plot([place - 0.25, place + 0.25], [middle] * 2, color="black", linewidth=1.8)
        ax.annotate(f"{middle:.2f}", (place + 0.28, middle), fontsize=8, va="center")
    ax.set_xticks(range(len(regions)), regions)
    ax.set_xlim(-0.5, len(regions) - 0.4)
    ax.set_ylabel("correlation with held-out responses")
    ax.axhline(0, color="gray", linewidth=0.5)
    plain(ax)
    return Captioned(
        figure,
        f"Correlation of predicted and held-out responses, one mark per voxel{mean}{said(origin)}; black lines are medians. "
        "The noise ceilings aren't known, so it can't be said how much of what can be predicted is predicted.",
    )
