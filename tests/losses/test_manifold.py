"""Category manifolds, the loss that pulls into them, and its control without a brain."""

import numpy as np
import pytest
import torch

from neuroalign import CategoryManifolds, ManifoldGuidanceLoss, NonNeuralManifoldLoss
from tests import references as ref
from tests.distributed import averaged, run_on_ranks


def clouds(seed=0, n=60, d=8, c=4, dtype=torch.float64):
    g = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % c
    scale = torch.linspace(2, 0.1, d, dtype=torch.float64)
    x = 3 * torch.randn(c, d, generator=g, dtype=torch.float64)[labels]
    return (x + scale * torch.randn(n, d, generator=g, dtype=torch.float64)).to(dtype), labels


def test_manifolds_against_the_reference():
    x, y = clouds()
    got = CategoryManifolds.from_features(x, y, variance=0.9)
    expected = ref.category_manifolds(x.numpy(), y.numpy(), 0.9)
    np.testing.assert_allclose(got.centers, expected["centers"])
    np.testing.assert_allclose(got.radii, expected["radii"])
    for basis, reference in zip(got.bases, expected["bases"], strict=True):
        assert basis.shape == reference.shape
        np.testing.assert_allclose(basis @ basis.T, reference @ reference.T, atol=1e-9)  # the same subspace
        np.testing.assert_allclose(basis.T @ basis, np.eye(basis.shape[1]), atol=1e-12)


@pytest.mark.parametrize("batch", [60, 17, 5, 2])
def test_terms_against_the_reference(batch):
    x, y = clouds()
    manifolds = CategoryManifolds.from_features(x, y, variance=0.8)
    z, labels = clouds(seed=5)
    z, labels = 1.5 * z[:batch], labels[:batch]
    terms = ManifoldGuidanceLoss(manifolds).terms(z, labels)
    radius, subspace = ref.manifold_terms(
        z.numpy(),
        labels.numpy(),
        manifolds.centers.numpy(),
        manifolds.radii.numpy(),
        [b.numpy() for b in manifolds.bases],
    )
    assert float(terms["radius"]) == pytest.approx(radius, rel=1e-10)
    assert float(terms["subspace"]) == pytest.approx(subspace, rel=1e-10)


def test_few_classes_of_many():
    """Where most classes are absent only the present bases are multiplied: the same value."""
    x, y = clouds(n=200, c=20)
    loss = ManifoldGuidanceLoss(CategoryManifolds.from_features(x, y, variance=0.7))
    kept = y < 3
    terms = loss.terms(x[kept] * 1.3, y[kept])
    bases = [b.numpy() for b in loss.manifolds.bases]
    expected = ref.manifold_terms(
        1.3 * x[kept].numpy(), y[kept].numpy(), loss.manifolds.centers.numpy(), loss.manifolds.radii.numpy(), bases
    )
    assert [float(terms["radius"]), float(terms["subspace"])] == pytest.approx(expected, rel=1e-10)


def test_zero_on_its_own_manifolds_with_full_rank():
    x, y = clouds()
    loss = ManifoldGuidanceLoss(CategoryManifolds.from_features(x, y, variance=1.0))
    terms = loss.terms(x, y)
    assert float(terms["radius"]) == pytest.approx(0, abs=1e-12)
    assert float(terms["subspace"]) == pytest.approx(0, abs=1e-6)


def test_weights():
    x, y = clouds()
    manifolds = CategoryManifolds.from_features(x, y, variance=0.8)
    terms = ManifoldGuidanceLoss(manifolds).terms(2 * x, y)
    weighted = ManifoldGuidanceLoss(manifolds, radius_weight=3.0, subspace_weight=0.5)(2 * x, y)
    torch.testing.assert_close(weighted, 3 * terms["radius"] + 0.5 * terms["subspace"])
    with pytest.raises(ValueError, match="radius_weight must not be negative"):
        ManifoldGuidanceLoss(manifolds, radius_weight=-1)


def test_gradient_of_a_projector_form():
    """Value and gradient equal the form that gathers projectors U U^T, to 1e-5 in float32."""
    x, y = clouds(n=80, d=16, dtype=torch.float32)
    manifolds = CategoryManifolds.from_features(x, y, variance=0.7)
    z = (x + 0.5 * torch.randn_like(x)).requires_grad_()
    terms = ManifoldGuidanceLoss(manifolds).terms(z, y)
    (gradient,) = torch.autograd.grad(terms["subspace"], z)
    centered = z - z.mean(0)
    projectors = torch.stack([b @ b.T for b in manifolds.bases])
    residual = centered - torch.bmm(projectors[y], centered[:, :, None])[:, :, 0]
    per_class = [(residual[y == c].norm(dim=1) / centered[y == c].norm(dim=1)).mean() for c in range(4)]
    expected = torch.stack(per_class).mean()
    torch.testing.assert_close(terms["subspace"], expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(gradient, torch.autograd.grad(expected, z)[0], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("batch", [1, 2])
def test_tiny_batches_are_finite(batch):
    x, y = clouds()
    z = x[:batch].clone().requires_grad_()
    value = ManifoldGuidanceLoss(CategoryManifolds.from_features(x, y))(z, y[:batch])
    value.backward()
    assert torch.isfinite(value)
    assert torch.isfinite(z.grad).all()


def test_sample_at_the_batch_mean_and_at_its_center():
    x, y = clouds()
    manifolds = CategoryManifolds.from_features(x, y)
    z = manifolds.centers.clone().requires_grad_()  # distance 0 from each centre
    loss = ManifoldGuidanceLoss(manifolds)
    loss(z, torch.arange(4)).backward()
    assert torch.isfinite(z.grad).all()
    same = torch.ones(3, 8, dtype=torch.float64, requires_grad=True)
    value = loss.terms(same, torch.tensor([0, 1, 2]))["subspace"]
    assert float(value) == 0
    value.backward()
    assert torch.isfinite(same.grad).all()


def test_single_image_classes_have_rank_zero():
    x = torch.randn(5, 3)
    manifolds = CategoryManifolds.from_features(x, torch.tensor([0, 0, 1, 2, 2]))
    assert manifolds.ranks.tolist() == [1, 0, 1]
    assert float(manifolds.radii[1]) == 0
    terms = ManifoldGuidanceLoss(manifolds).terms(x, torch.tensor([0, 0, 1, 2, 2]))
    assert torch.isfinite(terms["subspace"])


def test_bad_features():
    x, y = clouds()
    with pytest.raises(ValueError, match="no image of class 2"):
        CategoryManifolds.from_features(x[y != 2], y[y != 2])
    with pytest.raises(ValueError, match="labels run from 0 to 3, but there are 3 classes"):
        CategoryManifolds.from_features(x, y, num_classes=3)
    with pytest.raises(ValueError, match=r"no image of class 4 \(nor of \[5\]\)"):
        CategoryManifolds.from_features(x, y, num_classes=6)
    with pytest.raises(ValueError, match="NaN or infinite"):
        CategoryManifolds.from_features(torch.where(x > 5, torch.nan, x), y)
    with pytest.raises(ValueError, match="60 rows of features but labels of shape"):
        CategoryManifolds.from_features(x, y[:-1])
    with pytest.raises(ValueError, match="labels must be integers"):
        CategoryManifolds.from_features(x, y.float())
    with pytest.raises(ValueError, match=r"variance must be in \(0, 1\]"):
        CategoryManifolds.from_features(x, y, variance=95)


def test_bad_batches():
    x, y = clouds()
    loss = ManifoldGuidanceLoss(CategoryManifolds.from_features(x, y))
    with pytest.raises(ValueError, match="labels run from 0 to 7"):
        loss(x, torch.arange(60) % 8)
    with pytest.raises(ValueError, match="8 features, the embedding 5"):
        loss(x[:, :5], y)


def test_save_and_load(tmp_path):
    x, y = clouds(dtype=torch.float32)
    manifolds = CategoryManifolds.from_features(x, y, variance=0.7)
    manifolds.save(tmp_path / "V4.safetensors")
    loaded = CategoryManifolds.load(tmp_path / "V4.safetensors")
    for name, value in manifolds.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value)
    assert list(tmp_path.iterdir()) == [tmp_path / "V4.safetensors"]  # nothing temporary is left
    (tmp_path / "bad").write_text("no tensors here")
    with pytest.raises(ValueError, match="not a file of category manifolds"):
        CategoryManifolds.load(tmp_path / "bad")
    with pytest.raises(FileNotFoundError):
        CategoryManifolds.load(tmp_path / "absent")


def test_random_geometry_keeps_ranks_and_radii_and_nothing_else():
    x, y = clouds(n=400, d=20)
    real = CategoryManifolds.from_features(x, y, variance=0.7)
    control = real.randomized(seed=1)
    assert torch.equal(control.ranks, real.ranks)
    assert torch.equal(control.radii, real.radii)
    for basis, original in zip(control.bases, real.bases, strict=True):
        torch.testing.assert_close(basis.T @ basis, torch.eye(basis.shape[1], dtype=basis.dtype))
        overlap = (basis.T @ original).square().sum() / basis.shape[1]
        assert overlap < 0.8
    real_distances, control_distances = torch.pdist(real.centers), torch.pdist(control.centers)
    assert abs(torch.corrcoef(torch.stack([real_distances, control_distances]))[0, 1]) < 0.95
    assert torch.equal(real.randomized(seed=1).centers, control.centers)
    assert not torch.equal(real.randomized(seed=2).centers, control.centers)
    only_bases = real.randomized(centers=False)
    assert torch.equal(only_bases.centers, real.centers)


def test_shared_geometry():
    x, y = clouds()
    real = CategoryManifolds.from_features(x, y, variance=0.7)
    shared = real.shared(centers=True, bases=True)
    assert (shared.centers == shared.centers[0]).all()
    assert (shared.radii == shared.radii[0]).all()
    for basis in shared.bases:
        torch.testing.assert_close(basis, shared.bases[0])


@pytest.mark.parametrize("radius", [0.5, 3.0])
def test_non_neural_against_the_reference(radius):
    x, y = clouds(seed=4, n=22)
    terms = NonNeuralManifoldLoss(radius=radius).terms(x, y)
    expected = ref.non_neural_terms(x.numpy(), y.numpy(), radius)
    assert [float(terms["radius"]), float(terms["nuclear"])] == pytest.approx(expected, rel=1e-9)


def test_non_neural_gradient_at_rank_deficiency():
    """A class of one image is a matrix of zeros: no direction, no gradient, no NaN."""
    z = torch.randn(4, 6, requires_grad=True)
    NonNeuralManifoldLoss(radius=0.0).terms(z, torch.tensor([0, 1, 2, 2]))["nuclear"].backward()
    assert torch.isfinite(z.grad).all()
    assert (z.grad[:2] == 0).all()
    assert (z.grad[2:] != 0).any()


def test_non_neural_refuses():
    with pytest.raises(ValueError, match="radius must not be negative"):
        NonNeuralManifoldLoss(radius=-1.0)


def _rank_gradient(rank, world, sizes):
    x, y = clouds(n=sum(sizes))
    manifolds = CategoryManifolds.from_features(*clouds(seed=3), variance=0.7)
    w = torch.eye(8, dtype=torch.float64, requires_grad=True)
    start = sum(sizes[:rank])
    mine = slice(start, start + sizes[rank])
    z = (2 * x[mine]) @ w
    (ManifoldGuidanceLoss(manifolds)(z, y[mine]) + NonNeuralManifoldLoss(0.5)(z, y[mine])).backward()
    return w.grad


@pytest.mark.parametrize("sizes", [(20, 20), (17, 6), (9, 4, 11, 2)])
def test_several_processes_equal_one(sizes):
    ranks = run_on_ranks(_rank_gradient, len(sizes), sizes)
    torch.testing.assert_close(averaged(ranks), _rank_gradient(0, 1, (sum(sizes),)), rtol=1e-9, atol=1e-12)
