"""Clean accuracy against accuracy under attack."""

import numpy as np
import pytest

from neuroalign.study.figures.plane import plane_figure
from tests.study.figures.plain_tables import LABELS, LARGE, SMALL, networks_of, visible


def numbers(ax):
    return [text.get_text() for text in ax.texts if text.get_text().isdigit()]


def test_every_condition_has_a_number_a_mean_and_intervals():
    networks = networks_of(LABELS)
    made = plane_figure(networks, SMALL, "pgd")
    (ax,) = visible(made.figure)
    assert sorted(numbers(ax)) == ["1", "2", "3", "4", "5"]
    assert [text.get_text() for text in made.figure.legends[0].get_texts()] == [
        f"{i}  {n}" for i, n in enumerate(LABELS, 1)
    ]
    means = networks.groupby("label", sort=False)["robust"].mean()
    drawn = [float(bars[0].get_ydata()[0]) for bars in ax.containers]
    assert drawn == pytest.approx(means[list(LABELS)].tolist())
    assert all(bars.has_xerr and bars.has_yerr for bars in ax.containers)
    assert "hollow" in made.caption and "at most 3" in made.caption and "simulated" in made.caption


def test_one_seed_has_no_intervals():
    made = plane_figure(networks_of(LABELS, seeds=1), SMALL, "pgd")
    (ax,) = visible(made.figure)
    assert not any(bars.has_xerr or bars.has_yerr for bars in ax.containers)
    assert "one seed" in made.caption and "95 %" not in made.caption


def test_labels_of_many_conditions_do_not_cover_one_another():
    networks = networks_of(LARGE.group_of, seeds=2)
    made = plane_figure(networks, LARGE, "pgd")
    ax = visible(made.figure)[-1]
    boxes = [text.get_window_extent() for text in ax.texts if text.get_text().isdigit()]
    assert len(boxes) == 15
    inner = [box.shrunk_to_aspect(1).padded(-1.5) for box in boxes]
    assert not any(a.overlaps(b) for i, a in enumerate(inner) for b in inner[:i])


def test_all_but_robust_training_is_enlarged():
    left, right = visible(plane_figure(networks_of(LARGE.group_of, seeds=2), LARGE, "pgd").figure)
    assert right.get_title() == "enlarged: without robust training" and len(right.containers) == 15
    assert sorted(numbers(left), key=int) == ["1", "16", "17", "18"]


def test_networks_without_an_accuracy_are_left_out():
    networks = networks_of(LABELS)
    networks.loc[networks["label"] == "none", "clean"] = np.nan
    (ax,) = visible(plane_figure(networks, SMALL, "pgd").figure)
    assert len(ax.containers) == 4
