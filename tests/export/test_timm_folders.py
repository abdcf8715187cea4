"""Folders that timm loads: equal features and logits, the normalisation, and what timm has no name for."""

import json
import sys

import pytest
import torch
from torch import nn

from neuroalign import GuidedNetwork, NeuralPredictor, export_timm

SHAPE = (3, 96, 96)  # large enough for the stem that timm's networks have


@pytest.fixture
def timm():
    return pytest.importorskip("timm", reason="timm is not installed (extra: timm)")


def guided(name="resnet18", **options):
    return GuidedNetwork(name, 5, {"V4": ("layer2", 7)}, image_shape=SHAPE, **options)


@pytest.mark.parametrize("name", ["resnet18", "timm:resnet18"])
def test_features_are_equal(tmp_path, timm, name):
    network = guided(name, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4))
    network(torch.rand(4, *SHAPE))  # batch statistics of its own
    source = export_timm(network, tmp_path / "guided")
    model = timm.create_model(source, pretrained=True).eval()
    data = timm.data.resolve_data_config({}, model=model)
    told = [tuple(data[key]) for key in ("mean", "std", "input_size")]
    assert told == [(0.5, 0.4, 0.3), (0.2, 0.3, 0.4), SHAPE]
    assert (data["crop_pct"], data["interpolation"]) == (1.0, "bilinear")
    images = torch.rand(3, *SHAPE)
    normalised = (images - torch.tensor(data["mean"])[:, None, None]) / torch.tensor(data["std"])[:, None, None]
    assert network.training
    torch.testing.assert_close(model(normalised), network.eval().trunk(images))
    stages = timm.create_model(source, pretrained=True, features_only=True).eval()(normalised)
    network = GuidedNetwork(network.trunk.backbone, 5, {"V4": ("layer2", 7)}, image_shape=SHAPE, mean=None, std=None)
    _, layers = network.eval().trunk.forward_with_layers(normalised)
    torch.testing.assert_close(stages[2], layers["layer2"])


def test_logits_are_equal(tmp_path, timm):
    network = guided()
    source = export_timm(network, tmp_path / "guided", with_classifier=True, class_names="abcde")
    model = timm.create_model(source, pretrained=True).eval()
    images = torch.rand(2, *SHAPE)
    torch.testing.assert_close(model(network.trunk.normalize(images)), network.eval()(images))
    assert model.num_classes == 5
    assert json.loads((tmp_path / "guided" / "config.json").read_text())["label_names"] == list("abcde")


def test_a_transformer_keeps_its_image_size(tmp_path, timm):
    network = GuidedNetwork(
        "timm:vit_tiny_patch16_224", 5, image_shape=(3, 32, 32), options={"img_size": 32, "depth": 2}
    )
    source = export_timm(network, tmp_path / "vit", with_classifier=True)
    model = timm.create_model(source, pretrained=True).eval()
    images = torch.rand(2, 3, 32, 32)
    torch.testing.assert_close(model(network.trunk.normalize(images)), network.eval()(images))


def test_a_module_that_was_told_its_image_size(tmp_path, timm):
    backbone = timm.create_model("vit_tiny_patch16_224", num_classes=0, img_size=32, depth=2)
    if not hasattr(backbone, "_model_args"):
        pytest.skip("this timm doesn't keep what a network was made with")
    network = GuidedNetwork(backbone, 5, image_shape=(3, 32, 32))
    model = timm.create_model(export_timm(network, tmp_path / "vit"), pretrained=True).eval()
    images = torch.rand(2, 3, 32, 32)
    torch.testing.assert_close(model(network.trunk.normalize(images)), network.eval().trunk(images))


def test_a_predictor_and_a_module_of_timm(tmp_path, timm):
    predictor = NeuralPredictor(timm.create_model("resnet18", num_classes=0), 4, image_shape=SHAPE, mean=None, std=None)
    model = timm.create_model(export_timm(predictor, tmp_path / "trunk"), pretrained=True).eval()
    assert model.pretrained_cfg["mean"] == [0.0] * 3 and model.pretrained_cfg["std"] == [1.0] * 3
    images = torch.rand(2, *SHAPE)
    torch.testing.assert_close(model(images), predictor.eval().trunk(images))
    with pytest.raises(TypeError, match="a predictor of responses has no classifier"):
        export_timm(predictor, tmp_path / "logits", with_classifier=True)


def test_the_folder_holds_two_files_and_replaces_none(tmp_path, timm):
    network = guided()
    export_timm(network, tmp_path / "guided")
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["config.json", "guided", "model.safetensors"]
    with pytest.raises(FileExistsError, match="exists and is not empty"):
        export_timm(network, tmp_path / "guided")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: GuidedNetwork("resnet18", 5, image_shape=(3, 32, 32)), "stem for small images .* has no name in timm"),
        (lambda: GuidedNetwork("small_resnet", 5, image_shape=(3, 8, 8)), "timm has no architecture 'small_resnet'"),
        (lambda: GuidedNetwork("mobilenet_v2", 5, image_shape=SHAPE), "timm has no architecture 'mobilenet_v2'"),
        (lambda: GuidedNetwork("efficientnet_b0", 5, image_shape=SHAPE), 'has other layers .* "conv_stem.weight"'),
        (lambda: GuidedNetwork(nn.Sequential(nn.Flatten(), nn.Linear(12, 3)), 5, image_shape=(3, 2, 2), mean=None, std=None),
         r"given as a module \(Sequential\) for which timm has no name"),
    ],
    ids=["stem", "small", "mobilenet", "efficientnet", "module"],
)  # fmt: skip
def test_what_timm_has_no_name_for(tmp_path, timm, make, message):
    with pytest.raises(ValueError, match=message):
        export_timm(make(), tmp_path / "folder")
    assert not list(tmp_path.iterdir())


def test_an_option_that_timm_is_not_told(tmp_path, timm):
    network = GuidedNetwork(
        "resnet50", 5, image_shape=SHAPE, options={"replace_stride_with_dilation": [False, False, True]}
    )
    with pytest.raises(ValueError, match="timm's network gives other outputs than the network"):
        export_timm(network, tmp_path / "folder")
    assert not list(tmp_path.iterdir())


def test_an_option_that_no_file_can_hold(tmp_path, timm):
    backbone = timm.create_model("resnet18", num_classes=0, act_layer=nn.ReLU)
    if not hasattr(backbone, "_model_args"):
        pytest.skip("this timm doesn't keep what a network was made with")
    with pytest.raises(ValueError, match=r"options \['act_layer'\] are not plain values, which no file can hold"):
        export_timm(GuidedNetwork(backbone, 5, image_shape=SHAPE), tmp_path / "folder")
    assert not list(tmp_path.iterdir())


def test_mistakes(tmp_path, timm, monkeypatch):
    with pytest.raises(TypeError, match="a GuidedNetwork or NeuralPredictor; got a Linear"):
        export_timm(nn.Linear(2, 2), tmp_path / "folder")
    with pytest.raises(ValueError, match="2 class_names for 0 classes: set with_classifier=True"):
        export_timm(guided(), tmp_path / "folder", class_names=["cat", "dog"])
    logits = GuidedNetwork("resnet18", None, image_shape=SHAPE)
    with pytest.raises(ValueError, match="the backbone gives logits itself"):
        export_timm(logits, tmp_path / "folder", with_classifier=True)
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ImportError, match=r"pip install 'neuroalign\[timm\]'"):
        export_timm(guided(), tmp_path / "folder")
