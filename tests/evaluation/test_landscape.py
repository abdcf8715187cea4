"""The loss around an image: closed form on a linear model, the ball and the box, the figure."""

import numpy as np
import pytest
import torch

from neuroalign.evaluation import loss_landscape
from neuroalign.plot import plot_accuracy, plot_corruptions, plot_landscape, plot_transforms
from tests.evaluation.test_curve import linear, network


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_on_a_linear_model_the_margin_is_a_plane(norm):
    model, x = linear(2), torch.full((3, 4, 4), 0.5)
    label = int(model(x[None]).argmax())
    table = loss_landscape(model, x, label, 0.1, norm=norm, num_points=9)
    wide = table.pivot(index="b", columns="a", values="margin").to_numpy()
    np.testing.assert_allclose(np.diff(wide, axis=1), np.diff(wide, axis=1)[0, 0], atol=1e-4)
    np.testing.assert_allclose(table["loss"], np.log1p(np.exp(table["margin"])), atol=1e-5)
    weight = (model[1].weight[1 - label] - model[1].weight[label]).detach()
    slope = float(weight.abs().sum() if norm == "linf" else weight.norm()) * 0.1
    assert (wide[0, -1] - wide[0, 0]) / 4 == pytest.approx(slope, rel=1e-3)
    on_axis = table[table["b"] == 0]
    np.testing.assert_allclose(on_axis["length"], on_axis["a"].abs(), atol=1e-5)
    if norm == "l2":  # u and v have one length and are at right angles
        np.testing.assert_allclose(table["length"], np.hypot(table["a"], table["b"]), atol=1e-4)
        np.testing.assert_allclose(wide[-1] - wide[0], 0, atol=1e-3)


def test_the_box_is_where_pixels_are_images():
    table = loss_landscape(network(), torch.full((3, 4, 4), 0.02), 0, 0.05, num_points=9)
    centre = table[(table["a"] == 0) & (table["b"] == 0)]
    assert centre["in_box"].tolist() == [1]
    assert table["in_box"].min() < 0.9


def test_figure_names_what_it_draws():
    table = loss_landscape(network(), torch.full((3, 4, 4), 0.5), 0, 0.2, num_points=21)
    ax = plot_landscape(table, title="t")
    texts = [t.get_text() for t in ax.get_legend().get_texts()]
    assert "linf ball of radius ε" in texts
    assert "the image" in texts
    assert ax.get_title() == "t"


def test_curves_and_corruptions_as_figures():
    import pandas as pd

    curve = pd.DataFrame(
        {"model": ["a", "a", "none", "none"], "eps": [0, 1 / 255] * 2, "accuracy": [0.9, 0.5, 0.8, 0.3],
         "ci_low": 0.2, "ci_high": 0.95}
    )  # fmt: skip
    ax = plot_accuracy(curve, norm="linf", chance=0.1)
    assert [line.get_label() for line in ax.lines[:2]] == ["a", "none"]
    np.testing.assert_allclose(ax.lines[0].get_xdata(), [0, 1])
    assert "1/255" in ax.get_xlabel()
    ax = plot_accuracy(curve.assign(eps=[1 / 255, 2 / 255] * 2, clean_accuracy=0.9, num_images=10), norm="linf")
    np.testing.assert_allclose(ax.lines[0].get_xdata(), [0, 1, 2])  # the clean accuracy stands at 0
    assert ax.lines[0].get_ydata()[0] == 0.9
    table = pd.DataFrame({"corruption": ["fog", "frost"] * 2, "severity": 1, "accuracy": 0.5, "clean_accuracy": 0.9,
                          "model": ["a", "a", "b", "b"]})  # fmt: skip
    ax = plot_corruptions(table, title="t")
    assert [t.get_text() for t in ax.get_yticklabels()] == ["fog", "frost (own texture)"]
    assert len(ax.patches) == 4


def test_psychophysical_curves_as_a_figure():
    import pandas as pd

    rows = [(k, s, m) for k in ("low-pass", "contrast-level") for s in (1, 2, 4) for m in ("a", "b")]
    table = pd.DataFrame(rows, columns=["kind", "strength", "model"]).assign(accuracy=0.5, ci_low=0.4, ci_high=0.6)
    figure = plot_transforms(table, title="t")
    assert [ax.get_title() for ax in figure.axes] == ["coarse structure kept", "contrast reduced"]
    assert all(ax.get_xscale() == "log" for ax in figure.axes)
    with pytest.raises(ValueError, match="several strengths"):
        plot_transforms(table[table["strength"] == 1])


def test_refusals():
    x = torch.rand(3, 4, 4)
    with pytest.raises(ValueError, match="num_points odd"):
        loss_landscape(linear(2), x, 0, 0.1, num_points=4)
    with pytest.raises(ValueError, match="normalised"):
        loss_landscape(linear(2), 3 * x, 0, 0.1)
    with pytest.raises(ValueError, match=r"divide by 255\?"):
        loss_landscape(linear(2), x, 0, 8)
    with pytest.raises(ValueError, match="gradient is exactly 0"):
        loss_landscape(torch.nn.Sequential(linear(2), torch.nn.Hardtanh(1000, 1001)), x, 0, 0.1)
