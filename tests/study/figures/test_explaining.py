"""Geometry against robustness, given clean accuracy."""

import numpy as np
import pandas as pd
import pytest

from neuroalign.study.figures.explaining import explaining_figure, explaining_measures, residuals
from tests.study.figures.plain_tables import LABELS, SMALL, networks_of, visible

REGRESSION = pd.DataFrame({
    "layer": ["features", "features", "layer1"], "measure": ["capacity", "capacity", "capacity"],
    "scope": ["all networks", "within conditions", "all networks"], "partial_r": [0.312, 0.9, 0.8],
    "partial_low": [-0.05, 0.8, 0.7], "partial_high": [0.6, 0.95, 0.9], "expected": "+", "test": "least squares",
})  # fmt: skip


def test_the_line_has_the_slope_of_the_regression_given_clean_accuracy():
    networks = networks_of(LABELS)
    ax = visible(explaining_figure(networks, pd.DataFrame(), SMALL, "pgd").figure)[0]
    design = np.column_stack([np.ones(len(networks)), networks["clean"], networks["capacity"]])
    slope = np.linalg.lstsq(design, networks["robust"], rcond=None)[0][2]
    (line,) = [line for line in ax.lines if line.get_color() == "black" and line.get_linestyle() == "-"]
    assert np.diff(line.get_ydata()) / np.diff(line.get_xdata()) == pytest.approx(slope)


def test_residuals_have_nothing_left_of_what_is_given():
    networks = networks_of(LABELS)
    assert np.corrcoef(residuals(networks["robust"], networks["clean"]), networks["clean"])[0, 1] == pytest.approx(0)


def test_the_title_has_the_partial_correlation_of_the_last_features_over_all_networks():
    made = explaining_figure(networks_of(LABELS), REGRESSION, SMALL, "pgd")
    first, second = visible(made.figure)
    assert first.get_title() == "capacity, expected +\npartial r +0.31 [-0.05, +0.60]"
    assert second.get_title() == "radius / distance"
    assert "all 15 networks" in made.caption and "no cause" in made.caption and "least squares" in made.caption


def test_every_condition_has_its_mean_with_its_number():
    networks = networks_of(LABELS)
    ax = visible(explaining_figure(networks, pd.DataFrame(), SMALL, "pgd").figure)[0]
    assert sorted(text.get_text() for text in ax.texts) == ["1", "2", "3", "4", "5"]


def test_without_a_regression_no_correlation_is_claimed():
    made = explaining_figure(networks_of(LABELS), pd.DataFrame(), SMALL, "pgd")
    assert "Partial correlations" not in made.caption


def test_measures_that_are_constant_missing_or_of_few_networks_have_no_panel():
    networks = networks_of(LABELS).assign(separability=0.5, participation_ratio=np.nan)
    assert explaining_measures(networks) == ["capacity", "rms_radius"]
    assert explaining_measures(networks[:3]) == []
    assert explaining_measures(networks.assign(clean=0.5)) == []
