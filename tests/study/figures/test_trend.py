"""Accuracy along a hierarchy of regions."""

import numpy as np
import pandas as pd
import pytest

from neuroalign.study.figures.trend import trend_figure
from tests.study.figures.plain_tables import SMALL, conditions_of, visible

TREND = pd.DataFrame({
    "condition": ["neural guidance", "neural guidance", "shuffled fit"], "control": ["", "shuffled fit", ""],
    "effect": [0.02, 0.015, 0.001], "low": [0.01, -0.002, np.nan], "high": [0.03, 0.032, np.nan],
    "p": [0.0004, 0.04, np.nan], "p_holm": [0.002, 0.12, np.nan],
})  # fmt: skip


def accuracy(units=4, kind="seed", regions=("V1", "V4")):
    rows = [(name, region, str(unit), 0.4 + 0.02 * place + 0.01 * unit, kind)
            for name in ("neural guidance", "shuffled fit") for place, region in enumerate(regions)
            for unit in range(units)]  # fmt: skip
    return pd.DataFrame(rows, columns=["condition", "region", "unit", "accuracy", "kind"])


def test_a_panel_a_condition_a_thin_line_a_unit_and_the_slope_in_the_title():
    made = trend_figure(accuracy(), ["V1", "V4"], TREND, SMALL, "pgd")
    guided, control = visible(made.figure)
    assert guided.get_title() == "neural guidance\n+0.020 per step [+0.010, +0.030]\np < .001, Holm .002"
    assert control.get_title() == "shuffled fit\n+0.001 per step\nno test"
    thin = [line.get_ydata().tolist() for line in guided.lines if line.get_linewidth() < 1 and line.get_marker() == "."]
    assert thin == [pytest.approx([0.4 + 0.01 * unit, 0.42 + 0.01 * unit]) for unit in range(4)]
    assert guided.containers[0][0].get_ydata().tolist() == pytest.approx([0.415, 0.435])
    assert control.containers[0][0].get_linestyle() == "--" and guided.containers[0][0].get_linestyle() == "-"
    assert [text.get_text() for text in guided.get_xticklabels()] == ["V1", "V4"]


def test_the_caption_gives_the_trends_of_differences_and_the_unit():
    caption = trend_figure(accuracy(kind="subject"), ["V1", "V4"], TREND, SMALL, "pgd").caption
    assert "neural guidance minus shuffled fit +0.015 per step [-0.002, +0.032], p .040, Holm .120" in caption
    assert "4 subjects" in caption and "simulated" in caption


def test_without_a_table_of_trends_no_slope_is_claimed():
    made = trend_figure(accuracy(), ["V1", "V4"], pd.DataFrame(), SMALL, "pgd")
    assert [ax.get_title() for ax in visible(made.figure)] == ["neural guidance", "shuffled fit"]
    assert "p value" not in made.caption


def test_one_unit_has_no_interval():
    made = trend_figure(accuracy(units=1), ["V1", "V4"], pd.DataFrame(), SMALL, "pgd")
    assert not visible(made.figure)[0].containers[0].has_yerr
    assert "one seed there are no intervals" in made.caption


def test_a_region_that_one_unit_lacks_leaves_its_line_shorter():
    conditions = conditions_of(["none", "neural guidance", "shuffled fit"], ["V1", "V4", "TO"])
    table = accuracy(units=3, regions=("V1", "V4", "TO"))
    table = table[~((table["unit"] == "1") & (table["region"] == "V4"))]
    ax = visible(trend_figure(table, ["V1", "V4", "TO"], pd.DataFrame(), conditions, "pgd").figure)[0]
    assert sorted(len(line.get_xdata()) for line in ax.lines if line.get_marker() == ".") == [2, 3, 3]


def test_conditions_of_one_region_have_no_panel():
    table = accuracy()
    table = table[(table["condition"] != "shuffled fit") | (table["region"] == "V4")]
    assert len(visible(trend_figure(table, ["V1", "V4"], pd.DataFrame(), SMALL, "pgd").figure)) == 1
