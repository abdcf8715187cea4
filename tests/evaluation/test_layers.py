import numpy as np
import pytest
import torch
from torch import nn

from neuroalign import ManifoldGeometry
from neuroalign.evaluation import layer_geometry


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Dropout(), nn.Linear(144, 8), nn.Linear(8, 5))


def images(n=120, c=6, seed=0):
    g = torch.Generator().manual_seed(seed)
    y = torch.arange(n) % c
    return (torch.rand(c, 3, 8, 8, generator=g)[y] + torch.rand(n, 3, 8, 8, generator=g)) / 2, y


def batches(x, y, order, size=25):
    return [{"image": x[i], "label": y[i], "stimulus": i} for i in order.split(size)]


def test_table_is_the_geometry_of_each_layer():
    model, (x, y) = network(), images()
    table = layer_geometry(model, batches(x, y, torch.arange(120)), ["0", "4", "5"], num_per_class=None, progress=False)
    assert table["layer"].tolist() == ["0", "4", "5"] and table["depth"].tolist() == [0, 0.5, 1]
    assert table["num_features"].tolist() == [144, 8, 5] and table["num_images"].tolist() == [120] * 3
    model.eval()
    with torch.no_grad():
        metric = ManifoldGeometry()
        metric.update(model[:5](x), y)
    for name, value in metric.compute().items():
        assert float(table[name][1]) == pytest.approx(float(value), rel=1e-4)


def test_choice_does_not_depend_on_batches():
    model, (x, y) = network(), images()
    kwargs = {"num_per_class": 7, "num_classes": 4, "progress": False}
    one = layer_geometry(model, batches(x, y, torch.arange(120)), "4", **kwargs)
    two = layer_geometry(model, batches(x, y, torch.randperm(120), 13), "4", **kwargs)
    assert one["num_images"][0] == 28 and one["num_classes"][0] == 4
    np.testing.assert_allclose(one.iloc[0, 1:].astype(float), two.iloc[0, 1:].astype(float), rtol=1e-4)


def test_leaves_no_trace():
    model, (x, y) = network(), images()
    model[3].eval()
    before, state = [m.training for m in model.modules()], torch.random.get_rng_state()
    layer_geometry(model, [(x, y)], "4", progress=False)
    assert [m.training for m in model.modules()] == before and torch.equal(state, torch.random.get_rng_state())
    assert not any(m._forward_hooks for m in model.modules()) and all(p.requires_grad for p in model.parameters())


def test_limited_batches_and_a_bar(capsys):
    model, (x, y) = network(), images()
    table = layer_geometry(model, batches(x, y, torch.arange(120), 60), "4", limit_batches=1)
    assert table["num_images"][0] == 60


@pytest.mark.parametrize(
    ("layers", "message"), [(["nine"], "unknown layer 'nine'"), ([], "at least one"), (["0", "0"], "named twice")]
)
def test_bad_layers(layers, message):
    with pytest.raises(ValueError, match=message):
        layer_geometry(network(), [images()], layers, progress=False)


def test_bad_data():
    x, _ = images(12)
    with pytest.raises(ValueError, match="no batches"):
        layer_geometry(network(), [], "0", progress=False)
    with pytest.raises(ValueError, match="at least two classes"):
        layer_geometry(network(), [(x, torch.zeros(12, dtype=torch.long))], "0", progress=False)
