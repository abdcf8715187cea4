import numpy as np
import pytest
import torch

from neuroalign.functional import center_directions
from neuroalign.functional.center_correlation import _cost_and_gradient, _descend
from tests.geometry_references import center_correlation as ref


def centers(num=12, width=40, shared=1.0, seed=1):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((num, width)) + shared * rng.standard_normal((num, 2)) @ rng.standard_normal((2, width)) * 2
    return torch.from_numpy(x - x.mean(0))


def test_cost_and_gradient():
    x = centers()[:, :11].contiguous()
    v = torch.linalg.qr(torch.randn(11, 3, dtype=torch.float64))[0]
    cost, gradient = _cost_and_gradient(x, x @ x.T, v[None])
    assert float(cost) == pytest.approx(ref.removal_cost(v.numpy(), x.numpy()), rel=1e-12)
    full = torch.func.grad(lambda u: _cost_and_gradient(x, x @ x.T, u[None])[0].sum())(v)
    torch.testing.assert_close(gradient[0], full - v @ (v.T @ full))


@pytest.mark.parametrize("shared", [0.0, 1.0])
@pytest.mark.slow
def test_minima_are_those_of_conjugate_gradient(shared):
    """There are many local minima; where one optimiser stopped, the other stays.

    Minima at which a centre nearly vanishes are left out: its cosines, and with them the cost, are not smooth there.
    """
    c = centers(12, shared=shared)
    theirs = ref.remove_center_correlations([x[None] for x in c.numpy()])
    x = torch.from_numpy(theirs["X"])
    generator, compared = torch.Generator().manual_seed(0), 0
    for k, v in enumerate(theirs["solutions"][:3]):
        cost, found = _descend(x, torch.from_numpy(v)[None], 1000, 1e-6)
        assert float(cost) == pytest.approx(theirs["costs"][k], rel=1e-9)
        start = torch.linalg.qr(torch.randn(8, *v.shape, generator=generator, dtype=torch.float64))[0]
        for cost, found in zip(*_descend(x, start, 1000, 1e-6)):
            left = (x - x @ found @ found.T).norm(dim=1) / x.norm(dim=1)
            if float(left.min()) > 0.2:
                moved = ref._minimise_on_stiefel(found.numpy(), x.numpy())
                assert ref.removal_cost(moved, x.numpy()) == pytest.approx(float(cost), rel=1e-9)
                compared += 1
    assert compared > 5


@pytest.mark.slow
def test_lowest_of_many_starts_is_that_of_conjugate_gradient():
    c = centers(5, 30, shared=0.5)
    mine = center_directions(c @ c.T, select="cost", num_starts=60)
    theirs = ref.remove_center_correlations([x[None] for x in c.numpy()], select="cost", num_starts=60)
    # Which starts end in the lowest minimum depends on rounding, and so on the machine: theirs may miss it.
    assert (mine.costs.numpy() <= np.multiply(theirs["costs"], 1 + 1e-8)).all()
    np.testing.assert_allclose(mine.costs[:2], theirs["costs"][:2], rtol=1e-8)
    assert mine.num_removed == theirs["num_removed"]
    assert float(mine.initial_correlation) == pytest.approx(theirs["initial_correlation"], rel=1e-10)
    assert float(mine.correlation) == pytest.approx(theirs["residual_correlation"], abs=2e-6)


def test_directions_are_orthonormal_and_leave_the_reported_correlation():
    c = centers()
    found = center_directions(c @ c.T)
    directions = c.T @ found.coefficients
    torch.testing.assert_close(directions.T @ directions, torch.eye(found.num_removed, dtype=torch.float64))
    left = c - c @ directions @ directions.T
    assert float(found.correlation) == pytest.approx(ref.center_correlation(left.numpy()), rel=1e-6)
    assert float(found.correlation) < 0.5 * float(found.initial_correlation)
    assert float(found.correlation) == float(found.correlations[found.num_removed - 1])


def test_selection_rules_differ_as_named():
    c = centers(12, shared=0.0)
    stable, cheap = (center_directions(c @ c.T, select=select) for select in ("stability", "cost"))
    assert float(cheap.costs[0]) < float(stable.costs[0]) - 0.05  # the first K starts alike for both
    assert bool((cheap.costs[:2] <= stable.costs[:2] + 0.01).all())


def test_same_seed_same_directions():
    c = centers()
    one, two = (center_directions(c @ c.T, seed=3) for _ in range(2))
    assert torch.equal(one.coefficients, two.coefficients)


def test_the_order_of_the_classes_plays_no_part():
    c = centers(shared=0.0)
    order = torch.randperm(12, generator=torch.Generator().manual_seed(0))
    one, two = (center_directions(x @ x.T) for x in (c, c[order]))
    torch.testing.assert_close(c.T @ one.coefficients, c[order].T @ two.coefficients, rtol=0, atol=1e-9)


def test_planted_directions_are_found():
    """Centres that are orthogonal but for two shared directions."""
    rng = np.random.default_rng(0)
    shared = np.linalg.qr(rng.standard_normal((60, 2)))[0]
    c = np.eye(10, 60) - np.eye(10, 60) @ shared @ shared.T + 3 * rng.standard_normal((10, 2)) @ shared.T
    c = torch.from_numpy(c - c.mean(0))
    found = center_directions(c @ c.T)
    directions = c.T @ found.coefficients
    assert found.num_removed == 2
    assert float(torch.linalg.svdvals(directions.T @ torch.from_numpy(shared)).min()) > 0.95


@pytest.mark.parametrize("num", [2, 3])
def test_few_centers_keep_everything(num):
    c = centers(num)
    found = center_directions(c @ c.T)
    assert found.num_removed == 0 and found.coefficients.shape == (num, 0)
    assert float(found.correlation) == float(found.initial_correlation)


@pytest.mark.parametrize("width", [1, 2, 3])
def test_more_classes_than_features(width):
    c = centers(10, width)
    found = center_directions(c @ c.T)
    assert found.num_removed <= width - 1
    directions = c.T @ found.coefficients
    assert float((c - c @ directions @ directions.T).norm(dim=1).min()) > 0


def test_bad_input():
    with pytest.raises(ValueError, match="select"):
        center_directions(torch.eye(5), select="smallest")
    with pytest.raises(ValueError, match="num_starts"):
        center_directions(torch.eye(5), num_starts=0)
