"""Networks compile as one graph, with the values of the uncompiled networks."""

import shutil

import pytest
import torch

import neuroalign as na

pytestmark = pytest.mark.one_graph

SMALL = {"image_shape": (3, 8, 8)}
IMAGES = torch.rand(5, 3, 8, 8)


def network():
    heads = {"V1": ("layer1", 4), "V2": ("layer1", 2, "linear"), "V4": (None, 3)}
    return na.GuidedNetwork("small_resnet", 10, heads=heads, **SMALL)


def predictor():
    return na.NeuralPredictor("small_resnet", 4, layer="layer2", **SMALL)


NETWORKS = {
    "GuidedNetwork": lambda: network().eval(),
    "GuidedNetwork, with responses": lambda: network().eval().forward_with_responses,
    "NeuralPredictor": lambda: predictor().eval(),
    "Frozen": lambda: na.Frozen(predictor()),
    "StandardizedPredictor": lambda: na.StandardizedPredictor(predictor()).fit(IMAGES).eval(),
}


def check(make, backend):
    torch.compiler.reset()
    net = make()
    torch.testing.assert_close(torch.compile(net, backend=backend, fullgraph=True)(IMAGES), net(IMAGES))


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_compile_as_one_graph(name):
    check(NETWORKS[name], "aot_eager")


def test_a_frozen_module_stays_frozen_in_a_graph():
    torch.compiler.reset()
    frozen = na.Frozen(predictor())
    before = {name: value.clone() for name, value in frozen.state_dict().items()}
    out = torch.compile(frozen.train(), backend="aot_eager", fullgraph=True)(IMAGES)
    assert not out.requires_grad
    assert all(torch.equal(value, before[name]) for name, value in frozen.state_dict().items())


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="inductor compiles with g++, which is not here")
def test_networks_compile_by_inductor():
    check(NETWORKS["GuidedNetwork, with responses"], "inductor")
