"""The kernel form of category manifolds."""

import math

import pytest
import torch

from neuroalign import CategoryManifolds, ManifoldGuidanceLoss
from neuroalign.config import build
from neuroalign.losses import RandomFourierFeatures
from tests.distributed import averaged, run_on_ranks

D = torch.float64


def rings(n=300, seed=0):
    """Two classes on rings about the same centre: no ball or plane tells them apart, a kernel does."""
    g = torch.Generator().manual_seed(seed)
    angle = 2 * math.pi * torch.rand(n, generator=g, dtype=D)
    labels = torch.arange(n) % 2
    radius = 1 + 2.0 * labels
    return radius[:, None] * torch.stack([angle.cos(), angle.sin()], 1), labels


def test_inner_products_approximate_the_kernel():
    x = torch.randn(30, 4, dtype=D, generator=torch.Generator().manual_seed(0))
    feature_map = RandomFourierFeatures(4, 8000, bandwidth=1.5)
    kernel = torch.exp(-torch.cdist(x, x).square() / (2 * 1.5**2))
    mapped = feature_map(x)
    assert mapped.dtype == D
    assert float((mapped @ mapped.T - kernel).abs().max()) < 4.5 / math.sqrt(8000)
    torch.testing.assert_close(mapped.norm(dim=1), torch.ones(30, dtype=D))


def test_median_distance():
    x, _ = rings()
    distances = torch.pdist(x)
    found = RandomFourierFeatures.from_features(x)
    assert found.config["init_args"]["bandwidth"] == pytest.approx(float(distances.float().median()), rel=1e-5)
    with pytest.raises(ValueError, match="two rows that differ"):
        RandomFourierFeatures.from_features(torch.ones(3, 2))


def test_radius_in_the_kernel_space_is_the_kernels():
    """Mean squared distance to the centre is 1 - mean k: a value that needs no feature map."""
    x, y = rings()
    feature_map = RandomFourierFeatures(2, 6000, bandwidth=1.0)
    manifolds = CategoryManifolds.from_features(x, y, feature_map=feature_map)
    for c in range(2):
        kernel = torch.exp(-torch.cdist(x[y == c], x[y == c]).square() / 2)
        assert float(manifolds.radii[c]) ** 2 == pytest.approx(1 - float(kernel.mean()), abs=0.02)


def test_an_embedding_out_of_reach_is_told():
    """From far away the kernel sees nothing but the noise of its random features."""
    x, y = rings()
    feature_map = RandomFourierFeatures.from_features(x, 1024)
    loss = ManifoldGuidanceLoss(CategoryManifolds.from_features(x, y, feature_map=feature_map))
    bandwidth = feature_map.config["init_args"]["bandwidth"]
    loss(x, y)  # in reach: nothing to tell
    with pytest.warns(UserWarning, match=r"out of the kernel's reach: its likeness to the manifolds is"):
        ManifoldGuidanceLoss(loss.manifolds)(x + 4 * bandwidth, y)


def test_kernel_form_sees_what_the_plain_form_cannot():
    x, y = rings()
    inside = x[y == 0]
    moved = 3 * inside  # the points of the inner ring on the outer one
    plain = ManifoldGuidanceLoss(CategoryManifolds.from_features(x, 1 - y))  # class 0 is the outer ring
    feature_map = RandomFourierFeatures(2, 1024, bandwidth=1.0)
    kernel = ManifoldGuidanceLoss(CategoryManifolds.from_features(x, 1 - y, variance=0.9, feature_map=feature_map))
    labels = torch.zeros(len(inside), dtype=torch.long)
    assert float(plain.terms(inside, labels)["radius"]) == 0  # inside the outer ring's ball
    assert float(kernel.terms(inside, labels)["radius"]) > 0.05
    assert float(kernel.terms(moved, labels)["radius"]) < 0.02


def test_gradient():
    x, y = rings(24)
    feature_map = RandomFourierFeatures.from_features(x, 32)
    loss = ManifoldGuidanceLoss(CategoryManifolds.from_features(x, y, variance=0.5, feature_map=feature_map))
    z = (1.3 * x + 0.2).requires_grad_()
    assert torch.autograd.gradcheck(lambda v: loss(v, y), (z,), atol=1e-5)


def test_is_saved_and_rebuilt_with_its_map(tmp_path):
    x, y = rings()
    manifolds = CategoryManifolds.from_features(x, y, feature_map=RandomFourierFeatures.from_features(x, 64, seed=5))
    manifolds.save(tmp_path / "manifolds.safetensors")
    loaded = CategoryManifolds.load(tmp_path / "manifolds.safetensors")
    loss = ManifoldGuidanceLoss(manifolds)
    torch.testing.assert_close(loss(1.1 * x, y), ManifoldGuidanceLoss(loaded)(1.1 * x, y))
    again = build(loss.config)
    again.load_state_dict(loss.state_dict())
    torch.testing.assert_close(loss(1.1 * x, y), again.double()(1.1 * x, y), rtol=1e-5, atol=1e-6)
    assert manifolds.randomized().feature_map is manifolds.feature_map
    assert manifolds.shared(centers=True, bases=True).feature_map is manifolds.feature_map
    assert loaded.num_inputs == 2 and loaded.num_features == 64


def test_bad_input():
    with pytest.raises(ValueError, match="even"):
        RandomFourierFeatures(3, 7)
    with pytest.raises(ValueError, match="bandwidth"):
        RandomFourierFeatures(3, bandwidth=0.0)
    with pytest.raises(ValueError, match="takes 3 features"):
        RandomFourierFeatures(3)(torch.zeros(1, 4))
    x, y = rings()
    loss = ManifoldGuidanceLoss(CategoryManifolds.from_features(x, y, feature_map=RandomFourierFeatures(2, 16)))
    with pytest.raises(ValueError, match="have 2 features"):
        loss(torch.zeros(4, 16), torch.tensor([0, 0, 1, 1]))
    with pytest.raises(ValueError, match="components"):
        CategoryManifolds.zeros(10, [1, 1], RandomFourierFeatures(2, 16))


def _rank_gradient(rank, world, sizes):
    x, y = rings(sum(sizes))
    feature_map = RandomFourierFeatures(2, 32, bandwidth=1.0)
    loss = ManifoldGuidanceLoss(CategoryManifolds.from_features(x, y, variance=0.5, feature_map=feature_map))
    mine = slice(sum(sizes[:rank]), sum(sizes[: rank + 1]))
    weight = torch.nn.Parameter(1.2 * torch.eye(2, dtype=D))
    loss(x[mine] @ weight, y[mine]).backward()
    return weight.grad


def test_several_processes_equal_one():
    ranks = run_on_ranks(_rank_gradient, 2, (17, 6))
    torch.testing.assert_close(averaged(ranks), _rank_gradient(0, 1, (23,)), rtol=1e-9, atol=1e-12)
