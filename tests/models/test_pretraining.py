"""Networks that know themselves: names of weights, image size, normalisation, auxiliary classifiers, and what is shown."""

import pytest
import torch
import torchvision
from torch import nn

from neuroalign import GuidedNetwork, NeuralPredictor
from neuroalign.models import Trunk, VisualFeatures, build_backbone
from neuroalign.models.pretraining import own_shape, size_option, timm_name

SHAPE = (3, 32, 32)
timm = pytest.importorskip("timm", reason="timm is an optional extra")


@pytest.fixture
def fake_weights(monkeypatch):
    """Torchvision's weights replaced by those of a network drawn at random, so that nothing is downloaded."""

    def get_state_dict(weights, *args, **kwargs):
        torch.manual_seed(1)
        name = type(weights).__name__.removesuffix("_Weights").lower()
        more = {"aux_logits": True, "init_weights": False} if name in ("googlenet", "inception_v3") else {}
        size = {"image_size": weights.meta["min_size"][0]} if name.startswith("vit") else {}
        return torchvision.models.get_model(
            name, num_classes=len(weights.meta["categories"]), **more, **size
        ).state_dict()

    monkeypatch.setattr(torchvision.models.WeightsEnum, "get_state_dict", get_state_dict)


@pytest.mark.parametrize("weights", ["DEFAULT", True, "IMAGENET1K_V1", "ResNet18_Weights.IMAGENET1K_V1"])
def test_names_of_torchvisions_weights(weights, fake_weights):
    first = build_backbone("resnet18", weights="IMAGENET1K_V1").state_dict()
    named = build_backbone("resnet18", weights=weights).state_dict()
    assert all(torch.equal(named[key], first[key]) for key in first)


@pytest.mark.parametrize(
    ("name", "weights", "message"),
    [
        ("resnet18", "IMAGENET", "unknown weights of resnet18: 'IMAGENET'; did you mean 'IMAGENET1K_V1'"),
        (
            "resnet18",
            "ResNet50_Weights.IMAGENET1K_V2",
            r"unknown weights of resnet18: .* Its weights: IMAGENET1K_V1, DEFAULT",
        ),
        ("resnet81", "DEFAULT", "unknown torchvision model 'resnet81'; did you mean"),
        ("resnet50", "xyz", "unknown weights of resnet50: 'xyz'; known: DEFAULT, IMAGENET1K_V1, IMAGENET1K_V2"),
        ("timm:resnet18", "a1_in1", "unknown weights of timm:resnet18: 'a1_in1'; did you mean 'a1_in1k'"),
        ("timm:resnet18.a1_in1k", "a2_in1k", "asks for the weights 'a1_in1k', and weights= for 'a2_in1k'"),
        ("timm:resnet18.a1_in", None, "unknown weights of timm:resnet18: 'a1_in'; did you mean 'a1_in1k'"),
    ],
)
def test_unknown_weights(name, weights, message):
    for make in (build_backbone, Trunk, lambda name, **more: NeuralPredictor(name, 5, **more)):
        with pytest.raises(ValueError, match=message):
            make(name, weights=weights)


def test_timms_weights_by_tag(monkeypatch):
    asked = []
    monkeypatch.setattr(
        timm, "create_model", lambda name, pretrained, **more: asked.append((name, pretrained)) or nn.Flatten()
    )
    for weights in ("a2_in1k", "DEFAULT", "pretrained", True, None):
        build_backbone("timm:resnet18", weights=weights)
    build_backbone("timm:resnet18.tv_in1k", weights="tv_in1k")
    assert asked == [("resnet18.a2_in1k", True), ("resnet18", True), ("resnet18", True), ("resnet18", True),
                     ("resnet18", False), ("resnet18.tv_in1k", True)]  # fmt: skip
    assert timm_name("resnet18.tv_in1k", None) == "resnet18.tv_in1k"


@pytest.mark.parametrize(
    ("backbone", "weights", "options", "shape"),
    [
        ("resnet18", None, None, (3, 224, 224)),
        ("small_resnet", None, None, (3, 224, 224)),
        ("inception_v3", None, None, (3, 224, 224)),  # random weights were trained at no size
        ("inception_v3", "DEFAULT", None, (3, 299, 299)),
        ("vit_b_16", "IMAGENET1K_SWAG_E2E_V1", None, (3, 384, 384)),
        ("vit_b_16", None, {"image_size": 48}, (3, 48, 48)),
        ("timm:inception_v3", None, None, (3, 299, 299)),
        ("timm:vit_small_patch14_dinov2", None, None, (3, 518, 518)),
        ("timm:vit_tiny_patch16_224", None, {"img_size": (32, 48), "in_chans": 1}, (1, 32, 48)),
    ],
)
def test_own_image_shapes(backbone, weights, options, shape):
    assert own_shape(backbone, weights, options) == shape


def test_own_image_shapes_of_modules():
    assert own_shape(timm.create_model("vit_tiny_patch16_224", img_size=64, depth=1)) == (3, 64, 64)
    assert own_shape(timm.create_model("resnet18")) == own_shape(nn.Flatten()) == (3, 224, 224)
    assert own_shape(torchvision.models.vit_b_16(image_size=32)) == (3, 32, 32)
    assert own_shape(VisualFeatures(32)) == (3, 224, 224)  # takes any


def test_the_shape_that_is_left_out_is_the_networks_own():
    made = NeuralPredictor("timm:vit_tiny_patch16_224", 3, options={"img_size": 32, "depth": 1}).eval()
    assert made.trunk.image_shape == (3, 32, 32) and made.config["init_args"]["image_shape"] == [3, 32, 32]
    module = timm.create_model("vit_tiny_patch16_224", img_size=48, depth=1, num_classes=0)
    assert Trunk(module).image_shape == (3, 48, 48)


@pytest.mark.parametrize("name", ["timm:vit_tiny_patch16_224", "timm:deit_tiny_patch16_224"])
def test_a_network_for_one_size_is_told_it(name, tmp_path):
    options = {"depth": 1}
    made = GuidedNetwork(name, 4, image_shape=SHAPE, options=options).eval()
    images = torch.rand(2, *SHAPE)
    assert made(images).shape == (2, 4)
    assert made.config["init_args"]["options"] == options  # the shape says it
    made.save(tmp_path / "network.safetensors")
    torch.testing.assert_close(GuidedNetwork.load(tmp_path / "network.safetensors").eval()(images), made(images))


def test_a_transformer_of_torchvision_is_told_its_size():
    assert Trunk("vit_b_16", image_shape=SHAPE).backbone.image_size == 32


def test_sizes_that_need_not_or_can_not_be_told():
    assert size_option("timm:vit_tiny_patch16_224", (3, 32, 48), None, {}) == {"img_size": (32, 48)}
    assert size_option("timm:vit_tiny_patch16_224", (3, 224, 224), None, {}) == {}
    assert size_option("timm:vit_tiny_patch16_224", SHAPE, None, {"img_size": 64}) == {}
    assert size_option("timm:resnet18", SHAPE, None, {}) == size_option("vit_b_16", SHAPE, "DEFAULT", {}) == {}
    with pytest.raises(
        ValueError, match=r"vit_b_16 can't be built for images of 30x30 pixels \(image_size=30: Input shape"
    ):
        Trunk("vit_b_16", image_shape=(3, 30, 30))
    with pytest.raises(ValueError, match=r"It was built for images of 5x5 pixels, which it can't process: resize them"):
        Trunk("timm:vit_tiny_patch16_224", image_shape=(3, 5, 5), options={"depth": 1})
    with pytest.raises(ValueError, match=r"built for one image size: .* options=\{'img_size': 32\}"):
        Trunk("timm:vit_tiny_patch16_224", image_shape=SHAPE, options={"depth": 1, "img_size": 64})


def test_pretrained_transformers_of_torchvision_say_that_images_are_resized(fake_weights):
    with pytest.raises(
        ValueError, match=r"With pretrained weights it takes images of 224 pixels only: resize them, or take"
    ):
        Trunk("vit_b_16", weights="IMAGENET1K_V1", image_shape=SHAPE)


@pytest.mark.filterwarnings("ignore:The default weight initialization")
@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_pretrained_networks_with_auxiliary_classifiers(name, fake_weights, tmp_path):
    shape = (3, 96, 96)
    made = NeuralPredictor(name, 4, weights="DEFAULT", image_shape=shape).train()
    made(torch.rand(2, *shape)).sum().backward()
    assert all(p.grad is not None for p in made.parameters())
    whole = torchvision.models.get_model(name, weights="DEFAULT").eval()
    whole.fc = nn.Identity()
    images = torch.rand(2, *shape)
    fresh = NeuralPredictor(name, 4, weights="DEFAULT", image_shape=shape).eval()
    torch.testing.assert_close(fresh.trunk(images), whole(fresh.trunk.normalize(images)))
    fresh.save(tmp_path / "p.safetensors")  # its weights expect that torchvision normalises once more
    torch.testing.assert_close(NeuralPredictor.load(tmp_path / "p.safetensors").eval()(images), fresh(images))


@pytest.mark.filterwarnings("ignore:The default weight initialization")
@pytest.mark.parametrize("given", ["module", "options"])
def test_auxiliary_classifiers_that_were_asked_for_are_left_aside(given):
    if given == "module":
        trunk = Trunk(torchvision.models.googlenet(aux_logits=True, init_weights=False), image_shape=(3, 64, 64))
    else:
        trunk = Trunk("googlenet", image_shape=(3, 64, 64), options={"aux_logits": True})
    assert trunk.backbone.aux_logits
    assert trunk.train()(torch.rand(2, 3, 64, 64)).shape == (2, trunk.num_features)


def test_what_is_shown():
    shown = repr(NeuralPredictor("timm:inception_v3", 3, image_shape=(3, 96, 96)))
    assert (
        "backbone=timm:inception_v3, image_shape=(3, 96, 96), mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5), trained on images "
        "resized by bicubic interpolation to 341, cropped to 299\n"
    ) in shown
    own = repr(Trunk(nn.Flatten(), image_shape=(1, 8, 8), mean=(0.1307,), std=(1 / 3,)))
    assert own.splitlines()[1].strip() == "backbone=Flatten, image_shape=(1, 8, 8), mean=(0.1307), std=(0.3333)"
    assert "image_shape=(3, 8, 8), mean=None, std=None" in repr(
        Trunk(nn.Flatten(), image_shape=(3, 8, 8), mean=None, std=None)
    )


def test_pretrained_weights_are_shown(fake_weights):
    shown = repr(Trunk("resnet18", weights="IMAGENET1K_V1", image_shape=SHAPE))
    assert "backbone=resnet18, weights=IMAGENET1K_V1, image_shape=(3, 32, 32), mean=(0.485, 0.456, 0.406), " in shown
    assert "trained on images resized by bilinear interpolation to 256, cropped to 224\n" in shown
