"""Category manifolds, the loss that pulls into them, and its control without a brain."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from neuroalign import CategoryManifolds, ManifoldGuidanceLoss, NonNeuralManifoldLoss
from neuroalign.functional import separability
from neuroalign.losses import RandomFourierFeatures
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


@pytest.mark.parametrize("about", ["center", "batch mean"])
@pytest.mark.parametrize("batch", [60, 17, 5, 2])
def test_terms_against_the_reference(batch, about):
    x, y = clouds()
    manifolds = CategoryManifolds.from_features(x, y, variance=0.8)
    z, labels = clouds(seed=5)
    z, labels = 1.5 * z[:batch], labels[:batch]
    terms = ManifoldGuidanceLoss(manifolds, deviations_from=about).terms(z, labels)
    radius, subspace = ref.manifold_terms(
        z.numpy(),
        labels.numpy(),
        manifolds.centers.numpy(),
        manifolds.radii.numpy(),
        [b.numpy() for b in manifolds.bases],
        about,
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


def population(variance=0.9, width=100, members=60, num_classes=5, seed=0):
    """Manifolds in known directions, measured on some members, and new members of the same."""
    g = torch.Generator().manual_seed(seed)
    centers = torch.randn(num_classes, width, generator=g, dtype=torch.float64)
    directions = [
        torch.linalg.qr(torch.randn(width, 20, generator=g, dtype=torch.float64))[0] for _ in range(num_classes)
    ]
    y = torch.arange(2 * num_classes * members) % num_classes
    inside = torch.randn(len(y), 20, generator=g, dtype=torch.float64) * torch.linspace(2, 0.2, 20, dtype=torch.float64)
    x = torch.stack([centers[c] + directions[c] @ v for c, v in zip(y.tolist(), inside)])
    measured, new = slice(0, len(y) // 2), slice(len(y) // 2, None)
    return CategoryManifolds.from_features(x[measured], y[measured], variance=variance), x[new], y[new]


@pytest.mark.parametrize("variance", [0.8, 0.9, 0.95])
def test_new_members_score_what_the_directions_leave_out(variance):
    manifolds, x, y = population(variance, members=300)
    terms = ManifoldGuidanceLoss(manifolds).terms(x, y)
    assert float(terms["subspace"]) == pytest.approx((1 - variance) ** 0.5, rel=0.2)
    assert float(terms["radius"]) < 0.05 * float(manifolds.radii.mean())
    # About the batch mean the offset of the centre counts as unexplained.
    about_mean = ManifoldGuidanceLoss(manifolds, deviations_from="batch mean").terms(x, y)
    assert float(about_mean["subspace"]) > 1.5 * float(terms["subspace"])


def moved(x, y, *, centers=1.0, spread=1.0):
    """The points with their class centres nearer to one another, and their spread about them larger."""
    mean = torch.stack([x[y == c].mean(0) for c in range(int(y.max()) + 1)])
    return mean.mean(0) + centers * (mean - mean.mean(0))[y] + spread * (x - mean[y])


@pytest.mark.parametrize("kernel", [False, True])
@pytest.mark.parametrize("change", [{"centers": 0.5}, {"centers": 0.0}, {"spread": 2.0}, {"spread": 4.0}])
def test_neither_collapse_nor_spread_is_rewarded(change, kernel):
    manifolds, x, y = population()
    if kernel:
        feature_map = RandomFourierFeatures.from_features(x, 256)
        manifolds = CategoryManifolds.from_features(x, y, variance=0.9, feature_map=feature_map)
    loss = ManifoldGuidanceLoss(manifolds)
    before, after = loss.terms(x, y), loss.terms(moved(x, y, **change), y)
    for term in before:
        assert float(after[term]) >= float(before[term]) - 5e-3, term
    assert float(sum(after.values())) > float(sum(before.values()))


def test_deviations_from_the_batch_mean_reward_collapse():
    """What the option is documented to do, and why it isn't the default."""
    manifolds, x, y = population()
    loss = ManifoldGuidanceLoss(manifolds, deviations_from="batch mean")
    scores = [float(loss.terms(moved(x, y, centers=c), y)["subspace"]) for c in (1.0, 0.5, 0.0)]
    assert scores[0] > scores[1] > scores[2]


@pytest.mark.parametrize("kernel", [False, True])
@pytest.mark.parametrize("start", ["members", "noise"])
def test_descent_keeps_classes_apart(start, kernel):
    manifolds, x, y = population()
    if kernel:
        feature_map = RandomFourierFeatures.from_features(x, 256)
        manifolds = CategoryManifolds.from_features(x, y, variance=0.9, feature_map=feature_map)
    begin = x if start == "members" else torch.randn(x.shape, generator=torch.Generator().manual_seed(1)).double()
    z = begin.clone().requires_grad_()
    loss = ManifoldGuidanceLoss(manifolds)
    optimizer = torch.optim.Adam([z], 0.05)
    first = float(loss(z, y).detach())
    for _ in range(300):
        optimizer.zero_grad()
        value = loss(z, y)
        value.backward()
        optimizer.step()
    assert float(value.detach()) < 0.7 * first
    assert float(separability(z.detach(), y)) >= float(separability(begin, y)) - 1e-3


def test_unknown_deviations():
    with pytest.raises(ValueError, match="unknown deviations_from 'batch'; did you mean 'batch mean'"):
        ManifoldGuidanceLoss(CategoryManifolds.from_features(*clouds()), deviations_from="batch")


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
    centered = z - manifolds.centers[y]
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
    value = loss.terms(z, torch.arange(4))["subspace"]
    assert float(value) == 0
    value.backward()
    loss(z, torch.arange(4)).backward()
    assert torch.isfinite(z.grad).all()
    loss = ManifoldGuidanceLoss(manifolds, deviations_from="batch mean")
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
def test_non_neural_of_the_paper_against_the_reference(radius):
    x, y = clouds(seed=4, n=22)
    terms = NonNeuralManifoldLoss(radius=radius, normalized=False).terms(x, y)
    expected = ref.non_neural_terms(x.numpy(), y.numpy(), radius)
    assert [float(terms["radius"]), float(terms["nuclear"])] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("labels", [torch.arange(22) % 4, torch.tensor([0, 1] + [2] * 8 + [3] * 12)])
@pytest.mark.parametrize("radius", [0.0, 0.2])
def test_non_neural_against_the_reference(radius, labels):
    x, _ = clouds(seed=4, n=22)
    terms = NonNeuralManifoldLoss(radius=radius).terms(x, labels)
    expected = ref.normalized_non_neural_terms(x.numpy(), labels.numpy(), radius)
    assert [float(terms["radius"]), float(terms["nuclear"])] == pytest.approx(expected, rel=1e-9)


@given(st.floats(1e-8, 1e8), st.floats(-100, 100))
def test_non_neural_is_free_of_scale_and_shift(scale, shift):
    x, y = clouds(seed=4, n=30)
    loss = NonNeuralManifoldLoss(radius=0.1)
    torch.testing.assert_close(loss(scale * (x + shift), y), loss(x, y), rtol=1e-7, atol=0)


def test_non_neural_sends_nothing_along_the_scale():
    """Shrinking the embedding, which collapsed networks under the unnormalised form, doesn't lower it."""
    x, y = clouds(seed=4, n=30)
    z = x.requires_grad_()
    (gradient,) = torch.autograd.grad(NonNeuralManifoldLoss(radius=0.1)(z, y), z)
    deviation = z - z.mean(0)
    assert float((gradient * deviation).sum()) == pytest.approx(0, abs=1e-12)
    assert float(gradient.norm()) > 0.01


def test_non_neural_of_a_constant_embedding_is_the_worst():
    y = torch.arange(12) % 3
    constant = torch.full((12, 5), 0.3, requires_grad=True)
    terms = NonNeuralManifoldLoss(radius=0.4).terms(constant, y)
    assert {k: float(v) for k, v in terms.items()} == pytest.approx({"radius": 0.6, "nuclear": 1.0})
    sum(terms.values()).backward()
    assert (constant.grad == 0).all()
    alone = torch.randn(3, 5, requires_grad=True)
    value = NonNeuralManifoldLoss()(alone, torch.arange(3))  # no class has two members: nothing to measure
    value.backward()
    assert float(value) == 0
    assert (alone.grad == 0).all()


def test_non_neural_does_not_grow_with_batch_or_width():
    """Of classes that fill their dimensions; the paper's form grows 22-fold from 32 to 512 images."""
    values, unnormalized = [], []
    for batch in (32, 128, 512):
        for width in (20, 300):
            g = torch.Generator().manual_seed(batch + width)
            y = torch.arange(batch) % 10
            z = torch.randn(10, width, generator=g)[y] + torch.randn(batch, width, generator=g)
            values.append(NonNeuralManifoldLoss(radius=0.0).terms(z, y))
            unnormalized.append(float(NonNeuralManifoldLoss(radius=0.0, normalized=False).terms(z, y)["nuclear"]))
    for term in ("radius", "nuclear"):
        found = [float(v[term]) for v in values]
        assert max(found) / min(found) < 1.25, (term, found)
        assert max(found) <= 1
    assert unnormalized[-1] / unnormalized[1] > 20


def test_non_neural_does_what_it_says():
    """Descended alone: classes become small and low-dimensional, and don't meet."""
    x, y = clouds(seed=4, n=80)
    labels = y[torch.randperm(80, generator=torch.Generator().manual_seed(0))]  # classes that overlap at first
    z = x.clone().requires_grad_()
    loss = NonNeuralManifoldLoss(radius=0.2)
    optimizer = torch.optim.Adam([z], 0.05)
    for _ in range(300):
        optimizer.zero_grad()
        loss(z, labels).backward()
        optimizer.step()
    assert float(separability(x, labels)) < 0.2
    assert float(separability(z.detach(), labels)) > 0.95
    assert 0.3 < float(z.detach().std() / x.std()) < 3


@pytest.mark.parametrize("seed", [0, 1])
def test_non_neural_leaves_the_network_its_classes(seed):
    """At the defaults and the paper's share of guidance a network learns; under the unnormalised form it doesn't."""
    assert _accuracy_under(NonNeuralManifoldLoss(), seed) > 0.95
    assert _accuracy_under(NonNeuralManifoldLoss(4.3, normalized=False), seed) < 0.3


def _accuracy_under(guide, seed, alpha=0.9):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        y = torch.arange(10).repeat(40)
        x = 0.45 * torch.randn(10, 40)[y] + torch.randn(400, 40)

        def layer(i, o):
            return [torch.nn.Linear(i, o), torch.nn.BatchNorm1d(o), torch.nn.ReLU()]

        trunk = torch.nn.Sequential(*layer(40, 64), *layer(64, 64))
        classify, head = torch.nn.Linear(64, 10), torch.nn.Linear(64, 20)
        parameters = [p for m in (trunk, classify, head) for p in m.parameters()]
        optimizer = torch.optim.SGD(parameters, 0.1, 0.9, weight_decay=1e-4)
        for _ in range(300):
            k = torch.randint(400, (128,))
            features = trunk(x[k])
            task = torch.nn.functional.cross_entropy(classify(features), y[k])
            optimizer.zero_grad()
            ((1 - alpha) * task + alpha * guide(head(features), y[k])).backward()
            optimizer.step()
        return float((classify(trunk.eval()(x)).argmax(1) == y).float().mean())


def test_non_neural_gradient_at_rank_deficiency():
    """A class of one image is a matrix of zeros: no direction, no gradient, no NaN."""
    z = torch.randn(4, 6, requires_grad=True)
    terms = NonNeuralManifoldLoss(radius=0.0, normalized=False).terms(z, torch.tensor([0, 1, 2, 2]))
    terms["nuclear"].backward()
    assert torch.isfinite(z.grad).all()
    assert (z.grad[:2] == 0).all()
    assert (z.grad[2:] != 0).any()
    z.grad = None
    NonNeuralManifoldLoss(radius=0.0)(z, torch.tensor([0, 1, 2, 2])).backward()
    assert torch.isfinite(z.grad).all()
    assert (z.grad != 0).any()


def test_non_neural_refuses():
    with pytest.raises(ValueError, match="radius must not be negative"):
        NonNeuralManifoldLoss(radius=-1.0)
    with pytest.raises(ValueError, match=r"share of the spread.*in \[0, 1\); got 4.3.*normalized=False"):
        NonNeuralManifoldLoss(4.3)
    assert NonNeuralManifoldLoss(normalized=False).radius == 1.0


def _rank_gradient(rank, world, sizes):
    x, y = clouds(n=sum(sizes))
    manifolds = CategoryManifolds.from_features(*clouds(seed=3), variance=0.7)
    w = torch.eye(8, dtype=torch.float64, requires_grad=True)
    start = sum(sizes[:rank])
    mine = slice(start, start + sizes[rank])
    z = (2 * x[mine]) @ w
    (ManifoldGuidanceLoss(manifolds)(z, y[mine]) + NonNeuralManifoldLoss(0.1)(z, y[mine])).backward()
    return w.grad


@pytest.mark.parametrize("sizes", [(20, 20), (17, 6), pytest.param((9, 4, 11, 2), marks=pytest.mark.slow)])
def test_several_processes_equal_one(sizes):
    ranks = run_on_ranks(_rank_gradient, len(sizes), sizes)
    torch.testing.assert_close(averaged(ranks), _rank_gradient(0, 1, (sum(sizes),)), rtol=1e-9, atol=1e-12)
