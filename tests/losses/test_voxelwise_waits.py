"""Voxel-wise measures on a device: no step waits for it, and values are those of the CPU."""

import pytest
import torch

from neuroalign import NeuralAlignmentLoss
from tests.stand_in_device import StandIn, on_stand_in

MEASURES = [
    ("mse", {}),
    ("pearson", {}),
    ("pearson", {"over": "voxels"}),
    ("cosine", {}),
    ("gaussian_nll", {}),
    ("gaussian_nll", {"num_voxels": 7}),
    ("gaussian_nll", {"variance": 0.5}),
    ("poisson_nll", {}),
    ("poisson_nll", {"log_input": False}),
]
KINDS = ("complete", "missing", "nothing valid", "constant")
N, V = 16, 7


def batch(kind):
    preds = torch.rand(N, V, dtype=torch.float64) + 0.1
    target = torch.poisson(2 * torch.rand(N, V, dtype=torch.float64))
    if kind == "missing":
        target[3], target[1, 2], target[:, 1] = torch.nan, torch.nan, torch.nan
    if kind == "nothing valid":
        target[:] = torch.nan
    if kind == "constant":
        target[:, 0], target[2], preds[:, 3], preds[4] = 3.0, 2.0, 0.1, 0.7
    return preds, target


def step(loss, preds, target):
    preds.grad = None
    value = loss(preds.requires_grad_(), target)
    value.backward()
    return value.detach(), preds.grad


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("name", "options"), MEASURES, ids=str)
def test_no_step_waits(name, options, kind, weighted, reduction):
    ceiling = torch.linspace(0, 1, V) if weighted else None
    here, there = (
        NeuralAlignmentLoss(name, noise_ceiling=ceiling, voxel_reduction=reduction, **options) for _ in range(2)
    )
    there = on_stand_in(there)
    tensors = batch(kind)
    moved = on_stand_in(tensors)
    with StandIn():
        step(there, *on_stand_in(batch("complete")))
    with StandIn() as device:
        value, gradient = step(there, *moved)
    assert not device.waits and not device.copies and not device.mixes
    expected, reference = step(here, *tensors)
    torch.testing.assert_close(value.cpu(), expected, rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(gradient.cpu(), reference, rtol=1e-5, atol=1e-8)
    assert bool(there.last_valid.cpu()) == bool(here.last_valid) == (kind != "nothing valid")
    assert there.last_valid.device == moved[0].device


@pytest.mark.parametrize(("name", "options"), MEASURES, ids=str)
def test_an_error_in_words_on_the_first_batch_and_no_number_later(name, options):
    preds, target = batch("complete")
    wrong = torch.where(torch.arange(V) == 1, torch.inf, target)
    good, bad = on_stand_in((preds, target)), on_stand_in((preds, wrong))
    with pytest.raises(ValueError, match="target has infinite values"), StandIn():
        step(on_stand_in(NeuralAlignmentLoss(name, **options)), *bad)
    loss = on_stand_in(NeuralAlignmentLoss(name, **options))
    with StandIn():
        step(loss, *good)
        value, _ = step(loss, *bad)
    assert not bool(value.cpu().isfinite())


def test_negative_counts_and_rates():
    preds, target = batch("complete")
    for options, change in (({}, (0, -1)), ({"log_input": False}, (0, -1)), ({"log_input": False}, (-1, 0))):
        made = NeuralAlignmentLoss("poisson_nll", **options)
        bad = on_stand_in((preds + change[0], target + change[1]))
        with pytest.raises(ValueError, match="can't be negative"), StandIn():
            step(on_stand_in(NeuralAlignmentLoss("poisson_nll", **options)), *bad)
        loss = on_stand_in(made)
        with StandIn():
            step(loss, *on_stand_in((preds, target)))
            value, gradient = step(loss, *bad)
        assert bool(value.cpu().isnan()) and bool(gradient.cpu().isnan().all())


@pytest.mark.parametrize("ceiling", [False, True])
def test_a_measure_of_ones_own_waits_a_few_times(ceiling):
    def own(preds, target, weight):
        return (weight * (preds - target).abs()).sum() / weight.sum()

    loss = on_stand_in(NeuralAlignmentLoss(own, noise_ceiling=torch.linspace(0, 1, V) if ceiling else None))
    moved = on_stand_in(batch("missing"))
    with StandIn():
        step(loss, *moved)
    with StandIn() as device:
        step(loss, *moved)
    assert device.waits.total() <= 5, device.waits
