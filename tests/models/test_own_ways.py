"""Networks with ways of their own: auxiliary outputs, channels last, branches, one image size, another normalisation."""

import copy
import pickle
import warnings

import pytest
import torch
import torchvision
from torch import nn

from neuroalign import GuidedNetwork, NeuralPredictor, ResponseHead
from neuroalign.models import Normalize, Trunk, build_backbone, record_layers
from neuroalign.models.normalization import IMAGENET_MEAN, IMAGENET_STD, own_normalization
from neuroalign.models.taps import TapError, keeps_channels_last, tapped


@pytest.mark.filterwarnings("ignore:The default weight initialization")
@pytest.mark.parametrize(("name", "size"), [("googlenet", 64), ("inception_v3", 96)])
def test_a_network_with_auxiliary_classifiers_trains(name, size):
    network = GuidedNetwork(name, 4, image_shape=(3, size, size)).train()
    loss = nn.functional.cross_entropy(network(torch.rand(2, 3, size, size)), torch.tensor([0, 3]))
    loss.backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in network.parameters())


SHAPES = [
    # a layer's axes, the images' height and width, whether channels are last
    ((7, 7, 768), (224, 224), True),
    ((2, 2, 96), (64, 64), True),
    ((14, 28, 384), (224, 448), True),
    ((96, 7, 14), (224, 448), False),
    ((32, 32, 64), (64, 128), False),
    ((64, 8, 8), (64, 64), False),
    ((4, 8, 8), (64, 64), False),
    ((8, 8, 8), (64, 64), False),
    ((1, 1, 512), (32, 32), True),
    ((512, 1, 1), (32, 32), False),
    ((112, 112, 96), (448, 448), True),
    ((8, 12, 12), (32, 48), True),
    ((12, 8, 12), (32, 48), False),
    ((197, 384), (224, 224), False),
]


@pytest.mark.parametrize(("shape", "size", "expected"), SHAPES)
def test_channels_last_is_told_by_the_proportions(shape, size, expected):
    assert keeps_channels_last(shape, (3, *size)) is expected


class ChannelsLast(nn.Module):
    def __init__(self, last):
        super().__init__()
        self.conv = nn.Conv2d(3, 12, 3, stride=4)
        self.turn = Turn() if last else nn.Identity()

    def forward(self, x):
        return self.turn(self.conv(x))


class Turn(nn.Module):
    def forward(self, x):
        return x.permute(0, 2, 3, 1)


@pytest.mark.parametrize("shape", [(3, 32, 32), (3, 32, 48)])
@pytest.mark.parametrize("head", ["pooled_linear", "factorized", "gaussian", "identity", "attention"])
def test_a_head_reads_a_layer_the_same_way_round(head, shape):
    outputs = None if head == "identity" else 5
    networks = []
    for last in (False, True):
        torch.manual_seed(0)
        networks.append(GuidedNetwork(ChannelsLast(last), 4, {"V": ("turn", outputs, head)}, image_shape=shape).eval())
    networks[1].load_state_dict(
        {k.replace("heads.V.", "heads.V.head."): v for k, v in networks[0].state_dict().items()}
    )
    x = torch.rand(2, *shape)
    for first, last in zip(networks[0](x, with_responses=True), networks[1](x, with_responses=True)):
        first, last = (out if isinstance(out, torch.Tensor) else out["V"] for out in (first, last))
        torch.testing.assert_close(last, first)


def test_what_one_says_of_channels_counts():
    head = ResponseHead("turn", 5, channels_last=False)
    network = GuidedNetwork(ChannelsLast(True), 4, {"V": head}, image_shape=(3, 32, 32))
    assert network.heads["V"].linear.in_features == 8
    predictor = NeuralPredictor(ChannelsLast(True), 5, layer="turn", image_shape=(3, 32, 32))
    assert predictor.head.head.linear.in_features == 12


@pytest.mark.parametrize(
    ("name", "layer"), [("swin_t", "features.3"), ("timm:swin_tiny_patch4_window7_224", "layers.1")]
)
def test_swin_is_read_by_channels(name, layer):
    if name.startswith("timm:"):
        pytest.importorskip("timm", reason="timm is an optional extra")
    options = {"img_size": 64} if name.startswith("timm:") else {}
    network = GuidedNetwork(name, 4, {"V4": (layer, 5)}, image_shape=(3, 64, 64), options=options)
    assert network.heads["V4"].head.linear.in_features == 192


class Branches(nn.Module):
    """As a stage of HRNet: maps of several resolutions side by side."""

    def __init__(self, kind=list):
        super().__init__()
        self.kind, self.stem = kind, nn.Conv2d(3, 4, 3, padding=1)
        self.stage = Stage(kind)

    def forward(self, x):
        parts = self.stage(self.stem(x))
        return (parts["low"] if isinstance(parts, dict) else parts[1]).mean((2, 3))


class Stage(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.kind = kind

    def forward(self, x):
        high, low = x, nn.functional.avg_pool2d(x, 2).repeat(1, 2, 1, 1)
        return {"high": high, "low": low} if self.kind is dict else self.kind([high, low])


@pytest.mark.parametrize(("kind", "part"), [(list, "[1]"), (tuple, "[1]"), (tuple, "[-1]"), (dict, "[low]")])
def test_a_branch_is_chosen_behind_the_layers_name(kind, part):
    layer = f"stage{part}"
    network = GuidedNetwork(Branches(kind), 4, {"V": (layer, 5)}, image_shape=(3, 8, 8))
    assert network.trunk.layer_shapes == {layer: (8, 4, 4)}
    x = torch.rand(2, 3, 8, 8)
    for twin in (copy.deepcopy(network), pickle.loads(pickle.dumps(network))):
        torch.testing.assert_close(twin(x, with_responses=True)[1]["V"], network(x, with_responses=True)[1]["V"])
    with record_layers(network, [f"trunk.backbone.{layer}"]) as found:
        network(x)
    assert found[f"trunk.backbone.{layer}"].shape == (2, 8, 4, 4)


@pytest.mark.parametrize(
    ("kind", "layer", "words"),
    [
        (
            list,
            "stage",
            r"returns a list, not a tensor: say which part you mean, 'stage\[0\]' \(4, 8, 8\), 'stage\[1\]'",
        ),
        (tuple, "stage", r"returns a tuple, not a tensor: say which part"),
        (dict, "stage", r"'stage\[high\]' \(4, 8, 8\), 'stage\[low\]' \(8, 4, 4\)"),
        (list, "stage[2]", r"say which part you mean, 'stage\[0\]'"),
        (list, "stage[low]", r"say which part you mean, 'stage\[0\]'"),
        (list, "stem[0]", r"returns one tensor: give its name without a part, 'stem'"),
        (list, "stagee[0]", "unknown layer 'stagee'; did you mean 'stage'"),
    ],
)
def test_a_branch_that_is_not_chosen_is_told(kind, layer, words):
    with pytest.raises(ValueError, match=words):
        GuidedNetwork(Branches(kind), 4, {"V": (layer, 5)}, image_shape=(3, 8, 8))
    model, images = Branches(kind), torch.rand(2, 3, 8, 8)
    with pytest.raises(ValueError, match=words), record_layers(model, [layer]):
        model(images)


def test_attention_gives_its_values():
    values, weights = torch.zeros(2, 5, 8), torch.zeros(2, 5, 5)
    assert tapped((values, weights), "attention") is values
    assert tapped((values, None), "attention") is values
    with pytest.raises(TapError, match="returns a NoneType, not a tensor, or tap a layer inside it"):
        tapped(None, "attention")


def test_hrnet_names_its_branches():
    pytest.importorskip("timm", reason="timm is an optional extra")
    with pytest.raises(TypeError, match=r"'stage3\[0\]' \(16, 16, 16\), 'stage3\[1\]' \(32, 8, 8\)"):
        Trunk("timm:hrnet_w18_small", layers=["stage3"], image_shape=(3, 64, 64))


@pytest.mark.parametrize(
    ("name", "shape", "words"),
    [
        ("vit_b_16", (3, 32, 48), r"Vision transformers of torchvision take square images only: resize or crop them"),
        ("alexnet", (3, 32, 32), "alexnet needs at least 63x63 pixels in colour"),
        ("inception_v3", (3, 64, 64), "inception_v3 needs at least 75x75 pixels"),
        ("small_resnet", (4, 8, 8), r"have 4 channels .* normalisation has 3: give mean=\.\.\., std="),
        (
            "resnet18",
            (1, 32, 32),
            r"have 1 channels .* give mean=\.\.\., std=\.\.\. with one value per channel, or mean=None",
        ),
    ],
)
def test_a_shape_that_does_not_fit_is_told_with_its_remedy(name, shape, words):
    if name.startswith("timm:"):
        pytest.importorskip("timm", reason="timm is an optional extra")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The default weight initialization")
        with pytest.raises(ValueError, match=words):
            GuidedNetwork(name, 4, image_shape=shape)


def test_a_network_given_as_a_module_is_told_how_to_be_built():
    vit = build_backbone("vit_b_16", options={"image_size": 48})
    with pytest.raises(ValueError, match="the network must be built with image_size=32"):
        Trunk(vit, image_shape=(3, 32, 32))


def test_names_of_timm_carry_a_prefix():
    with pytest.raises(ValueError, match="Names of timm need a prefix, 'timm:<name>'"):
        build_backbone("resnet999")
    with pytest.raises(ValueError, match=r"did you mean 'small_resnet'[^.]*\? \(Names of timm"):
        build_backbone("small_resnett")
    pytest.importorskip("timm", reason="timm is an optional extra")
    with pytest.raises(ValueError, match="timm has a model of this name: write 'timm:vit_tiny_patch16_224'"):
        build_backbone("vit_tiny_patch16_224")


def test_timms_own_normalisation():
    timm = pytest.importorskip("timm", reason="timm is an optional extra")
    name, options = "vit_tiny_patch16_224", {"img_size": 32}
    trunk = Trunk(f"timm:{name}", image_shape=(3, 32, 32), options=options).eval()
    peer = timm.create_model(name, num_classes=0, **options).eval()
    peer.load_state_dict(trunk.backbone.state_dict())
    transform = timm.data.create_transform(**timm.data.resolve_data_config(model=peer) | {"input_size": (3, 32, 32)})
    images = torch.rand(3, 3, 32, 32)
    normalized = torch.stack([transform.transforms[-1](x) for x in images])
    torch.testing.assert_close(trunk(images), peer(normalized))
    assert trunk.mean == trunk.std == (0.5, 0.5, 0.5)
    assert Trunk(peer, image_shape=(3, 32, 32)).mean == (0.5, 0.5, 0.5)
    mine = Trunk(f"timm:{name}", image_shape=(3, 32, 32), options=options, mean=IMAGENET_MEAN, std=IMAGENET_STD)
    assert mine.mean == IMAGENET_MEAN


def test_a_saved_predictor_keeps_its_normalisation(tmp_path):
    pytest.importorskip("timm", reason="timm is an optional extra")
    made = NeuralPredictor("timm:vit_tiny_patch16_224", 3, image_shape=(3, 32, 32), options={"img_size": 32}).eval()
    assert made.config["init_args"]["mean"] == [0.5, 0.5, 0.5]
    made.save(tmp_path / "predictor.safetensors")
    loaded = NeuralPredictor.load(tmp_path / "predictor.safetensors").eval()
    images = torch.rand(2, 3, 32, 32)
    torch.testing.assert_close(loaded(images), made(images))


@pytest.mark.parametrize(
    ("name", "weights", "mean", "std"),
    [
        ("resnet18", "IMAGENET1K_V1", IMAGENET_MEAN, IMAGENET_STD),
        ("efficientnet_v2_l", "DEFAULT", (0.5,) * 3, (0.5,) * 3),
        ("vgg16", "VGG16_Weights.IMAGENET1K_FEATURES", (0.48235, 0.45882, 0.40784), (1 / 255,) * 3),
        ("efficientnet_v2_l", None, IMAGENET_MEAN, IMAGENET_STD),
        ("small_resnet", "mine", IMAGENET_MEAN, IMAGENET_STD),
    ],
)
def test_torchvisions_weights_tell_theirs(name, weights, mean, std):
    found = own_normalization(nn.Identity(), name, weights)
    assert found == (pytest.approx(mean), pytest.approx(std))


def test_none_is_no_normalisation():
    trunk = Trunk("small_resnet", image_shape=(5, 8, 8), mean=None, std=None, options={"in_channels": 5})
    assert isinstance(trunk.normalize, nn.Identity) and trunk.mean is None
    grey = Trunk("small_resnet", image_shape=(1, 8, 8), mean=(0.1,), std=(0.3,), options={"in_channels": 1})
    assert isinstance(grey.normalize, Normalize)
    with pytest.raises(ValueError, match="give both mean and std, or neither"):
        Trunk("small_resnet", image_shape=(3, 8, 8), std=None)


class Maps(nn.Module):
    """A backbone that gives maps with channels last."""

    def forward(self, x):
        return x.repeat(1, 4, 1, 1)[:, :, ::4, ::4].permute(0, 2, 3, 1)


def test_features_with_channels_last_are_averaged_over_space():
    trunk = Trunk(Maps(), image_shape=(3, 16, 16), mean=None, std=None)
    x = torch.rand(2, 3, 16, 16)
    assert trunk.num_features == 12
    torch.testing.assert_close(trunk(x), x[:, :, ::4, ::4].mean((2, 3)).repeat(1, 4))


def test_a_configuration_file_can_say_auto_or_values():
    from jsonargparse import ArgumentParser

    parser = ArgumentParser()
    parser.add_class_arguments(GuidedNetwork, "network")
    for given, expected in (
        ({}, IMAGENET_MEAN),
        ({"mean": "auto", "std": "auto"}, IMAGENET_MEAN),
        ({"mean": [0.1] * 3}, (0.1,) * 3),
    ):
        config = {"backbone": "small_resnet", "num_classes": 3, "image_shape": [3, 8, 8], **given}
        network = parser.instantiate_classes(parser.parse_object({"network": config})).network
        assert tuple(network.trunk.mean) == expected
    with pytest.raises(ValueError, match="one value per channel, None or 'auto'; got 'imagenet'"):
        Trunk("small_resnet", image_shape=(3, 8, 8), mean="imagenet")


def test_a_size_of_two_numbers_for_a_network_of_square_images():
    with pytest.raises(
        ValueError, match=r"image_size of vit_b_16 is one number; got \(32, 48\): .* square images only"
    ):
        Trunk("vit_b_16", image_shape=(3, 32, 48), options={"image_size": (32, 48)})


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.bool])
def test_images_of_whole_numbers_are_refused(dtype):
    images = torch.ones(2, 3, 8, 8, dtype=dtype)
    for mean in ("auto", None):
        network = NeuralPredictor("small_resnet", 4, image_shape=(3, 8, 8), mean=mean, std=mean)
        with pytest.raises(TypeError, match=f"floating point.* got {str(dtype)[6:]}: divide images of 0 to 255 by 255"):
            network(images)


def test_a_class_in_place_of_a_module():
    with pytest.raises(TypeError, match=r"a torch\.nn\.Module; got <class '.*Flatten'>: make one, Flatten\(\.\.\.\)"):
        NeuralPredictor(nn.Flatten, 7, image_shape=(3, 8, 8))
    with pytest.raises(TypeError, match=r"or a torch\.nn\.Module; got <function"):
        NeuralPredictor(lambda images: images.flatten(1), 7, image_shape=(3, 8, 8))


@pytest.mark.parametrize("size", [(65, 97), (64, 72), (64, 64)])
def test_patches_that_do_not_divide_the_images_give_a_warning(size):
    timm = pytest.importorskip("timm", reason="timm is an optional extra")
    vit = timm.create_model("vit_tiny_patch16_224", img_size=size, depth=1, num_classes=0)
    with warnings.catch_warnings(record=True) as given:
        warnings.simplefilter("always")
        trunk = Trunk(vit, image_shape=(3, *size))
    left = {(65, 97): "last 1 rows and 1 columns", (64, 72): "last 8 columns", (64, 64): None}[size]
    images = torch.rand(1, 3, *size)
    other = images.clone()
    other[..., 64:, :], other[..., size[1] // 16 * 16 :] = 0, 0
    assert torch.equal(trunk.eval()(images), trunk(other))  # they are never seen
    assert [str(w.message).partition("never sees their ")[2].partition(";")[0] for w in given] == [left] * (
        left is not None
    )
    assert all(w.filename == __file__ for w in given)


@pytest.mark.filterwarnings("ignore:The default weight initialization")
def test_auxiliary_classifiers_that_need_larger_images_are_refused_before_training():
    network = torchvision.models.inception_v3(aux_logits=True, init_weights=False)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    with pytest.raises(
        ValueError, match=r"auxiliary classifiers, which run in training, don't take images of \(3, 99, 120\)"
    ):
        Trunk(network, image_shape=(3, 99, 120))
    assert network.training and all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    network.aux_logits, network.AuxLogits = False, None
    assert Trunk(network, image_shape=(3, 99, 120)).train()(torch.rand(2, 3, 99, 120)).shape[0] == 2


def test_weights_in_a_name_are_pointed_to_their_argument():
    with pytest.raises(
        ValueError, match="weights are given apart from the name, 'timm:resnet10t' with weights='DEFAULT'"
    ):
        NeuralPredictor("timm:resnet10t@DEFAULT", 3, image_shape=(3, 32, 32))
