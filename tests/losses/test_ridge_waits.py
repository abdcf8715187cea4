"""How often a step with ridge predictivity makes the host wait for a device, after the first batch; and what is refused."""

import pytest
import torch

from neuroalign import NeuralAlignmentLoss
from tests.stand_in_device import StandIn, on_stand_in

N, P, V = 24, 5, 7
OPTIONS = [{}, {"penalty": 0.3}, {"num_folds": 4}]


def step(loss, preds, target):
    preds = preds.detach().requires_grad_()
    value = loss(preds, target)
    return value.detach(), *torch.autograd.grad(value, preds)


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_waits_after_the_first_batch(options, missing):
    x, y = torch.randn(N, P, dtype=torch.float64), torch.randn(N, V, dtype=torch.float64)
    if missing:
        y[3], y[1, 2], y[5:9, 4], y[:, 1] = torch.nan, torch.nan, torch.nan, torch.nan
    loss, moved = on_stand_in(NeuralAlignmentLoss("ridge", **options)), on_stand_in((x, y))
    with StandIn():
        step(loss, *moved)
    with StandIn() as device:
        value, gradient = step(loss, *moved)
    # One for preds, one for what is missing, and then one for how many stimuli each voxel misses.
    assert device.waits.total() <= (3 if missing else 2), device.waits
    assert not device.copies and not device.mixes
    expected, reference = step(NeuralAlignmentLoss("ridge", **options), x, y)
    torch.testing.assert_close(value.cpu(), expected, rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(gradient.cpu(), reference, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("missing", [False, True])
def test_a_penalty_that_rounding_hides_is_nan_on_a_device(missing):
    x = torch.randn(N, 1).repeat(1, 40) * torch.arange(1, 41)  # of rank 1
    y = torch.randn(N, V)
    if missing:
        y[3, 2] = torch.nan
    loss = NeuralAlignmentLoss("ridge", penalty=1e-30)
    with pytest.raises(ValueError, match="penalty is lost to rounding"):
        loss(x, y)
    with StandIn():
        assert bool(on_stand_in(loss)(*on_stand_in((x, y))).cpu().isnan())
