"""Figures with a row per condition: smoothness, corruptions, shape bias; and the matrix of transfer."""

import numpy as np
import pandas as pd
import pytest

from neuroalign.study.figures.corruptions import corruptions_figure
from neuroalign.study.figures.shape_bias import shape_bias_figure
from neuroalign.study.figures.smoothness import smoothness_figure
from neuroalign.study.figures.transfer import transfer_figure
from tests.study.figures.plain_tables import LABELS, LARGE, SMALL, rows_of, visible

GRADIENTS = ("input gradient (clean)", "input gradient (adversarial)")
BIAS = ("shape bias", "shape bias, low", "shape bias, high")


def intervals(ax):
    """Ends of the horizontal lines."""
    return [
        tuple(line.get_xdata()) for line in ax.lines if len(set(line.get_ydata())) == 1 and len(line.get_xdata()) == 2
    ]


def marks(ax):
    return [
        float(line.get_xdata()[0]) for line in ax.lines if line.get_markersize() == 6 and line.get_linestyle() == "None"
    ]


def test_gradients_have_a_logarithmic_axis_geometric_means_and_a_point_a_seed():
    made = smoothness_figure(rows_of(LABELS, GRADIENTS), SMALL)
    clean, adversarial = visible(made.figure)
    assert clean.get_xscale() == adversarial.get_xscale() == "log"
    assert [text.get_text() for text in clean.get_yticklabels()] == list(LABELS)
    assert marks(clean) == pytest.approx([(0.2 * 0.3 * 0.4) ** (1 / 3)] * 5)
    points = [sorted(line.get_xdata()) for line in clean.lines if line.get_marker() == "."]
    assert points == [pytest.approx([0.2, 0.3, 0.4])] * 5
    assert "3 seeds" in made.caption and "simulated" in made.caption


def test_a_gradient_of_zero_is_left_out_and_said():
    rows = rows_of(LABELS, GRADIENTS)
    rows.loc[0, "value"] = 0.0
    assert "1 gradients of 0 have no place" in smoothness_figure(rows, SMALL).caption


def test_one_measure_has_one_panel():
    assert len(visible(smoothness_figure(rows_of(LABELS, GRADIENTS[:1]), SMALL).figure)) == 1


def corrupted(seeds=3):
    each = [
        rows_of(LABELS, ["corruption accuracy fog", "corruption accuracy motion_blur"], seeds, eps=s)
        for s in (1.0, 3.0)
    ]
    return pd.concat([rows_of(LABELS, ["mean error under corruptions"], seeds), *each], ignore_index=True)


def test_the_map_of_corruptions_shows_errors_in_per_cent():
    made = corruptions_figure(corrupted(), SMALL)
    above, below = visible(made.figure)[:2]
    assert [text.get_text() for text in below.get_xticklabels()] == ["fog", "motion blur"]
    assert {text.get_text() for text in below.texts} == {"70"} and len(below.texts) == 10
    assert marks(above) == pytest.approx([0.3] * 5)
    assert "severities 1, 3" in made.caption and "mCE" in made.caption


def test_corruptions_of_one_seed_have_no_intervals():
    made = corruptions_figure(corrupted(seeds=1), SMALL)
    assert intervals(visible(made.figure)[0]) == [] and "one seed" in made.caption


def test_shape_bias_has_intervals_over_seeds_or_of_its_rows():
    several = shape_bias_figure(rows_of(LABELS, BIAS), SMALL)
    (ax,) = visible(several.figure)
    low, high = 0.3 - 4.303 * 0.1 / np.sqrt(3), 0.3 + 4.303 * 0.1 / np.sqrt(3)
    assert pytest.approx((low, high), abs=1e-3) in intervals(ax)
    one = rows_of(["none"], BIAS, seeds=1)
    one["value"] = [0.4, 0.35, 0.45]
    made = shape_bias_figure(one, SMALL)
    assert (0.35, 0.45) in [pytest.approx(each) for each in intervals(visible(made.figure)[0])]
    assert "over stimuli alone" in made.caption and "over stimuli alone" not in several.caption


def test_shape_bias_of_one_seed_without_intervals_is_drawn():
    made = shape_bias_figure(rows_of(["none"], BIAS[:1], seeds=1), SMALL)
    assert marks(visible(made.figure)[0]) == [pytest.approx(0.2)]


def transfer(names, seeds=2):
    rows = [(seed, a, b, 0.9 if a == b else 0.25 + 0.1 * seed) for seed in range(seeds) for a in names for b in names]
    return pd.DataFrame(rows, columns=["seed", "source", "target", "rate"])


def test_transfer_is_in_the_order_of_the_study_and_averaged_over_seeds():
    names = ["shuffled fit (V4) simulated", "none", "neural guidance (V1) simulated"]
    made = transfer_figure(transfer(names), SMALL)
    ax = visible(made.figure)[0]
    assert [text.get_text() for text in ax.get_yticklabels()] == [
        "none  1", "neural guidance (V1)  2", "shuffled fit (V4)  3"
    ]  # fmt: skip
    shown = np.array([text.get_text() for text in ax.texts]).reshape(3, 3)
    assert set(shown.diagonal()) == {"90"} and set(shown[~np.eye(3, dtype=bool)]) == {"30"}
    assert "mean over 2 seeds" in made.caption and "simulated" in made.caption


def test_networks_of_several_subjects_keep_their_names():
    ax = visible(transfer_figure(transfer(["none", "shuffled fit (V4) a", "shuffled fit (V4) b"]), SMALL).figure)[0]
    assert [text.get_text() for text in ax.get_yticklabels()][1:] == [
        "shuffled fit (V4) a  2",
        "shuffled fit (V4) b  3",
    ]


def test_a_pair_that_was_not_measured_has_an_empty_cell():
    table = transfer(list(LARGE.group_of), seeds=1)
    table.loc[0, "rate"] = np.nan
    ax = visible(transfer_figure(table, LARGE).figure)[0]
    assert len(ax.texts) == 18 * 18 - 1
