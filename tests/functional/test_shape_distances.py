"""Procrustes similarity and soft matching: closed forms, gradients at any rank, limits."""

import math

import pytest
import torch
from scipy.optimize import linear_sum_assignment

from neuroalign.functional import cca, procrustes, shape_distance, soft_matching
from neuroalign.functional.missing import prepare
from neuroalign.functional.nuclear_norms import nuclear_norm
from neuroalign.functional.shape_distances import angle, procrustes_terms
from tests import similarity_references as ref


def sets(seed=0, n=12, p=5, v=6):
    g = torch.Generator().manual_seed(seed)
    x, y = torch.randn(n, p, generator=g).double(), torch.randn(n, v, generator=g).double()
    y[:, : min(p, v)] += x[:, : min(p, v)]
    return x, y


@pytest.mark.parametrize(("n", "p", "v"), [(12, 5, 6), (12, 6, 5), (4, 7, 9), (4, 9, 7), (5, 5, 5)])
def test_nuclear_norm_and_its_gradient(n, p, v):
    x, y = sets(n=n, p=p, v=v)
    x.requires_grad_(), y.requires_grad_()
    torch.testing.assert_close(nuclear_norm(x, y), torch.linalg.matrix_norm(x.T @ y, "nuc"))
    assert torch.autograd.gradcheck(nuclear_norm, (x, y))


@pytest.mark.parametrize(("n", "p", "v"), [(12, 5, 6), (4, 7, 9)])
def test_gradient_at_rank_deficiency_is_a_subgradient(n, p, v):
    """|.|_* is convex: with a subgradient g at x, |x + d|_* >= |x|_* + <g, d>."""
    x, y = sets(n=n, p=p, v=v)
    x = (x[:, :1] @ torch.ones(1, p).double()).requires_grad_()
    value = nuclear_norm(x, y)
    g = torch.autograd.grad(value, x)[0]
    assert torch.isfinite(g).all() and (g != 0).any()
    for seed in range(5):
        d = 0.1 * torch.randn(n, p, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
        assert nuclear_norm(x + d, y) >= value + (g * d).sum() - 1e-9


@pytest.mark.parametrize(("n", "p", "v"), [(12, 5, 6), (5, 12, 20), (5, 20, 12)])
def test_where_predictions_are_constant_procrustes_is_undefined_and_its_gradient_0(n, p, v):
    _, y = sets(n=n, p=p, v=v)
    x = torch.ones(n, p, dtype=torch.float64, requires_grad=True)
    value, defined = procrustes_terms(*prepare(x, y, None))
    value.backward()
    assert float(value) == 0
    assert not defined
    assert torch.equal(x.grad, torch.zeros_like(x))


def test_whitened_procrustes_is_the_sum_of_canonical_correlations():
    x, y = sets(n=40)
    expected = cca(x, y).sum() / (5 * 6) ** 0.5
    torch.testing.assert_close(procrustes(x, y, alpha=0.0), expected, rtol=1e-3, atol=0)


@pytest.mark.parametrize("alpha", [0.0, 0.3, 0.9])
@pytest.mark.parametrize(("n", "p", "v"), [(12, 5, 6), (5, 7, 9)])
def test_gradient_through_whitening(alpha, n, p, v):
    x, y = sets(n=n, p=p, v=v)
    assert torch.autograd.gradcheck(lambda z: procrustes(z, y, alpha=alpha), x.requires_grad_(), atol=1e-4)


def test_the_shape_distance_is_a_metric():
    zs = [sets(seed, p=5, v=5)[1] for seed in range(4)]
    for a in zs:
        assert float(shape_distance(a, 2 * a + 1)) < 1e-6
        for b in zs:
            torch.testing.assert_close(shape_distance(a, b), shape_distance(b, a))
            for c in zs:
                assert shape_distance(a, c) <= shape_distance(a, b) + shape_distance(b, c) + 1e-6


def test_angle_has_a_finite_gradient_at_one():
    s = torch.tensor([1.0, 0.5], requires_grad=True)
    angle(s).sum().backward()
    assert s.grad.tolist() == pytest.approx([0.0, -1 / math.sqrt(0.75)])


def test_soft_matching_becomes_the_best_assignment():
    x, y = sets(p=6, v=6)
    r = torch.corrcoef(torch.cat([x, y], 1).T)[:6, 6:].numpy()
    rows, columns = linear_sum_assignment(-r)
    assert float(soft_matching(x, y, temperature=1e-4)) == pytest.approx(r[rows, columns].mean(), abs=2e-3)


def test_soft_matching_of_different_numbers_becomes_optimal_transport():
    x, y = sets(p=5, v=7)
    r = ref.feature_correlations(x.numpy(), y.numpy())
    hard = ref.hard_matching(r, [1 / 5] * 5, [1 / 7] * 7)
    soft = float(soft_matching(x, y, temperature=1e-3))
    assert hard - 1e-3 * math.log(7) - 1e-6 <= soft <= hard + 1e-9


def test_soft_matching_asks_for_axes():
    x, _ = sets(p=6, n=50)
    turned = x @ torch.linalg.qr(torch.randn(6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0)))[0]
    assert float(soft_matching(x, x.flip(1), temperature=1e-3)) == pytest.approx(1, abs=0.01)
    assert float(soft_matching(x, turned, temperature=1e-3)) < 0.9


@pytest.mark.parametrize("p", [4, 5])
def test_gradient_of_soft_matching(p):
    x, y = sets(p=p)
    assert torch.autograd.gradcheck(lambda z: soft_matching(z, y, temperature=0.1), x.requires_grad_(), atol=1e-5)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x, y: procrustes(x, y, alpha=1.5), r"alpha must be in \[0, 1\]"),
        (lambda x, y: soft_matching(x, y, temperature=0), "temperature must be positive and finite; got 0"),
    ],
)
def test_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call(*sets())
