"""Differences of a treatment from its controls."""

import pandas as pd

from neuroalign.evaluation.comparison import Comparison
from neuroalign.study.comparing import Compared
from neuroalign.study.figures.advantage import advantage_figure
from tests.study.figures.plain_tables import visible

TABLE = pd.DataFrame({
    "eps": [0.0, 1 / 255, 2 / 255], "difference": [0.0, 0.04, 0.01], "low": [-0.02, 0.02, -0.01], "high": [0.02, 0.06, 0.03],
})  # fmt: skip
SHOWN = TABLE.assign(low=0.01)


def compared(treatment="neural guidance (V4)", controls=("none", "label only (V4)"), seeds=4, table=TABLE):
    return [
        Compared((treatment, None), (control, None), "pgd",
                 Comparison(treatment, control, 0.02, -0.01, 0.05, 3, seeds, 300, table=table))
        for control in controls
    ]  # fmt: skip


def test_a_panel_a_treatment_with_budgets_in_255ths():
    made = advantage_figure([*compared(), *compared("manifold guidance (V4)", ["none"])], "simulated", {"pgd": "linf"})
    first, second = visible(made.figure)
    assert [first.get_title(), second.get_title()] == ["neural guidance (V4)", "manifold guidance (V4)"]
    assert [text.get_text() for text in first.get_xticklabels()] == ["clean", "1/255", "2/255"]
    assert [text.get_text() for text in first.get_legend().get_texts()][:2] == ["none", "label only (V4)"]
    assert "simulated" in made.figure.get_suptitle() and "simulated" in made.caption


def test_the_caption_names_the_budgets_without_a_difference_and_says_that_intervals_are_not_corrected():
    caption = advantage_figure(compared(), "", {"pgd": "linf"}).caption
    assert "No difference of neural guidance (V4) shown: from none, label only (V4) at clean, 2/255." in caption
    assert "not corrected" in caption and "4 replications and 300 images" in caption


def test_a_difference_at_every_budget_is_not_denied():
    assert "No difference" not in advantage_figure(compared(table=SHOWN), "").caption


def test_one_replication_has_hollow_marks_alone():
    made = advantage_figure(compared(seeds=1, table=SHOWN), "")
    (ax,) = visible(made.figure)
    faces = {line.get_markerfacecolor() for line in ax.lines if line.get_marker() in "os" and len(line.get_xdata())}
    assert faces == {"white"} and "one replication decides nothing" in made.caption
