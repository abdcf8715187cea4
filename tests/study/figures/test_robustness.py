"""Accuracy against the budget: panels, bands, and what the caption says of them."""

import numpy as np
import pytest

from neuroalign.study.figures.robustness import chance_of, robustness_figure
from tests.study.figures.plain_tables import LABELS, LARGE, SMALL, accuracy_of, legend, visible
from tests.study.finished import study_of


def test_guided_networks_and_controls_have_a_panel_each_with_none_in_both():
    made = robustness_figure(accuracy_of(LABELS), SMALL, "pgd")
    guided, controls = visible(made.figure)
    assert [ax.get_title() for ax in (guided, controls)] == ["guided networks", "controls"]
    assert legend(guided) == ["none", "neural guidance (V1)", "neural guidance (V4)"]
    assert legend(controls) == ["none", "shuffled fit (V1)", "shuffled fit (V4)"]
    assert "none stands in every panel" in made.caption
    assert made.figure.get_suptitle() == "Accuracy under pgd (simulated subject)" and "simulated" in made.caption


def test_bands_are_t_intervals_over_seeds():
    made = robustness_figure(accuracy_of(["none"], seeds=3), SMALL, "pgd")
    (ax,) = visible(made.figure)
    (band,) = ax.collections
    half = 4.303 * 0.01 / np.sqrt(3)  # Student's t with 2 degrees of freedom; the seeds' sd is .01
    heights = band.get_paths()[0].vertices[:, 1]
    assert heights.max() == pytest.approx(0.91 + half, abs=1e-4) and heights.min() == pytest.approx(
        0.71 - half, abs=1e-4
    )
    assert "3 seeds, bands their 95 % t intervals" in made.caption


def test_one_seed_has_no_bands_and_the_caption_says_so():
    made = robustness_figure(accuracy_of(LABELS, seeds=1), SMALL, "pgd")
    heights = [path.vertices[:, 1] for band in visible(made.figure)[0].collections for path in band.get_paths()]
    assert all(np.isnan(each).all() for each in heights)
    assert "one seed, so there are no bands" in made.caption and "95 %" not in made.caption


@pytest.mark.parametrize(
    ("norm", "eps", "labels"),
    [("linf", (0, 1 / 255, 2 / 255), ["clean", "1/255", "2/255"]), ("linf", (0, 0.01, 0.02), ["clean", "0.01", "0.02"]),
     ("l2", (0, 0.25, 0.5), ["clean", "0.25", "0.5"])],
)  # fmt: skip
def test_budgets_are_written_as_they_were_chosen(norm, eps, labels):
    made = robustness_figure(accuracy_of(["none"], eps=eps), SMALL, "pgd", norm)
    (ax,) = visible(made.figure)
    shown = dict(zip(ax.get_xticks(), [text.get_text() for text in ax.get_xticklabels()]))
    assert [shown[each] for each in sorted(shown)] == labels
    assert ("Euclidean" in made.caption) == (norm == "l2")


def test_budgets_close_together_have_no_labels_that_touch():
    made = robustness_figure(accuracy_of(["none"], eps=(0, 0.125 / 255, 1 / 255, 2 / 255, 8 / 255)), SMALL, "pgd")
    (ax,) = visible(made.figure)
    assert (
        sorted(text.get_text() for text in ax.get_xticklabels())
        == ["0.125/255", "1/255", "2/255", "8/255", "clean"][1:]
    )


def test_chance_is_drawn_where_it_is_known():
    made = robustness_figure(accuracy_of(["none"]), SMALL, "pgd", chance=0.1)
    assert any(line.get_linestyle() == ":" and set(line.get_ydata()) == {0.1} for line in visible(made.figure)[0].lines)
    assert "chance, 0.1" in made.caption
    assert "chance" not in robustness_figure(accuracy_of(["none"]), SMALL, "pgd").caption
    assert chance_of(study_of()) == 0.1
    arrays = study_of(images={"source": "arrays", "train": "x.npz", "num_neural": [10, 10]})
    assert chance_of(arrays) is None


def test_a_large_study_has_panels_of_at_most_eight_lines():
    made = robustness_figure(accuracy_of(LARGE.group_of), LARGE, "pgd")
    assert [len(legend(ax)) for ax in visible(made.figure)] == [5, 7, 5, 4]


def test_accuracies_that_are_missing_are_left_out():
    table = accuracy_of(LABELS)
    table.loc[table["condition"].isin(["shuffled fit (V1)", "shuffled fit (V4)"]), "accuracy"] = np.nan
    (ax,) = visible(robustness_figure(table, SMALL, "pgd").figure)
    assert ax.get_title() == "guided networks"
