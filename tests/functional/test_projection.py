import math

import pytest
import torch

from neuroalign.functional import manifold_capacity, random_projection

D = torch.float64


def test_inner_products_are_right_on_average_and_as_exact_as_stated():
    g = torch.Generator().manual_seed(0)
    x = torch.randn(4, 3000, generator=g, dtype=D)
    products = torch.stack([p @ p.T for p in (random_projection(x, 100, seed=s) for s in range(400))])
    lengths = x.norm(dim=1)
    scale = lengths[:, None] * lengths
    error = (products - x @ x.T) / scale
    assert float((error.mean(0)).abs().max()) < 4 * math.sqrt(2 / 100 / 400)
    assert float(error.std(0).max()) < 1.1 * math.sqrt(2 / 100)


def test_geometry_survives():
    g = torch.Generator().manual_seed(0)
    x = torch.randn(8, 1, 30_000, generator=g) + 0.7 * torch.randn(8, 12, 30_000, generator=g)
    y = torch.arange(8).repeat_interleave(12)
    whole, less = manifold_capacity(x.flatten(0, 1), y), manifold_capacity(random_projection(x.flatten(0, 1), 5000), y)
    assert float(less.capacity) == pytest.approx(float(whole.capacity), rel=0.03)


def test_narrow_features_stay_and_the_seed_decides():
    x = torch.randn(3, 50)
    assert random_projection(x, 50) is x
    assert torch.equal(random_projection(x, 10, seed=1), random_projection(x, 10, seed=1))
    assert not torch.equal(random_projection(x, 10, seed=1), random_projection(x, 10, seed=2))


def test_bad_input():
    with pytest.raises(ValueError, match="stimulus, feature"):
        random_projection(torch.randn(3), 2)
    with pytest.raises(ValueError, match="num_components"):
        random_projection(torch.randn(3, 4), 0)
