"""Every loss, metric, attack, corruption and transform computes on a GPU what it computes on the CPU.

The cases come from the public lists, so that what is added to them is asked too. Without a GPU the stand-in device takes
part, which finds tensors that are left on the host.
"""

import copy

import pytest
import torch
from torch import nn

import neuroalign as na
from neuroalign import perturbations
from tests.losses.test_table import TABLE
from tests.metrics.test_contract import CASES

IMAGES = torch.rand(6, 3, 16, 16, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(6) % 3
FEW_STEPS = {
    "PGD": {"steps": 3},
    "APGD": {"steps": 4},
    "FMN": {"steps": 4},
    "SquareAttack": {"num_queries": 5},
    "CarliniWagner": {"steps": 3, "search_steps": 1},
}
ELSEWHERE = ("AutoAttack", "BrendelBethge")  # other packages' code, which takes no stand-in
TRANSFORMS = {
    "Contrast": lambda: perturbations.Contrast(0.5),
    "HighPass": lambda: perturbations.HighPass(2.0),
    "LowPass": lambda: perturbations.LowPass(2.0),
}


def test_the_table_of_transforms_is_complete():
    kinds = vars(perturbations).values()
    found = {k.__name__ for k in kinds if isinstance(k, type) and issubclass(k, perturbations.ImageTransform)}
    assert found - {"ImageTransform", "Corruption"} == TRANSFORMS.keys()


def close(got, expected, **tolerances):
    tolerances = tolerances or {"rtol": 1e-3, "atol": 1e-5}
    torch.testing.assert_close(got, expected, equal_nan=True, check_device=False, **tolerances)


@pytest.mark.parametrize("missing", [False, True], ids=["complete", "missing"])
@pytest.mark.parametrize("name", TABLE)
def test_losses(name, missing, place):
    case, x = TABLE[name], torch.randn(24, 6, generator=torch.Generator().manual_seed(2))
    second = case.second
    if missing:
        if not second.is_floating_point():
            pytest.skip("the second argument is no response")
        second = second.clone()
        second[0, 0] = second[3] = second[:, 4] = torch.nan
    here = case.make()
    there = place.put(copy.deepcopy(here))
    x.requires_grad_()
    moved, target = place.put((x, second))
    value = here(x, second)
    value.backward()
    with place.active() as device:
        on_device = there(moved, target)
        on_device.backward()
    close(place.back(on_device), value.detach())
    close(place.back(moved.grad), x.grad)
    assert not getattr(device, "mixes", None)


@pytest.mark.parametrize("name", CASES)
def test_metrics(name, place):
    case = CASES[name]
    here = case.make()
    here.update(*case.data)
    with place.active() as device:
        there = place.put(case.make())
        there.update(*place.put(tuple(case.data)))
        found = there.compute()
    close(place.back(found), here.compute())
    assert not getattr(device, "mixes", None)


def classifier():
    torch.manual_seed(3)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(4 * 14 * 14, 3)).eval()


@pytest.mark.parametrize("name", na.list_attacks())
def test_attacks(name, place):
    if name in ELSEWHERE and not place.real:
        pytest.skip("another package attacks, which takes no stand-in")
    attack = getattr(na, name)(**FEW_STEPS.get(name, {}))
    expected = attack(classifier(), IMAGES, LABELS, 0.05)
    with place.active() as device:
        model, images, labels = place.put(classifier()), *place.put((IMAGES, LABELS))
        found = attack(model, images, labels, 0.05)
    assert found.device == images.device
    # Signs of gradients that are almost 0 may differ, so a few pixels may.
    differ = (place.back(found) - expected).abs() > 1e-3
    assert differ.float().mean() < 0.02
    assert not getattr(device, "mixes", None)


@pytest.mark.parametrize("name", perturbations.COMMON_CORRUPTIONS + perturbations.EXTRA_CORRUPTIONS)
def test_corruptions(name, place):
    corrupt = na.Corruption(name)
    images = torch.rand(3, 3, 32, 32)
    with place.active() as device:
        moved = place.put(images)
        found = corrupt(moved)
    assert found.device == moved.device
    differ = (place.back(found) - corrupt(images)).abs() > 1e-3
    assert differ.float().mean() < 0.01
    assert not getattr(device, "mixes", None)


@pytest.mark.parametrize("name", TRANSFORMS)
def test_transforms(name, place):
    transform = TRANSFORMS[name]()
    with place.active() as device:
        found = transform(place.put(IMAGES))
    close(place.back(found), transform(IMAGES), rtol=1e-3, atol=1e-5)
    assert not getattr(device, "mixes", None)


def test_rotations_and_translations(place):
    worst = na.RotationTranslation(num_rotations=3, num_translations=3)
    expected = worst(classifier(), IMAGES, LABELS)
    with place.active() as device:
        found = worst(place.put(classifier()), *place.put((IMAGES, LABELS)))
    close(place.back(found), expected, rtol=1e-3, atol=1e-4)
    assert not getattr(device, "mixes", None)
