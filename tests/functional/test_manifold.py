import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from neuroalign.functional import manifold_radius, participation_ratio, separability
from tests import references as ref


def clouds(seed=0, n=60, d=7, c=4):
    g = torch.Generator().manual_seed(seed)
    labels = torch.randint(c, (n,), generator=g)
    x = torch.randn(c, d, generator=g, dtype=torch.float64)[labels]
    return x + torch.randn(n, d, generator=g, dtype=torch.float64), labels


def test_against_the_references():
    x, y = clouds()
    pooled = manifold_radius(x, y)[y].square().mean().sqrt()  # the reference pools the members of all classes
    assert float(pooled) == pytest.approx(ref.class_radius(x.numpy(), y.numpy()))
    for c in range(4):
        spread = np.sqrt(np.mean(np.sum((x[y == c] - x[y == c].mean(0)).numpy() ** 2, 1)))
        assert float(manifold_radius(x, y, relative=False)[c]) == pytest.approx(spread)
    per_class = [ref.participation_ratio(x[y == c].numpy()) for c in range(4)]
    np.testing.assert_allclose(participation_ratio(x, y), per_class)
    assert float(separability(x, y)) == pytest.approx(ref.separability(x.numpy(), y.numpy()))


@pytest.mark.parametrize("k", [1, 2, 5])
def test_k_equal_directions_have_participation_ratio_k(k):
    x = torch.cat([torch.eye(k, 9), -torch.eye(k, 9)])
    assert float(participation_ratio(x)) == pytest.approx(k)


def test_points_and_spheres():
    y = torch.tensor([0, 0, 1, 1])
    points = torch.tensor([[0.0, 1.0], [0.0, 1.0], [5.0, 2.0], [5.0, 2.0]])
    assert torch.equal(manifold_radius(points, y), torch.zeros(2))
    assert float(separability(points, y)) == 1
    sphere = torch.nn.functional.normalize(torch.randn(500, 10), dim=1) * 3
    radius = manifold_radius(sphere, torch.zeros(500, dtype=torch.long), relative=False)
    assert float(radius) == pytest.approx(3, rel=0.01)
    assert float(participation_ratio(sphere)) == pytest.approx(10, rel=0.05)


def test_labels_that_say_nothing():
    x = torch.randn(400, 50)
    y = torch.arange(400) % 5
    assert float(separability(x, y)) == pytest.approx(4 / 399, rel=0.3)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.floats(0.01, 100))
def test_invariances(seed, scale):
    x, y = clouds(seed)
    q, _ = torch.linalg.qr(torch.randn(7, 7, dtype=torch.float64))
    moved = scale * x @ q + 10
    for quantity in (manifold_radius, participation_ratio, separability):
        torch.testing.assert_close(quantity(moved, y), quantity(x, y), rtol=1e-6, atol=1e-8)
    assert not torch.allclose(manifold_radius(2 * x, y, relative=False), manifold_radius(x, y, relative=False))


def test_refusals():
    x, y = clouds()
    with pytest.raises(ValueError, match="at least two classes"):
        manifold_radius(x, torch.zeros_like(y))
    with pytest.raises(ValueError, match=r"must be \(stimulus, feature\)"):
        separability(x[0], y)
