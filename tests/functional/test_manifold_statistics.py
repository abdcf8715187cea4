import pytest
import torch

from neuroalign.functional import ManifoldStatistics


def clouds(seed=0, n=40, d=9, c=4, dtype=torch.float64):
    g = torch.Generator().manual_seed(seed)
    labels = torch.cat([torch.arange(c), torch.randint(c, (n - c,), generator=g)])
    return torch.randn(n, d, generator=g, dtype=torch.float64).to(dtype) + labels[:, None], labels


def assert_same(one, two, **kwargs):
    for name in ("within", "to_centers", "centers"):
        torch.testing.assert_close(getattr(one, name), getattr(two, name), **kwargs)
    assert torch.equal(one.sizes, two.sizes) and one.num_features == two.num_features


def test_are_the_inner_products_by_definition():
    x, y = clouds()
    statistics = ManifoldStatistics.from_features(x, y)
    centers = torch.stack([x[y == c].mean(0) for c in range(4)])
    about = centers - centers.mean(0)
    torch.testing.assert_close(statistics.centers, about @ about.T)
    for c in range(4):
        points = x[y == c] - centers[c]
        n = len(points)
        torch.testing.assert_close(statistics.within[c, :n, :n], points @ points.T)
        torch.testing.assert_close(statistics.to_centers[c, :n], points @ about.T)
        assert not bool(statistics.within[c, n:].any()) and not bool(statistics.to_centers[c, n:].any())
    grand = centers - x.mean(0)
    torch.testing.assert_close(statistics.centers_about_grand_mean, grand @ grand.T)


def test_every_way_of_building_agrees():
    x, y = clouds()
    direct = ManifoldStatistics.from_features(x, y)
    assert_same(direct, ManifoldStatistics.from_manifolds([x[y == c] for c in range(4)]))
    assert_same(direct, ManifoldStatistics.from_gram(x @ x.T, y, num_features=9))
    distances = torch.cdist(x, x).square()
    assert_same(direct, ManifoldStatistics.from_gram(-0.5 * distances, y, num_features=9))
    assert_same(direct, ManifoldStatistics.from_features(x[:, :4], y) + ManifoldStatistics.from_features(x[:, 4:], y))


def test_blocks_of_features_add_up(monkeypatch):
    x, y = clouds()
    whole = ManifoldStatistics.from_features(x, y)
    monkeypatch.setattr("neuroalign.functional.manifold_statistics._ELEMENTS", 100)
    assert_same(whole, ManifoldStatistics.from_features(x, y))


def test_half_precision_is_widened():
    x, y = clouds(dtype=torch.bfloat16)
    statistics = ManifoldStatistics.from_features(x, y)
    assert statistics.within.dtype == torch.float64
    assert_same(statistics, ManifoldStatistics.from_features(x.double(), y))


def test_labels_need_not_be_consecutive():
    x, y = clouds()
    assert_same(ManifoldStatistics.from_features(x, y), ManifoldStatistics.from_features(x, 10 * y - 7))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda x, y: ManifoldStatistics.from_features(x, torch.zeros_like(y)), "at least two classes; got 1"),
        (lambda x, y: ManifoldStatistics.from_features(x[:0], y[:0]), "at least two classes; got 0"),
        (lambda x, y: ManifoldStatistics.from_features(x[:, :0], y), "no columns"),
        (lambda x, y: ManifoldStatistics.from_features(torch.where(x > 2, torch.nan, x), y), "NaN"),
        (lambda x, y: ManifoldStatistics.from_features(x, y[:-1]), "rows of features"),
        (lambda x, y: ManifoldStatistics.from_manifolds([x]), "at least two classes"),
        (lambda x, y: ManifoldStatistics.from_manifolds([x, x[:0]]), "manifold 1 is empty"),
        (lambda x, y: ManifoldStatistics.from_manifolds([x, x[:, :2]]), "manifold 1 has 2 features"),
        (lambda x, y: ManifoldStatistics.from_manifolds([x, x[0]]), "manifold 1 must be"),
        (lambda x, y: ManifoldStatistics.from_manifolds([x[0], x]), "manifold 0 must be"),
        (lambda x, y: ManifoldStatistics.from_gram(x, y), "stimulus, stimulus"),
        (lambda x, y: ManifoldStatistics.from_gram(torch.randn(len(y), len(y)), y), "symmetric"),
        (
            lambda x, y: ManifoldStatistics.from_features(x, y) + ManifoldStatistics.from_features(x[:20], y[:20]),
            "same points",
        ),
    ],
)
def test_bad_input(build, message):
    with pytest.raises(ValueError, match=message):
        build(*clouds())


def test_some_manifolds_are_those_of_their_points_alone():
    x = [p[: 4 + i] for i, p in enumerate(torch.randn(5, 9, 20, dtype=torch.float64))]
    kept = torch.tensor([0, 2, 3])
    some = ManifoldStatistics.from_manifolds(x).select(kept)
    alone = ManifoldStatistics.from_manifolds([x[int(i)] for i in kept])
    width = alone.within.shape[1]
    torch.testing.assert_close(some.within[:, :width, :width], alone.within)
    torch.testing.assert_close(some.to_centers[:, :width], alone.to_centers)
    torch.testing.assert_close(some.centers, alone.centers)
    torch.testing.assert_close(some.centers_about_grand_mean, alone.centers_about_grand_mean)
    assert torch.equal(some.sizes, alone.sizes)
