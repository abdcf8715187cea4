"""Heads, predictors, guided networks, and what stays frozen."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from neuroalign import (
    Frozen,
    GuidedNetwork,
    NeuralPredictor,
    ResponseHead,
    RidgePredictor,
    StandardizedPredictor,
)
from neuroalign.models import VisualFeatures, pooled_linear, untrained
from neuroalign.models.heads import Identity, PooledLinear

SHAPE = (3, 8, 8)


def network(heads=None, **kwargs):
    return GuidedNetwork("small_resnet", 5, heads or {"V4": ("layer2", 7)}, image_shape=SHAPE, **kwargs)


def test_logits_are_what_a_call_gives():
    net = network(
        {"V1": ("layer1", 4, "pooled_linear", 4), "V4": {"layer": "layer2", "num_outputs": 7}, "TO": (None, 3)}
    )
    images = torch.rand(2, *SHAPE)
    net.eval()
    logits, responses = net.forward_with_responses(images)
    torch.testing.assert_close(net(images), logits)
    assert {k: tuple(v.shape) for k, v in responses.items()} == {"V1": (2, 4), "V4": (2, 7), "TO": (2, 3)}


def test_several_heads_on_one_layer():
    net = network({"V1": ("layer2", 4), "V4": ("layer2", 7)})
    assert net.trunk.layers == ("layer2",)


def test_pooled_linear_is_the_papers_head():
    head = PooledLinear((64, 8, 8), 11, size=4)
    features = torch.rand(3, 64, 8, 8)
    expected = nn.functional.adaptive_avg_pool2d(features, 4).flatten(1) @ head.linear.weight.T + head.linear.bias
    torch.testing.assert_close(head(features), expected)
    assert head.linear.in_features == 64 * 16


def test_non_square_and_token_layers():
    assert PooledLinear((4, 6, 10), 3, size=2)(torch.rand(2, 4, 6, 10)).shape == (2, 3)
    assert PooledLinear((5, 12), 3)(torch.rand(2, 5, 12)).shape == (2, 3)


def test_identity_head():
    net = network({"any": ResponseHead("layer3", head="identity")})
    assert net.forward_with_responses(torch.rand(2, *SHAPE))[1]["any"].shape == (2, 64)


def test_a_head_of_ones_own():
    net = network({"V4": ResponseHead("layer1", 9, head=pooled_linear(2))})
    assert net.heads["V4"].linear.in_features == 16 * 4
    assert net.config is None  # a function can't be described


@pytest.mark.parametrize(
    ("heads", "message"),
    [
        ({"V4": ("layer2", 7, "polled_linear")}, "unknown head 'polled_linear'; did you mean 'pooled_linear'"),
        ({"V4": ("layr2", 7)}, "unknown layer 'layr2'; did you mean"),
        ({"V4": ("layer2", None)}, "positive number of voxels"),
        ({"V4": ("layer2", 7, "pooled_linear", 9)}, "use a smaller size"),
        ({"V4": (None, 7, "pooled_linear", 2)}, "has no space to pool"),
        ({"a.b": ("layer2", 7)}, "hold a dot"),
        ({"V4": ("layer2", 7, "identity")}, "an identity head gives the layer's own width, 32, not 7"),
    ],
)
def test_bad_heads(heads, message):
    with pytest.raises(ValueError, match=message):
        network(heads)


@pytest.mark.parametrize("number", ["3", 0, 2.0, True])
def test_a_number_of_classes_that_is_none(number):
    with pytest.raises(ValueError, match=f"num_classes must be a positive whole number, or None; got {number!r}"):
        GuidedNetwork("small_resnet", number, image_shape=(3, 8, 8))


def test_a_head_of_wrong_type():
    with pytest.raises(TypeError, match="a head is a ResponseHead"):
        network({"V4": "layer2"})
    assert Identity((7,)).num_outputs == 7


def test_a_backbone_that_gives_logits_already():
    backbone = nn.Sequential(nn.Flatten(), nn.Linear(192, 6))
    net = GuidedNetwork(backbone, None, {"V4": ("1", 3)}, image_shape=SHAPE)
    images = torch.rand(2, *SHAPE)
    assert net.num_classes == 6
    torch.testing.assert_close(net(images), backbone(net.trunk.normalize(images)))


@pytest.mark.parametrize("layer", [None, "layer2"])
def test_predictor_save_and_load(tmp_path, layer):
    predictor = NeuralPredictor("small_resnet", 6, layer=layer, image_shape=SHAPE).eval()
    predictor.save(tmp_path / "p.safetensors")
    again = NeuralPredictor.load(tmp_path / "p.safetensors").eval()
    images = torch.rand(2, *SHAPE)
    torch.testing.assert_close(again(images), predictor(images))
    assert [p.name for p in tmp_path.iterdir()] == ["p.safetensors"]


def test_predictor_files_that_are_none(tmp_path):
    foreign = NeuralPredictor(
        "small_resnet", 3, head=lambda shape, width: nn.Linear(shape[0], width), image_shape=SHAPE
    )
    with pytest.raises(
        ValueError, match=r"no description to save: .* which no file can hold\. Its state_dict can be saved"
    ):
        foreign.save(tmp_path / "p")
    with pytest.raises(FileNotFoundError, match="no predictor at"):
        NeuralPredictor.load(tmp_path / "absent.safetensors")
    (tmp_path / "text.safetensors").write_text("hello")
    with pytest.raises(ValueError, match=r"is not a file of a predictor: .* no safetensors file"):
        NeuralPredictor.load(tmp_path / "text.safetensors")


def test_frozen_stays_as_it_is():
    inner = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.9), nn.Flatten())
    before = copy.deepcopy(inner.state_dict())
    outer = nn.Module()
    outer.frozen, outer.head = Frozen(inner), nn.Linear(4 * 36, 2)
    outer.train()
    images = torch.rand(6, *SHAPE)
    first = outer.frozen(images)
    assert not any(m.training for m in outer.frozen.modules())
    assert not first.requires_grad
    assert [n for n, p in outer.named_parameters() if p.requires_grad] == ["head.weight", "head.bias"]
    outer.frozen.module.train()  # reaching past the wrapper
    assert torch.equal(outer.frozen(images), first)
    outer.requires_grad_(True)  # what `unfreeze` of a trainer does
    assert not outer.frozen(images).requires_grad
    for name, value in inner.state_dict().items():
        assert torch.equal(value, before[name])


def test_switching_gradients_off_is_not_enough():
    """The mistake that the wrapper is for: BatchNorm's statistics move with requires_grad off."""
    inner = nn.BatchNorm2d(3).requires_grad_(False)
    nn.Sequential(inner).train()(torch.rand(4, 3, 2, 2))
    assert not torch.equal(inner.running_mean, torch.zeros(3))


def test_standardized_predictor():
    images = torch.rand(100, *SHAPE)
    predictor = NeuralPredictor("small_resnet", 5, image_shape=SHAPE).train()
    standardized = StandardizedPredictor(predictor).fit(images, batch_size=33)
    assert predictor.training
    out = standardized.eval()(images)
    torch.testing.assert_close(out.mean(0), torch.zeros(5), atol=1e-4, rtol=0)
    torch.testing.assert_close(out.std(0, correction=0), torch.ones(5), atol=1e-3, rtol=0)
    with pytest.raises(ValueError, match="give num_voxels"):
        StandardizedPredictor(nn.Flatten())


def test_untrained_is_new_seeded_and_leaves_the_rest_alone():
    predictor = NeuralPredictor("small_resnet", 5, image_shape=SHAPE)
    predictor(torch.rand(4, *SHAPE))  # moves BatchNorm
    before, state = copy.deepcopy(predictor.state_dict()), torch.get_rng_state()
    a, b, c = untrained(predictor, 1), untrained(predictor, 1), untrained(predictor, 2)
    assert torch.equal(torch.get_rng_state(), state)
    for name, value in predictor.state_dict().items():
        assert torch.equal(value, before[name])
    assert torch.equal(a.head.linear.weight, b.head.linear.weight)
    assert not torch.equal(a.head.linear.weight, c.head.linear.weight)
    assert not torch.equal(a.head.linear.weight, predictor.head.linear.weight)
    assert torch.equal(a.trunk.backbone.stem[1].running_mean, torch.zeros(16))

    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(2))

    with pytest.raises(ValueError, match=r"has parameters but no reset_parameters\(\)"):
        untrained(nn.Sequential(Own()))


def test_ridge_against_scikit_learn():
    from sklearn.linear_model import Ridge

    g = torch.Generator().manual_seed(0)
    images = torch.rand(60, 3, 16, 16, generator=g)
    features = VisualFeatures(16, wavelengths=(4,), grid=2)
    responses = features(images) @ torch.randn(features.num_features, 4, generator=g) + torch.randn(60, 4, generator=g)
    predictor = RidgePredictor(features, 4).fit(images, responses, penalties=[30.0])
    x = features(images).double()
    x = ((x - x.mean(0)) / x.std(0, correction=0)).numpy()
    expected = Ridge(alpha=30.0).fit(x, responses.numpy()).predict(x)
    torch.testing.assert_close(predictor(images).double(), torch.from_numpy(expected).double(), rtol=1e-3, atol=1e-3)


def test_ridge_chooses_penalties_as_scikit_learn():
    from sklearn.linear_model import RidgeCV

    g = torch.Generator().manual_seed(0)
    images = torch.rand(60, 3, 16, 16, generator=g)
    features = VisualFeatures(16, wavelengths=(4,), grid=2)
    signal = features(images) @ torch.randn(features.num_features, 6, generator=g)
    noise = (
        torch.logspace(-2, 2, 6) * signal.std(0) * torch.randn(60, 6, generator=g)
    )  # from clean voxels to noisy ones
    responses = signal + noise
    predictor = RidgePredictor(features, 6).fit(images, responses)
    x = features(images).double()
    x = ((x - x.mean(0)) / x.std(0, correction=0)).numpy()
    theirs = RidgeCV(np.logspace(1, 6, 11), alpha_per_target=True).fit(x, responses.double().numpy())
    assert len(set(theirs.alpha_)) > 1
    torch.testing.assert_close(predictor.alphas.double(), torch.from_numpy(theirs.alpha_), rtol=1e-6, atol=0)
    expected = torch.from_numpy(theirs.predict(x))
    torch.testing.assert_close(predictor(images).double(), expected, rtol=1e-4, atol=1e-4)


class Scaled(torch.nn.Module):
    """Visual features in another unit."""

    def __init__(self, unit):
        super().__init__()
        self.features, self.unit = VisualFeatures(16, wavelengths=(4,), grid=2), unit
        self.num_features = self.features.num_features

    def forward(self, images):
        return self.unit * self.features(images)


@pytest.mark.parametrize("unit", [1e-20, 1e20])
def test_ridge_on_features_in_any_unit(unit):
    images, responses = torch.rand(40, 3, 16, 16), torch.randn(40, 3)
    plain, found = (RidgePredictor(Scaled(u), 3).fit(images, responses, penalties=[30.0])(images) for u in (1.0, unit))
    torch.testing.assert_close(found, plain, rtol=1e-3, atol=1e-4)
    assert float(plain.std(0).min()) > 0.05


def test_ridge_refuses():
    predictor = RidgePredictor(VisualFeatures(16, wavelengths=(4,), grid=2), 3)
    with pytest.raises(ValueError, match="5 images but responses to 6"):
        predictor.fit(torch.rand(5, 3, 16, 16), torch.randn(6, 3))
    with pytest.raises(ValueError, match="4 voxels, this predictor 3"):
        predictor.fit(torch.rand(5, 3, 16, 16), torch.randn(5, 4))
    with pytest.raises(ValueError, match="voxel 0 has fewer than two valid stimuli"):
        predictor.fit(torch.rand(5, 3, 16, 16), torch.full((5, 3), torch.nan))


def test_ridge_fits_a_voxel_with_missing_responses_to_the_others():
    features, images, responses = (
        VisualFeatures(16, wavelengths=(4,), grid=2),
        torch.rand(40, 3, 16, 16),
        torch.randn(40, 3),
    )
    missing = responses.clone()
    missing[3:6, 1] = torch.nan
    whole, partly = (RidgePredictor(features, 3).fit(images, y)(images) for y in (responses, missing))
    torch.testing.assert_close(partly[:, ::2], whole[:, ::2])
    assert bool(partly.isfinite().all())
    assert not torch.equal(partly[:, 1], whole[:, 1])


def test_features_see_colour_orientation_and_texture():
    features = VisualFeatures(32, grid=4)
    gray = torch.rand(1, 1, 32, 32)
    torch.testing.assert_close(features(gray), features(gray.expand(-1, 3, -1, -1)))
    plain = torch.rand(1, 3, 32, 32)
    assert not torch.allclose(features(plain), features(plain.flip(1)))  # red and blue exchanged
    assert not torch.allclose(features(plain), features(plain.transpose(2, 3)))
    assert features(torch.rand(2, 3, 112, 112)).shape == (2, features.num_features)
