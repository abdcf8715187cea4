"""Perturbations without a budget: filters, contrast, rotation and translation; transfer between networks."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from neuroalign import PGD, Contrast, HighPass, LowPass, RotationTranslation, evaluate_robustness, transfer_matrix
from neuroalign.perturbations.spatial import rotate_translate
from tests.evaluation.test_curve import images, linear, loader, network, with_errors


def grating(cycles, size=64):
    """A cosine that the mirrored border continues."""
    wave = torch.cos(math.pi * 2 * cycles * (torch.arange(size) + 0.5) / size)
    return (0.5 + 0.4 * wave).expand(1, 3, size, size)


@pytest.mark.parametrize("cycles", [1, 2, 4, 8, 16])
def test_the_gain_is_gaussian_and_a_half_at_the_cutoff(cycles):
    x = grating(cycles)
    gain = 2 ** (-((cycles / 4) ** 2))
    torch.testing.assert_close(LowPass(4)(x), 0.5 + gain * (x - 0.5), atol=1e-5, rtol=0)
    torch.testing.assert_close(HighPass(4)(x), 0.5 + (1 - gain) * (x - 0.5), atol=1e-5, rtol=0)


def test_limits_are_the_image_and_its_mean():
    x = images(3, shape=(3, 16, 16))
    mean = x.mean((-2, -1), keepdim=True).expand_as(x)
    torch.testing.assert_close(LowPass(1e6)(x), x, atol=1e-5, rtol=0)
    torch.testing.assert_close(LowPass(1e-3)(x), mean, atol=1e-5, rtol=0)
    torch.testing.assert_close(HighPass(1e6)(x), mean, atol=1e-5, rtol=0)
    torch.testing.assert_close(Contrast(1.0)(x), x)
    assert (Contrast(0.0)(x) == 0.5).all()


@pytest.mark.parametrize("transform", [LowPass(2), HighPass(2), Contrast(0.3)], ids=repr)
def test_transforms_keep_shape_and_range(transform):
    x = torch.rand(4, 1, 9, 12).bfloat16()
    before = x.clone()
    out = transform(x)
    assert out.shape == x.shape
    assert out.dtype == x.dtype
    assert torch.equal(x, before)
    assert 0 <= out.min() <= out.max() <= 1
    with pytest.raises(ValueError, match="normalised"):
        transform(x.float() * 3)


def test_quarter_turns_and_whole_pixels_are_exact():
    x = torch.rand(2, 3, 8, 8)
    torch.testing.assert_close(rotate_translate(x, 90, 0, 0), torch.rot90(x, 1, (2, 3)), atol=1e-5, rtol=0)
    torch.testing.assert_close(rotate_translate(x, 0, 0, 0), x, atol=1e-6, rtol=0)
    shifted = rotate_translate(x, 0, 2 / 8, 0)
    torch.testing.assert_close(shifted[..., 2:], x[..., :-2], atol=1e-5, rtol=0)
    assert shifted[..., :2].max() < 1e-5
    down = rotate_translate(x, 0, 0, 1 / 8)
    torch.testing.assert_close(down[..., 1:, :], x[..., :-1, :], atol=1e-5, rtol=0)
    # rotate first, then shift
    both = rotate_translate(x, 90, 2 / 8, 0)
    torch.testing.assert_close(both[..., 2:], torch.rot90(x, 1, (2, 3))[..., :-2], atol=1e-5, rtol=0)


def test_rotation_keeps_angles_on_oblong_images():
    x = torch.zeros(1, 1, 20, 40)
    x[..., 10, 30] = x[..., 10, 31] = x[..., 9, 30] = x[..., 9, 31] = 1  # 11 right of the centre
    turned = rotate_translate(x, 45, 0, 0)[0, 0]
    y, z = np.meshgrid(np.arange(20) - 9.5, np.arange(40) - 19.5, indexing="ij")
    weight = turned.numpy() / turned.numpy().sum()
    assert (weight * z).sum() == pytest.approx(11 * math.cos(math.pi / 4), abs=0.2)
    assert -(weight * y).sum() == pytest.approx(11 * math.sin(math.pi / 4), abs=0.2)


def test_worst_case_is_at_most_the_clean_accuracy_and_any_one_of_the_grid():
    model, x = network(), images(60)
    labels = with_errors(model, x)
    attack = RotationTranslation(num_rotations=5, num_translations=3)
    assert attack.grid()[0] == (0, 0, 0)
    assert len(attack.grid()) == 45
    table = evaluate_robustness(model, loader(x, labels), [attack, LowPass(2)])
    assert table["eps"].isna().all()
    each = [(model(rotate_translate(x, *t)).argmax(1) == labels) for t in attack.grid()]
    assert table["num_correct"][0] == int(torch.stack(each).all(0).sum())
    assert table["num_correct"][1] == int((model(LowPass(2)(x)).argmax(1) == labels).sum()), "of all images"
    assert table["perturbation"].tolist() == ["rotation-translation", "low-pass-2"]


def test_transfer():
    a, b, x = network(0), network(1), images(80)
    labels = a(x).argmax(1)
    table = transfer_matrix({"a": a, "b": b, "a again": a}, loader(x, labels, 33), PGD.two_losses(), eps=0.01)
    wide = table.set_index(["source", "target"])
    found = PGD.two_losses()(a, x, labels, 0.01, index=torch.arange(80))
    both = (a(x).argmax(1) == labels) & (b(x).argmax(1) == labels)
    assert wide.loc[("a", "b"), "num_images"] == int(both.sum()) > 0
    assert wide.loc[("a", "b"), "num_correct"] == int((both & (b(found).argmax(1) == labels)).sum())
    assert wide.loc[("a", "a"), "accuracy"] == wide.loc[("a", "a again"), "accuracy"]
    assert wide.loc[("a", "a"), "accuracy"] <= wide.loc[("b", "a"), "accuracy"], "the white box is the strongest"


def test_the_seed_of_transfer_is_that_of_what_the_networks_draw():
    x = images(60)

    class Noisy(nn.Sequential):
        def forward(self, z):
            logits = super().forward(z)
            return logits + 3 * torch.randn_like(logits)

    model, labels = Noisy(network()).eval(), network()(x).argmax(1)
    zero, again, one = (
        transfer_matrix({"a": model}, loader(x, labels), PGD(steps=2), 0.005, seed=seed) for seed in (0, 0, 1)
    )
    assert zero.equals(again)
    assert zero["num_correct"][0] != one["num_correct"][0]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LowPass(0), "positive number of cycles"),
        (lambda: Contrast(2), r"in \[0, 1\]"),
        (lambda: RotationTranslation(num_rotations=4), "must be odd"),
        (lambda: RotationTranslation(max_translation=1.5), "a share below 1"),
        (lambda: transfer_matrix({}, [], PGD(), 0.1), "at least one model"),
    ],
)
def test_refusals(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_perturbation_that_leaves_the_box_is_told():
    model, x = linear(3), images(4)
    with pytest.raises(ValueError, match="must stay in"):
        evaluate_robustness(model, loader(x, model(x).argmax(1)), lambda m, i, y, eps: i + 2, 0.1)
    with pytest.raises(ValueError, match="into"):
        evaluate_robustness(model, loader(x, model(x).argmax(1)), lambda m, i, y, eps: i[:2], 0.1)


def test_grey_filters_leave_the_model_alone():
    model = nn.Sequential(nn.Flatten(), nn.Linear(48, 3))
    x = images(4)
    evaluate_robustness(model, loader(x, model(x).argmax(1)), [Contrast(0.5), Contrast(0.1)])
    assert model.training
