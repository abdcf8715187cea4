"""Figures: drawn on given axes or new ones, with names and units, and nothing shown."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from neuroalign.plot import is_control, plot_accuracy, plot_bars, plot_prediction, plot_robustness, plot_transforms

TABLE = pd.DataFrame(
    {
        "condition": np.repeat(["none", "V1", "TO"], 4),
        "replication": np.tile([0, 0, 1, 1], 3),
        "eps": np.tile([0.0, 0.1], 6),
        "accuracy": np.linspace(0.2, 0.9, 12),
        "radius": np.linspace(1, 2, 12),
    }
)


def test_robustness():
    ax = plot_robustness(TABLE, title="t")
    labels = [t.get_text() for t in ax.get_legend().get_texts()]
    assert labels == ["none", "V1", "TO"]
    mean = TABLE[(TABLE["condition"] == "V1") & (TABLE["eps"] == 0.1)]["accuracy"].mean()
    line = next(c for c in ax.containers if c.get_label() == "V1")[0]
    assert line.get_ydata()[1] == pytest.approx(mean)
    assert "ε" in ax.get_xlabel()
    styles = {c.get_label(): c[0].get_linestyle() for c in ax.containers}
    assert styles == {"none": "--", "V1": "-", "TO": "-"}  # a control is told from a treatment without colour


def test_the_bars_of_robustness_are_named():
    ax = plot_robustness(TABLE)
    assert ax.get_legend().get_title().get_text() == "mean ± sd over 2 replications"
    fewer = TABLE[(TABLE["condition"] != "V1") | (TABLE["replication"] == 0)]
    assert "over 1 to 2 replications" in plot_robustness(fewer).get_legend().get_title().get_text()
    one = plot_robustness(TABLE[TABLE["replication"] == 0])
    assert one.get_legend().get_title().get_text() == "1 replication, so no bars"
    (bars,) = one.containers[0][2]
    assert all(np.isnan(segment[:, 1]).all() for segment in bars.get_segments() if len(segment))


@pytest.mark.parametrize("draw", ["accuracy", "transforms"])
def test_bands_are_named(draw):
    table = pd.DataFrame(
        {"model": "a", "kind": "low-pass", "strength": [1.0, 2.0], "eps": [0.1, 0.2], "accuracy": [0.4, 0.6],
         "ci_low": [0.3, 0.5], "ci_high": [0.5, 0.7]}
    )  # fmt: skip
    ax = plot_accuracy(table) if draw == "accuracy" else plot_transforms(table).axes[0]
    assert "band: 95 % interval over images" in ax.get_ylabel()


def test_given_axes_are_used_and_pyplot_is_not():
    import matplotlib.pyplot as plt

    axes = Figure().subplots(1, 2)
    assert plot_robustness(TABLE, ax=axes[0]) is axes[0]
    assert plot_bars(TABLE, "radius", label="radius", ax=axes[1]) is axes[1]
    assert not plt.get_fignums()


def test_bars():
    ax = plot_bars(TABLE, "radius", label="radius")
    widths = [p.get_width() for p in ax.patches]
    assert widths == pytest.approx(TABLE.groupby("condition", sort=False)["radius"].mean().tolist())
    assert ax.get_xlabel() == "radius\n(bar: mean, points: 2 replications)"
    one = TABLE[TABLE["replication"] == 0]
    assert plot_bars(one, "radius", label="radius").get_xlabel() == "radius\n(1 replication)"
    assert plot_bars(one, "radius", label="").get_xlabel() == ""


def test_prediction(tmp_path):
    table = pd.DataFrame(
        {"region": ["V1", "V1", "TO"], "correlation": [0.5, 0.6, 0.2], "noise_ceiling": [0.5, 0.6, 0.3]}
    )
    ax = plot_prediction(table, title="t")
    assert "V1: median r 0.55" in ax.get_legend().get_texts()[0].get_text()
    ax.figure.savefig(tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size > 1000


def test_a_ceiling_estimated_below_zero_is_drawn_at_zero():
    table = pd.DataFrame({"region": "V1", "correlation": [0.1, 0.5], "noise_ceiling": [-0.1, 0.64]})
    ax = plot_prediction(table)
    assert ax.lines[0].get_xdata().tolist() == [0, 0.8]
    assert "of 0.40" in ax.get_legend().get_texts()[0].get_text()


def test_controls():
    controls = ("none", "TO shuffled fit", "label only", "random geometry", "no brain")
    assert all(is_control(c) for c in controls)
    assert not any(is_control(c) for c in ("V1", "TO manifold"))
