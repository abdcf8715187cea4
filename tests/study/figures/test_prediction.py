"""Prediction of held-out responses against the noise ceiling."""

import numpy as np
import pandas as pd

from neuroalign.study.figures.prediction import prediction_figure
from tests.study.figures.plain_tables import visible


def prediction(seeds=2, ceiling=0.64):
    rows = [("a", region, seed, voxel, 0.3 + 0.1 * seed, ceiling) for region in ("V1", "V4") for seed in range(seeds)
            for voxel in range(5)]  # fmt: skip
    return pd.DataFrame(rows, columns=["subject", "region", "seed", "voxel", "correlation", "noise_ceiling"])


def test_every_voxel_has_one_mark_the_mean_over_its_predictors():
    made = prediction_figure(prediction(), "simulated subject")
    (ax,) = visible(made.figure)
    assert ax.lines[0].get_ydata().tolist() == [0.35] * 5 and set(ax.lines[0].get_xdata()) == {0.8}
    assert "mean over 2 predictors" in made.caption and "simulated" in made.caption
    assert "mean over" not in prediction_figure(prediction(seeds=1), "").caption


def test_regions_without_a_ceiling_are_named_not_drawn():
    table = prediction()
    table.loc[table["region"] == "V4", "noise_ceiling"] = np.nan
    made = prediction_figure(table, "")
    assert [text.get_text()[:2] for text in visible(made.figure)[0].get_legend().get_texts()] == ["V1"]
    assert "The noise ceiling of V4 isn't known" in made.caption


def test_without_any_ceiling_the_medians_of_regions_are_shown():
    made = prediction_figure(prediction(ceiling=np.nan), "simulated subject")
    (ax,) = visible(made.figure)
    assert [text.get_text() for text in ax.get_xticklabels()] == ["V1", "V4"]
    assert [text.get_text() for text in ax.texts] == ["0.35", "0.35"]
    assert "noise ceilings aren't known" in made.caption and "simulated" in made.caption
