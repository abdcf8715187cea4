"""Geometry of category manifolds, over a data set."""

import pytest
import torch

from neuroalign import ManifoldGeometry
from neuroalign.functional import manifold_radius, participation_ratio, separability


def test_geometry_of_batches_is_that_of_the_whole():
    x, y = torch.randn(90, 6) + 3 * torch.eye(6)[torch.arange(90) % 3], torch.arange(90) % 3
    metric = ManifoldGeometry()
    for part in torch.randperm(90).split(17):
        metric.update(x[part], y[part], part)
    got = metric.compute()
    torch.testing.assert_close(got["radius"], manifold_radius(x, y).mean())
    torch.testing.assert_close(got["participation_ratio"], participation_ratio(x, y).mean())
    torch.testing.assert_close(got["separability"], separability(x, y))


def test_geometry_of_so_many_images_a_class():
    x, y = torch.randn(90, 6), torch.arange(90) % 3
    limited = ManifoldGeometry(num_per_class=10)
    for part in torch.randperm(90).split(17):
        limited.update(x[part], y[part], part)
    first = ManifoldGeometry()
    first.update(x[:30], y[:30])
    torch.testing.assert_close(limited.compute(), first.compute())


def test_a_manifold_needs_two_images():
    with pytest.raises(ValueError, match="at least 2 images a class"):
        ManifoldGeometry(num_per_class=1)
