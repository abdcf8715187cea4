"""Geometry by region, by condition and by layer."""

import numpy as np
import pandas as pd
import pytest

from neuroalign.study.figures.geometry import geometry_figure, measures_in
from neuroalign.study.figures.layers import layers_figure
from tests.study.figures.plain_tables import LABELS, LARGE, SMALL, networks_of, visible


def geometry(seeds=3):
    networks = networks_of(LABELS, seeds).assign(network="classifier")
    predictors = networks[networks["label"].isin(LABELS[1:3])].assign(network="predictor")
    return pd.concat([predictors.replace({LABELS[1]: "V1", LABELS[2]: "V4"}), networks], ignore_index=True)


def layers(labels, seeds=3):
    return pd.concat(
        [networks_of(labels, seeds).assign(layer=name) for name in ("layer1", "layer2")], ignore_index=True
    )


def test_regions_stand_above_networks_and_only_guided_bars_are_coloured():
    made = geometry_figure(geometry(), SMALL)
    axes = visible(made.figure)
    assert [ax.get_title(loc="left") for ax in axes] == ["predicted responses", "", "features of networks", ""]
    assert [text.get_text() for text in axes[2].get_yticklabels()] == list(LABELS)
    colors = [patch.get_facecolor()[:3] for patch in axes[2].patches]
    gray = [max(color) - min(color) < 0.01 for color in colors]
    assert gray == [True, False, False, True, True]
    assert "capacity" in axes[2].get_xlabel() and axes[0].get_xlabel() == ""
    assert "95 % t intervals over at most 3" in made.caption and "simulated" in made.caption


def test_one_seed_has_bars_without_intervals():
    made = geometry_figure(geometry(seeds=1), SMALL)
    assert "no intervals" in made.caption and "95 %" not in made.caption


def test_measures_without_numbers_have_no_panel():
    table = geometry().assign(rms_radius=np.nan)
    assert measures_in(table) == ["capacity"]
    assert len(visible(geometry_figure(table, SMALL).figure)) == 2


def test_layers_have_a_row_of_panels_for_each_group_and_the_same_axes():
    made = layers_figure(layers(LARGE.group_of), LARGE)
    axes = visible(made.figure)
    assert len(axes) == 4 * 2
    assert {ax.get_ylim() for ax in axes[::2]} == {axes[0].get_ylim()} != {axes[1].get_ylim()}
    parts = made.figure.subfigs
    assert [part.get_suptitle() for part in parts] == [
        "guided networks", "controls (1 of 2)", "controls (2 of 2)", "robust training"
    ]  # fmt: skip
    assert [len(part.legends[0].get_texts()) for part in parts] == [5, 7, 5, 4]
    assert [text.get_text() for text in axes[0].get_xticklabels()] == ["layer1", "layer2"]


def test_lines_of_layers_are_means_over_seeds():
    table = layers(LABELS)
    (ax, _) = visible(layers_figure(table[table["label"] == "none"], SMALL).figure)
    means = table[table["label"] == "none"].groupby("layer")["capacity"].mean()
    assert ax.lines[0].get_ydata().tolist() == pytest.approx(means.tolist())


def test_layers_of_one_seed_have_no_bands():
    assert "no bands" in layers_figure(layers(LABELS, seeds=1), SMALL).caption
