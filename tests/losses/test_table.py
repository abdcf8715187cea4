"""Every loss answers the same questions. A registered measure is asked by being registered."""

import pickle

import pytest
import torch

from neuroalign import CategoryManifolds, ManifoldGuidanceLoss, NeuralAlignmentLoss, NonNeuralManifoldLoss
from neuroalign.losses import MEASURES

N, V, C = 24, 6, 3
LABELS = torch.arange(N) % C


def features(dtype=torch.float32):
    g = torch.Generator().manual_seed(1)
    centers = 3 * torch.randn(C, V, generator=g, dtype=torch.float64)
    return (centers[LABELS] + torch.randn(N, V, generator=g, dtype=torch.float64)).to(dtype)


def alignment(measure):
    def make():
        return NeuralAlignmentLoss(measure)

    return make


def manifold_guidance():
    return ManifoldGuidanceLoss(CategoryManifolds.from_features(features(), LABELS, variance=0.8))


# name -> (makes the loss, its second argument, an input at which it is 0)
TABLE = {f"alignment-{m}": (alignment(m), features(), features()) for m in MEASURES}
TABLE["manifold"] = (manifold_guidance, LABELS, None)
TABLE["non-neural"] = (lambda: NonNeuralManifoldLoss(radius=1.0), LABELS, torch.zeros(N, V))


@pytest.fixture(params=TABLE, ids=str)
def case(request):
    make, second, perfect = TABLE[request.param]
    g = torch.Generator().manual_seed(2)
    return make(), torch.randn(N, V, generator=g), second, perfect


def test_scalar_finite_and_positive(case):
    loss, x, second, _ = case
    value = loss(x, second)
    assert value.shape == ()
    assert torch.isfinite(value)
    assert value > 0


def test_zero_where_it_says(case):
    loss, _, second, perfect = case
    if perfect is None:
        pytest.skip("this loss is 0 only for embeddings inside the manifolds: see its own test")
    assert abs(float(loss(perfect, second))) < 1e-6


def test_gradient_is_right_in_float64(case):
    loss, x, second, _ = case
    second = second.double() if second.is_floating_point() else second
    x = x.double().requires_grad_()
    assert torch.autograd.gradcheck(lambda z: loss.double()(z, second), x)


def test_float64_stays_float64(case):
    loss, x, second, _ = case
    second = second.double() if second.is_floating_point() else second
    assert loss.double()(x.double(), second).dtype == torch.float64


def test_gradient_reaches_the_predictions_only(case):
    loss, x, second, _ = case
    x = x.requires_grad_()
    loss(x, second).backward()
    assert x.grad is not None
    assert torch.isfinite(x.grad).all()
    assert x.grad.abs().sum() > 0
    assert not [p for p in loss.parameters() if p.grad is not None]


def test_same_value_under_bf16_autocast(case):
    loss, x, second, _ = case
    expected = loss(x, second)
    with torch.autocast("cpu", torch.bfloat16):
        value = loss(x, second)
    torch.testing.assert_close(value, expected)


def test_bf16_input_is_computed_in_float32(case):
    loss, x, second, _ = case
    x = x.bfloat16()
    value = loss(x, second)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, loss(x.float(), second))


def test_pickle_and_state_dict(case):
    loss, x, second, _ = case
    expected = loss(x, second)
    torch.testing.assert_close(pickle.loads(pickle.dumps(loss))(x, second), expected)
    loss.load_state_dict(loss.state_dict())
    assert repr(loss)


def test_different_stimuli_are_refused(case):
    loss, x, second, _ = case
    with pytest.raises(ValueError, match=r"stimuli|rows"):
        loss(x, second[:-1])


def test_order_of_stimuli_does_not_matter(case):
    loss, x, second, _ = case
    order = torch.randperm(N)
    torch.testing.assert_close(loss(x[order], second[order]), loss(x, second))


def test_deterministic_and_stateless(case):
    loss, x, second, _ = case
    assert torch.equal(loss(x, second), loss(x, second))
