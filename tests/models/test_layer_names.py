"""Names of layers: the shortest that says which one, and only layers of the network."""

import pytest
import torch
from torch import nn

from neuroalign import (
    GaussianNoiseTraining,
    GuidedClassificationTask,
    GuidedNetwork,
    NeuralPredictionTask,
    NeuralPredictor,
    PredictedGuidance,
)
from neuroalign.models import Frozen, Trunk, network_layers, record_layers, resolve_layer


def network(**more):
    return GuidedNetwork("small_resnet", 4, {"V4": ("layer2", 5)}, image_shape=(3, 8, 8), **more)


def task():
    predictor = NeuralPredictor("small_resnet", 5, image_shape=(3, 8, 8))
    return GuidedClassificationTask(
        network(), PredictedGuidance({"V4": predictor}), robust_training=GaussianNoiseTraining(0.1)
    )


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("network.trunk.backbone.layer3", "network.trunk.backbone.layer3"),
        ("backbone.layer3", "network.trunk.backbone.layer3"),
        ("layer3", "network.trunk.backbone.layer3"),
        ("layer3[0]", "network.trunk.backbone.layer3[0]"),
        ("layer3[features]", "network.trunk.backbone.layer3[features]"),
        ("layer3.conv1", "network.trunk.backbone.layer3.conv1"),
        ("V4", "network.heads.V4"),
        ("classifier", "network.classifier"),
        ("guidance.predictors.V4.module.trunk.backbone.layer3", "guidance.predictors.V4.module.trunk.backbone.layer3"),
    ],
)
def test_short_names_in_a_task(given, meant):
    assert resolve_layer(task(), given) == meant


def test_a_name_in_the_backbone_wins_over_the_last_parts_of_others():
    resnet = GuidedNetwork("resnet18", 4, {"V1": ("conv1", 5)}, image_shape=(3, 16, 16))
    assert sum(layer.endswith(".conv1") for layer in network_layers(resnet)) == 9
    assert resolve_layer(resnet, "conv1") == "trunk.backbone.conv1"
    with pytest.raises(ValueError, match="8 layers are named 'conv2'"):
        resolve_layer(resnet, "conv2")


class Nested(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer1 = nn.Linear(2, 2)
        self.xlayer3 = nn.Linear(2, 2)
        self.part = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
        self.part.add_module("layer1", nn.Linear(2, 2))
        self.part.add_module("layer2", nn.Sequential(nn.Linear(2, 2)))
        self.other = nn.ModuleDict({"layer2": nn.Linear(2, 2)})
        self.again = self.xlayer3


def test_a_full_name_wins_over_the_last_parts_of_another():
    assert resolve_layer(Nested(), "layer1") == "layer1"
    assert resolve_layer(Nested(), "part.layer1") == "part.layer1"


def test_a_second_name_of_a_layer_is_a_full_name():
    assert resolve_layer(Nested(), "again") == "again"


def test_last_parts_are_whole():
    with pytest.raises(ValueError, match="unknown layer 'layer3'; did you mean"):
        resolve_layer(Nested(), "layer3")


def test_several_layers_of_one_name_are_listed():
    with pytest.raises(
        ValueError, match=r"2 layers are named 'layer2': part\.layer2, other\.layer2; write more of the name"
    ):
        resolve_layer(Nested(), "layer2")
    with pytest.raises(ValueError, match=r"9 layers are named '0': a\.0, b\.0, c\.0, d\.0, e\.0, f\.0 and 3 more"):
        resolve_layer(nn.ModuleDict({name: nn.Sequential(nn.ReLU()) for name in "abcdefghi"}), "0")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("layer9", r"did you mean 'network\.trunk\.backbone\.layer1' or 'network\.trunk\.backbone\.layer2' or "),
        ("network.trunk.backbone.layr3", r"did you mean 'network\.trunk\.backbone\.layer3' or "),
        ("Classifier", r"did you mean 'network\.classifier' or "),
        ("qqqq", r"unknown layer 'qqqq'; known: network, network\.trunk, network\.classifier, .* and \d+ more$"),
        ("", "unknown layer ''; known: "),
        ("x" * 10_000, "unknown layer 'x{100}'; "),
    ],
)
def test_unknown_names(given, message):
    with pytest.raises(ValueError, match=message) as refused:
        resolve_layer(task(), given)
    assert "guidance" not in str(refused.value) and "metrics" not in str(refused.value)
    assert len(str(refused.value)) < 400


def test_a_number_is_no_name():
    with pytest.raises(TypeError, match="a layer is given by its dotted name, such as '0' or 'layer3'; got 3"):
        resolve_layer(Nested(), 3)


@pytest.mark.parametrize("kind", ["classification", "prediction"])
def test_a_task_offers_its_networks_layers_only(kind):
    if kind == "classification":
        module, name = task(), "network"
    else:
        module, name = NeuralPredictionTask(NeuralPredictor("small_resnet", 5, image_shape=(3, 8, 8))), "predictor"
    offered, inside = network_layers(module), getattr(module, name)
    assert offered[0] == name and offered[1:] == [f"{name}.{layer}" for layer in network_layers(inside)]
    assert f"{name}.trunk.backbone.layer3" in offered
    images = torch.rand(2, 3, 8, 8)
    with record_layers(module, offered) as recorded, torch.no_grad():
        inside(images, **({"with_responses": True} if kind == "classification" else {}))
    assert set(recorded) == set(offered)


def test_what_is_beside_a_network_is_not_offered():
    class Mine(nn.Module):
        def __init__(self):
            super().__init__()
            self.teacher, self.criterion = Frozen(nn.Linear(2, 2)), nn.CrossEntropyLoss()
            self.net = nn.ModuleList([nn.Linear(2, 2), nn.Identity()])

    assert network_layers(Mine()) == ["net.0"]
    assert resolve_layer(Mine(), "net.1") == "net.1"  # a full name, though an identity
    with pytest.raises(ValueError, match=r"unknown layer 'module'; (known|did you mean) '?net\.0|known: net\.0"):
        resolve_layer(Mine(), "module")


def test_trunks_and_heads_take_short_names_and_keep_them():
    backbone = nn.Sequential(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()))
    backbone[0].add_module("stem", nn.Conv2d(4, 6, 3))
    trunk = Trunk(backbone, layers=["stem"], image_shape=(3, 8, 8))
    assert trunk.layer_shapes == {"stem": (6, 4, 4)}
    for layer in ("12.expand3x3", "features.12.expand3x3"):
        made = GuidedNetwork("squeezenet1_1", 4, {"V1": (layer, 5)}, image_shape=(3, 32, 32))
        assert made.head_layers == {"V1": layer} and made.config["init_args"]["heads"]["V1"]["layer"] == layer


def test_recorded_layers_have_the_given_name():
    net = network().eval()
    names = ["layer3", "trunk.backbone.layer3"]
    with record_layers(net, names) as recorded, torch.no_grad():
        net(torch.rand(2, 3, 8, 8))
    assert list(recorded) == names
    assert torch.equal(recorded[names[0]], recorded[names[1]])


def test_a_part_without_a_layer():
    with pytest.raises(
        ValueError, match=r"'\[features\]' asks for a part .* write its name before, 'layer3\[features\]'"
    ):
        resolve_layer(task(), "[features]")
