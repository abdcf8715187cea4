"""The figure of a treatment's differences from its controls."""

import pandas as pd
import pytest

from neuroalign.plot import plot_differences

NONE = pd.DataFrame(
    {"eps": [0.0, 0.1, 0.2], "difference": [0.0, 0.2, -0.3], "low": [-0.1, 0.1, -0.4], "high": [0.1, 0.3, -0.2]}
)
LABELS = pd.DataFrame({"eps": [0.1, 0.2], "difference": [0.1, 0.1], "low": [-0.1, 0.05], "high": [0.3, 0.15]})


def marks(ax):
    """Heights of filled and of hollow marks."""
    lines = [line for line in ax.lines if line.get_marker() not in ("None", "_", "")]
    filled, hollow = [], []
    for line in lines:
        heights = filled if line.get_markerfacecolor() == line.get_color() else hollow
        if line.get_markerfacecolor() == "white" or line.get_markerfacecolor() == line.get_color():
            heights.extend(float(y) for y in line.get_ydata())
    return sorted(filled), sorted(hollow)


def test_marks_are_hollow_where_the_interval_includes_0():
    ax = plot_differences({"none": NONE, "labels": LABELS}, title="TO")
    assert marks(ax) == ([-0.3, 0.1, 0.2], [0.0, 0.1])
    assert [label.get_text() for label in ax.get_xticklabels()] == ["clean", "0.1", "0.2"]
    assert ax.get_title() == "TO"


def test_all_marks_are_hollow_if_nothing_is_decided():
    ax = plot_differences({"none": NONE}, decides=False)
    assert marks(ax) == ([], [-0.3, 0.0, 0.2])
    assert "one replication\ndecides nothing" in [text.get_text() for text in ax.get_legend().get_texts()]


def test_controls_with_other_budgets_stand_at_their_own():
    ax = plot_differences({"none": NONE, "labels": LABELS})
    places = sorted(round(float(x)) for line in ax.lines if line.get_marker() == "s" for x in line.get_xdata())
    assert places == [1, 2]


def test_more_controls_than_colours_are_drawn():
    ax = plot_differences({str(i): NONE for i in range(12)})
    assert len(ax.get_legend().get_texts()) == 13
    assert ax.get_xlim() == pytest.approx((-0.5, 2.5))
