"""Every loss answers the same questions. A registered measure is asked by being registered."""

import pickle
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import pytest
import torch

from neuroalign import (
    CategoryManifolds,
    ManifoldGuidanceLoss,
    NeuralAlignmentLoss,
    NonNeuralManifoldLoss,
    OddOneOutLoss,
    RDMAlignmentLoss,
)
from neuroalign.functional import rdm
from neuroalign.losses import MEASURES

N, V, C = 24, 6, 3
LABELS = torch.arange(N) % C


def features(dtype=torch.float32):
    g = torch.Generator().manual_seed(1)
    centers = 3 * torch.randn(C, V, generator=g, dtype=torch.float64)
    return (centers[LABELS] + torch.randn(N, V, generator=g, dtype=torch.float64)).to(dtype)


def manifold_guidance():
    return ManifoldGuidanceLoss(CategoryManifolds.from_features(features(), LABELS, variance=0.8))


@dataclass
class Case:
    make: Callable  # of the loss; options may follow
    second: torch.Tensor  # its second argument
    perfect: torch.Tensor | None  # an input at which it is 0
    exact_options: dict = field(default_factory=dict)
    order_matters: bool = False


def of_measure(name):
    measure = MEASURES[name]
    perfect = features()
    target = perfect.exp() if measure.counts else perfect  # log rates that are right
    return Case(
        partial(NeuralAlignmentLoss, name),
        target,
        perfect if measure.attains_zero else None,
        dict(measure.exact_options),
        measure.order_matters,
    )


TABLE = {f"alignment-{name}": of_measure(name) for name in MEASURES}
TABLE["manifold"] = Case(manifold_guidance, LABELS, None)
TABLE["non-neural"] = Case(NonNeuralManifoldLoss, LABELS, torch.eye(N, V)[LABELS])
TABLE["non-neural, paper"] = Case(
    lambda: NonNeuralManifoldLoss(radius=1.0, normalized=False), LABELS, torch.zeros(N, V)
)
TABLE["rdm"] = Case(partial(RDMAlignmentLoss, rdm(features())), torch.arange(N), features())
TABLE["odd-one-out"] = Case(OddOneOutLoss, torch.stack([torch.arange(N).roll(k) for k in range(3)], 1), None)


@pytest.fixture(params=TABLE, ids=str)
def case(request):
    chosen = TABLE[request.param]
    g = torch.Generator().manual_seed(2)
    return chosen.make(), torch.randn(N, V, generator=g), chosen.second, chosen


def test_scalar_finite_and_positive(case):
    loss, x, second, _ = case
    value = loss(x, second)
    assert value.shape == ()
    assert torch.isfinite(value)
    assert value > 0


def test_zero_where_it_says(case):
    loss, _, second, chosen = case
    if chosen.perfect is None:
        pytest.skip("this loss has no input here at which it is 0: its own tests say where its minimum is")
    x = chosen.perfect.clone().requires_grad_()
    value = loss(x, second)
    assert abs(float(value)) < 2e-6
    value.backward()
    assert torch.isfinite(x.grad).all()


def test_gradient_is_right_in_float64(case):
    _, x, second, chosen = case
    loss = chosen.make(**chosen.exact_options).double()
    second = second.double() if second.is_floating_point() else second
    assert torch.autograd.gradcheck(lambda z: loss(z, second), x.double().requires_grad_(), atol=1e-6)


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
    assert all(torch.isfinite(p.grad).all() for p in loss.parameters())  # what it learns itself
    assert not second.requires_grad


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
    with pytest.raises(ValueError, match=r"stimuli|rows|must index"):
        loss(x, second[:-1]) if not isinstance(loss, OddOneOutLoss) else loss(x[:-1], second)


def test_constant_predictions_are_finite(case):
    loss, x, second, _ = case
    for value in (0.0, 1.0):
        constant = torch.full_like(x, value, requires_grad=True)
        result = loss(constant, second)
        result.backward()
        assert torch.isfinite(result)
        assert torch.isfinite(constant.grad).all()


def test_integers_are_refused(case):
    loss, x, second, _ = case
    with pytest.raises(TypeError, match="floating point"):
        loss(x.long(), second)


def test_order_of_stimuli_does_not_matter(case):
    loss, x, second, chosen = case
    if chosen.order_matters:
        pytest.skip("this loss says that it depends on the order: its folds do")
    order = torch.randperm(N)
    if isinstance(loss, OddOneOutLoss):  # whose second argument points into the first
        torch.testing.assert_close(loss(x[order], order.argsort()[second]), loss(x, second))
        return
    torch.testing.assert_close(loss(x[order], second[order]), loss(x, second))


def test_deterministic_and_stateless(case):
    loss, x, second, _ = case
    assert torch.equal(loss(x, second), loss(x, second))
