"""Geometry against robustness, given clean accuracy."""

import numpy as np
import pandas as pd
import pytest

from neuroalign.study.figures.explaining import explaining_figure, explaining_measures
from tests.study.figures.plain_tables import LABELS, LARGE, SMALL, networks_of, visible

REGRESSION = pd.DataFrame({
    "layer": ["features", "features", "layer1", "features"], "measure": "capacity",
    "networks": ["all", "all", "all", "without robust training"],
    "scope": ["between conditions", "within conditions", "between conditions", "between conditions"],
    "partial_r": [0.312, 0.9, 0.8, -0.2], "partial_low": [-0.05, 0.8, 0.7, -0.5], "partial_high": [0.6, 0.95, 0.9, 0.1],
    "p": [0.08, 0.001, 0.001, 0.4], "p_holm": [0.32, 0.004, 0.004, 1.0], "expected": "+", "test": "least squares",
})  # fmt: skip


def test_the_line_has_the_slope_of_the_means_given_clean_accuracy():
    networks = networks_of(LABELS)
    ax = visible(explaining_figure(networks, pd.DataFrame(), SMALL, "pgd").figure)[0]
    means = networks.groupby("label")[["clean", "capacity", "robust"]].mean()
    design = np.column_stack([np.ones(len(means)), means["clean"], means["capacity"]])
    slope = np.linalg.lstsq(design, means["robust"], rcond=None)[0][2]
    (line,) = [line for line in ax.lines if line.get_color() == "black" and line.get_linestyle() == "-"]
    assert np.diff(line.get_ydata()) / np.diff(line.get_xdata()) == pytest.approx(slope)


def test_marks_are_what_clean_accuracy_leaves():
    networks = networks_of(LABELS)
    ax = visible(explaining_figure(networks, pd.DataFrame(), SMALL, "pgd").figure)[0]
    means = networks.groupby("label", sort=False)["clean"].mean()[list(LABELS)]
    large = [line for line in ax.lines if line.get_markersize() == 7]
    for values in ([line.get_xdata()[0] for line in large], [line.get_ydata()[0] for line in large]):
        assert np.corrcoef(values, means)[0, 1] == pytest.approx(0, abs=1e-9)


def test_the_title_has_the_partial_correlation_of_the_last_features_between_conditions():
    made = explaining_figure(networks_of(LABELS), REGRESSION, SMALL, "pgd")
    first, second = visible(made.figure)
    assert first.get_title() == "capacity, expected +\npartial r +0.31 [-0.05, +0.60]\np .080, Holm .320"
    assert second.get_title() == "radius / distance"
    assert "no cause" in made.caption and "least squares" in made.caption and "simulated" in made.caption


def test_with_robust_training_all_is_shown_without_it_too():
    made = explaining_figure(networks_of(LARGE.group_of, seeds=2), REGRESSION, LARGE, "pgd")
    titles = [ax.get_title().splitlines()[0] for ax in visible(made.figure)]
    assert titles[:2] == ["capacity, all, expected +", "capacity, without robust training, expected +"]
    assert "partial r -0.20" in visible(made.figure)[1].get_title()
    numbers = [{text.get_text() for text in ax.texts} for ax in visible(made.figure)[:2]]
    assert numbers[0] - numbers[1] == {"16", "17", "18"}


def test_without_a_regression_no_correlation_is_claimed():
    made = explaining_figure(networks_of(LABELS), pd.DataFrame(), SMALL, "pgd")
    assert "partial correlation" not in made.caption


def test_measures_that_are_constant_missing_or_of_few_conditions_have_no_panel():
    networks = networks_of(LABELS).assign(separability=0.5, participation_ratio=np.nan)
    assert explaining_measures(networks) == ["capacity", "rms_radius"]
    assert explaining_measures(networks[networks["label"].isin(LABELS[:3])]) == []
    assert explaining_measures(networks.assign(clean=0.5)) == []


def test_accuracies_that_differ_by_rounding_alone_are_equal():
    networks = networks_of(LABELS)
    assert explaining_measures(networks.assign(clean=0.9 + 1e-16 * np.arange(len(networks)))) == []
