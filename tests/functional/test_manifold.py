import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from neuroalign.functional import (
    effective_rank,
    manifold_radius,
    nearest_center_signal,
    participation_ratio,
    separability,
    variance_ratio,
)
from tests import references as ref
from tests.geometry_references import descriptors


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


def test_more_measures_against_the_references():
    x, y = clouds()
    parts = [x[y == c].numpy() for c in range(4)]
    for spectrum, name in (("singular", "singular"), ("variance", "eigen")):
        expected = [descriptors.effective_rank(p, name) for p in parts]
        np.testing.assert_allclose(effective_rank(x, y, spectrum=spectrum), expected, rtol=1e-9)
    assert float(variance_ratio(x, y)) == pytest.approx(descriptors.within_between_ratio(parts), rel=1e-9)
    np.testing.assert_allclose(manifold_radius(x, y, relative=False), [descriptors.rms_radius(p) for p in parts])
    centers = [p.mean(0) for p in parts]
    nearest = [min(np.linalg.norm(a - b) for j, b in enumerate(centers) if j != i) for i, a in enumerate(centers)]
    np.testing.assert_allclose(
        nearest_center_signal(x, y), nearest / np.array([descriptors.rms_radius(p) for p in parts])
    )


@pytest.mark.parametrize("k", [1, 2, 5])
def test_k_equal_directions_have_effective_rank_k(k):
    x = torch.cat([torch.eye(k, 9), -torch.eye(k, 9)])
    assert float(effective_rank(x)) == pytest.approx(k, rel=1e-5)
    uneven = x * torch.arange(1, 10)
    assert k == 1 or float(effective_rank(uneven)) > float(participation_ratio(uneven))  # entropy sees small directions


def test_ratios_of_balls_at_a_distance():
    ball = torch.cat([torch.eye(3), -torch.eye(3)]).double()
    x, y = torch.cat([ball, ball + 4]), torch.arange(2).repeat_interleave(6)
    assert float(variance_ratio(x, y)) == pytest.approx(1 / 12)
    assert float(separability(x, y)) == pytest.approx(1 / (1 + 1 / 12))
    np.testing.assert_allclose(nearest_center_signal(x, y), 48**0.5)


def test_more_measures_refuse_a_single_class():
    x, y = torch.randn(5, 2), torch.zeros(5, dtype=torch.long)
    for measure in (variance_ratio, nearest_center_signal):
        with pytest.raises(ValueError, match="at least two"):
            measure(x, y)
    with pytest.raises(ValueError, match="spectrum"):
        effective_rank(x, y, spectrum="entropy")


def test_corrected_participation_ratio_depends_less_on_the_number_of_points():
    """The formula in numpy, and that of many clouds its mean is nearer to the population's than the plain ratio's."""
    rng = np.random.default_rng(0)
    scales = 1 / np.sqrt(np.arange(1, 61))
    truth = (scales**2).sum() ** 2 / (scales**4).sum()
    x = torch.from_numpy(rng.standard_normal((100, 100, 60)) * scales)
    for num in (30, 100):
        plain, corrected = (
            np.mean([float(participation_ratio(cloud[:num], corrected=c)) for cloud in x]) for c in (False, True)
        )
        assert plain < 0.9 * truth and abs(corrected - truth) < 0.4 * (truth - plain)
    m, s = 30, np.cov(x[0, :30].numpy().T)
    first, second = np.trace(s) ** 2, np.trace(s @ s)
    n = m - 1
    ratio = ((n + 1) * first - 2 * second) / (n * second - first)
    assert float(participation_ratio(x[0, :30], corrected=True)) == pytest.approx(ratio, rel=1e-9)
    with pytest.raises(ValueError, match="three points of every class; one has 2"):
        participation_ratio(torch.randn(5, 3), torch.tensor([0, 0, 0, 1, 1]), corrected=True)
