"""How often a step with a measure of sets makes the host wait for a device, after the measure's first batch."""

import pytest
import torch

from neuroalign import NeuralAlignmentLoss
from tests.stand_in_device import StandIn, on_stand_in

MEASURES = [  # and the largest number of waits
    ("cka", {}, 0),
    ("cka", {"momentum": 0.9}, 0),
    ("cka", {"voxel_corrected": True}, 0),
    ("rbf_cka", {}, 0),
    ("rbf_cka", {"median": (1.0, 2.0), "momentum": 0.9}, 0),
    ("rsa", {}, 0),
    ("rsa", {"dissimilarity": "correlation"}, 0),
    ("rsa", {"dissimilarity": "cosine", "comparison": "cosine"}, 0),
    ("rsa", {"comparison": "whitened_cosine"}, 0),
    ("rsa", {"comparison": "soft_spearman"}, 0),
    ("procrustes", {}, 1),
    ("procrustes", {"alpha": 0.5, "angular": True}, 3),
    ("soft_matching", {}, 5),
    pytest.param("soft_matching", {"temperature": 0.005}, 5, marks=pytest.mark.slow),
]
N, P, V = 16, 5, 7
pytestmark = pytest.mark.filterwarnings("ignore:comparison='cosine'", "ignore:soft matching did not converge")


def batch(missing, repeated):
    x, y = torch.randn(N, P, dtype=torch.float64), torch.randn(N, V, dtype=torch.float64)
    if missing:
        y[3], y[1, 2], y[:, 1] = torch.nan, torch.nan, torch.nan
    return (x, y, torch.arange(N) % 13) if repeated else (x, y)


def step(loss, preds, *others):
    preds.grad = None
    value = loss(preds.requires_grad_(), *others)
    value.backward()
    return value.detach(), preds.grad


@pytest.mark.parametrize("repeated", [False, True])
@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize(("name", "options", "limit"), MEASURES, ids=str)
def test_waits_after_the_first_batch(name, options, limit, missing, repeated):
    ceiling = torch.linspace(0, 1, V)
    here, there = (NeuralAlignmentLoss(name, noise_ceiling=ceiling, **options) for _ in range(2))
    there, tensors = on_stand_in(there), batch(missing, repeated)
    moved = on_stand_in(tensors)
    with StandIn():
        step(there, *moved)
    with StandIn() as device:
        value, gradient = step(there, *moved)
    assert device.waits.total() <= limit, device.waits
    assert not device.copies and not device.mixes
    step(here, *tensors)
    expected, reference = step(here, *tensors)
    torch.testing.assert_close(value.cpu(), expected, rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(gradient.cpu(), reference, rtol=1e-5, atol=1e-8)
    assert bool(there.last_valid.cpu()) and there.last_valid.device == moved[0].device


@pytest.mark.parametrize("repeated", [False, True])
@pytest.mark.parametrize("missing", [False, True])
def test_waits_of_a_callable(missing, repeated):
    def own(preds, target):
        return (preds.mean() - target.mean()).square()

    own.paired = False
    loss, tensors = NeuralAlignmentLoss(own), on_stand_in(batch(missing, repeated))
    with StandIn() as device:
        step(loss, *tensors)
    assert device.waits.total() <= (5 if repeated else 3), device.waits


@pytest.mark.parametrize("missing", [False, True])
def test_waits_before_a_measure_that_takes_no_mask(missing):
    """What stands between the loss and a measure that gets the rows that count: one look, and one for preds."""

    def own(preds, target, weight):
        return (preds.mean() - target.mean()).square()

    own.paired = False
    loss, tensors = NeuralAlignmentLoss(own), on_stand_in(batch(missing, False))
    with StandIn():
        step(loss, *tensors)
    with StandIn() as device:
        step(loss, *tensors)
    assert device.waits.total() <= 2, device.waits


def test_an_error_in_words_on_the_first_batch_and_nan_later():
    x, y = batch(False, False)
    good, bad = on_stand_in((x, y)), on_stand_in((x, torch.where(torch.arange(V) == 1, torch.inf, y)))
    with pytest.raises(ValueError, match="target has infinite values"), StandIn():
        step(NeuralAlignmentLoss("cka"), *bad)
    loss = NeuralAlignmentLoss("cka")
    with StandIn():
        step(loss, *good)
        assert all(bool(part.cpu().isnan().all()) for part in step(loss, *bad))
