"""Random points of balls, and budgets."""

import pytest
import torch
from scipy import stats

from neuroalign.perturbations.attacks.budget import per_sample, random_points

GREY = torch.full((2000, 3, 2, 2), 0.5)  # so that the box never binds
INDEX = torch.arange(2000)


def points(norm, index=INDEX, **which):
    images = GREY[: len(index)]
    eps = torch.full((len(index), 1, 1, 1), 0.1)
    return random_points(images, eps, norm, index, **({"seed": 0, "stream": 0} | which)) - images


def test_points_of_a_cube_are_uniform():
    shares = points("linf").double().flatten().numpy() / 0.1
    assert abs(shares).max() <= 1 + 1e-6
    assert stats.kstest(shares, stats.uniform(-1, 2).cdf).pvalue > 1e-3


def test_points_of_a_ball_are_uniform():
    delta = points("l2").double().flatten(1) / 0.1
    radius = delta.norm(dim=1)
    assert radius.max() <= 1 + 1e-6
    assert stats.kstest((radius**12).numpy(), stats.uniform.cdf).pvalue > 1e-3
    # a coordinate of a direction: its square is Beta(1/2, (d - 1)/2)
    direction = (delta / radius[:, None]).square().flatten().numpy()
    assert stats.kstest(direction, stats.beta(0.5, 5.5).cdf).pvalue > 1e-3
    assert (delta > 0).double().mean() == pytest.approx(0.5, abs=5 * 0.5 / 24000**0.5)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_points_belong_to_the_image(norm):
    whole, order = points(norm), torch.randperm(2000, generator=torch.Generator().manual_seed(0))[:33]
    assert torch.equal(points(norm, order), whole[order])
    for which in ({"seed": 1}, {"stream": 1}):
        assert not torch.isclose(points(norm, **which), whole).all(1).any()


def test_budgets():
    images = torch.rand(3, 3, 4, 4).double()
    for eps in (0.1, torch.tensor(0.1), [0.1, 0.1, 0.1], torch.full((3,), 0.1)):
        found = per_sample(eps, images, "linf")
        assert found.shape == (3, 1, 1, 1) and found.dtype == images.dtype
        torch.testing.assert_close(found, torch.full((3, 1, 1, 1), 0.1).to(images), atol=1e-8, rtol=0)
    assert (per_sample(float("inf"), images, "l2") == 48**0.5).all()
    for eps in (-0.1, float("nan"), [0.1, -0.1, 0.1]):
        with pytest.raises(ValueError, match="must not be negative"):
            per_sample(eps, images, "l2")
    for eps in (8, [0.1, 8.0, 0.1]):
        with pytest.raises(ValueError, match="got 8: divide by 255"):
            per_sample(eps, images, "linf")
