"""Trunks: any backbone, layers tapped by name."""

import copy
import pickle

import pytest
import torch
from torch import nn

from neuroalign.models import Normalize, Trunk, build_backbone, record_layers


class InPlace(nn.Module):
    """A layer whose output the next one overwrites."""

    def __init__(self):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(3)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x):
        return self.relu(self.bn1(x)).mean((2, 3))


def test_a_captured_output_is_not_overwritten():
    trunk = Trunk(InPlace(), layers=["bn1"], image_shape=(3, 8, 8), mean=None, std=None)
    _, captured = trunk.forward_with_layers(torch.randn(4, 3, 8, 8))
    assert captured["bn1"].min() < 0, "the in-place ReLU got at the captured output"


@pytest.mark.parametrize("name", ["resnet18", "small_resnet", "mobilenet_v3_small", "squeezenet1_0", "densenet121"])
def test_backbones_by_name(name):
    trunk = Trunk(name, image_shape=(3, 64, 64)).eval()
    with torch.no_grad():
        assert trunk(torch.rand(2, 3, 64, 64)).shape == (2, trunk.num_features)


def test_timm_backbone():
    pytest.importorskip("timm", reason="timm is an optional extra")
    trunk = Trunk("timm:resnet18", layers=["layer3"], image_shape=(3, 32, 32))
    assert trunk.num_features == 512
    assert trunk.layer_shapes["layer3"][0] == 256
    with pytest.raises(ValueError, match="unknown timm model 'resnet19'"):
        build_backbone("timm:resnet19")


def test_a_transformer_by_name():
    trunk = Trunk(
        "vit_b_16", layers=["encoder.layers.encoder_layer_0"], options={"image_size": 32}, image_shape=(3, 32, 32)
    )
    assert trunk.num_features == 768
    assert trunk.layer_shapes == {"encoder.layers.encoder_layer_0": (5, 768)}


def test_small_images_get_the_cifar_stem():
    small, large = Trunk("resnet18", image_shape=(3, 32, 32)), Trunk("resnet18", image_shape=(3, 96, 96))
    assert small.backbone.conv1.stride == (1, 1)
    assert isinstance(small.backbone.maxpool, nn.Identity)
    assert large.backbone.conv1.stride == (2, 2)


def test_any_module_is_a_backbone():
    flat = nn.Sequential(nn.Flatten(), nn.Linear(192, 7))
    assert Trunk(flat, image_shape=(3, 8, 8)).num_features == 7
    maps = nn.Conv2d(3, 5, 3)
    assert Trunk(maps, image_shape=(3, 8, 8)).num_features == 5


def test_one_pass_serves_all_layers():
    calls = []
    trunk = Trunk("small_resnet", layers=["layer1", "layer2", "layer3"], image_shape=(3, 8, 8))
    trunk.backbone.stem.register_forward_hook(lambda *_: calls.append(1))
    features, captured = trunk.forward_with_layers(torch.rand(2, 3, 8, 8))
    assert len(calls) == 1
    assert [captured[f"layer{i}"].shape[1] for i in (1, 2, 3)] == [16, 32, 64]
    assert features.shape == (2, 64)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))], ids=["deepcopy", "pickle"])
def test_taps_survive_copying(copied):
    trunk = Trunk("small_resnet", layers=["layer2"], image_shape=(3, 8, 8)).eval()
    images = torch.rand(2, 3, 8, 8)
    twin = copied(trunk)
    for p in twin.parameters():
        nn.init.zeros_(p)
    assert not twin.forward_with_layers(images)[1]["layer2"].any()
    assert trunk.forward_with_layers(images)[1]["layer2"].any()
    assert trunk._captured is None
    assert twin._captured is None


def test_two_taps_on_one_backbone_do_not_mix():
    backbone = build_backbone("small_resnet")
    first = Trunk(backbone, layers=["layer1"], image_shape=(3, 8, 8))
    second = Trunk(backbone, layers=["layer3"], image_shape=(3, 8, 8))
    assert set(second.forward_with_layers(torch.rand(2, 3, 8, 8))[1]) == {"layer3"}
    assert first._captured is None


@pytest.mark.slow
def test_taps_survive_compiling():
    trunk = Trunk("small_resnet", layers=["layer2"], image_shape=(3, 8, 8)).eval()
    images = torch.rand(2, 3, 8, 8)
    features, captured = trunk.forward_with_layers(images)
    compiled = torch.compile(lambda x: trunk.forward_with_layers(x), backend="eager", fullgraph=True)
    got, got_captured = compiled(images)
    torch.testing.assert_close(got, features)
    torch.testing.assert_close(got_captured["layer2"], captured["layer2"])


def test_the_dry_run_leaves_no_trace():
    backbone = build_backbone("small_resnet").train()
    before = copy.deepcopy(backbone.state_dict())
    Trunk(backbone, layers=["layer1"], image_shape=(3, 8, 8))
    assert backbone.training
    for name, value in backbone.state_dict().items():
        assert torch.equal(value, before[name])


def test_normalisation_is_the_first_layer():
    images = torch.rand(2, 3, 8, 8)
    trunk = Trunk("small_resnet", image_shape=(3, 8, 8), mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4)).eval()
    expected = (images - torch.tensor([0.5, 0.4, 0.3])[:, None, None]) / torch.tensor([0.2, 0.3, 0.4])[:, None, None]
    torch.testing.assert_close(trunk(images), trunk.backbone(expected))
    with pytest.raises(ValueError, match="std positive"):
        Normalize((0.5,), (0.0,))
    with pytest.raises(ValueError, match="4 channels, the normalisation 3"):
        Normalize()(torch.rand(1, 4, 2, 2))
    with pytest.raises(ValueError, match=r"1 channel, the normalisation 3; grey images are repeated by np\.repeat"):
        Normalize()(torch.rand(2, 1, 2, 2))


def test_refusals():
    with pytest.raises(ValueError, match="unknown torchvision model 'resnet19'; did you mean"):
        build_backbone("resnet19")
    with pytest.raises(ValueError, match="unknown layer 'layer9'; did you mean 'layer"):
        Trunk("small_resnet", layers=["layer9"], image_shape=(3, 8, 8))
    with pytest.raises(ValueError, match="set image_shape="):
        Trunk(nn.Sequential(nn.Flatten(), nn.Linear(192, 7)), image_shape=(3, 9, 9))
    with pytest.raises(ValueError, match="both mean and std"):
        Trunk("small_resnet", mean=None)
    with pytest.raises(ValueError, match="go with a backbone given by name"):
        Trunk(nn.Flatten(), image_shape=(3, 8, 8), weights="DEFAULT")


def test_recording_any_layer_and_removing_the_hooks():
    net = nn.Sequential(nn.Linear(2, 3), nn.ReLU(inplace=True))
    with record_layers(net, ["0"]) as recorded:
        net(torch.randn(5, 2))
    assert recorded["0"].min() < 0
    assert not net[0]._forward_hooks
    with pytest.raises(ValueError, match="unknown layer 'fc'"), record_layers(net, ["fc"]):
        pass
