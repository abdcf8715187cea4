"""Geometry of category manifolds, over a data set."""

import pytest
import torch

from neuroalign import ManifoldGeometry
from neuroalign.functional import manifold_capacity, manifold_radius, participation_ratio, separability
from neuroalign.functional.draws import splitmix64
from neuroalign.metrics.sampling import sample


def clouds(n=90, d=6, c=3, seed=0):
    g = torch.Generator().manual_seed(seed)
    y = torch.arange(n) % c
    return torch.randn(n, d, generator=g) + 3 * torch.randn(c, d, generator=g)[y], y


def test_geometry_of_batches_is_that_of_the_whole():
    x, y = clouds()
    metric = ManifoldGeometry()
    for part in torch.randperm(90).split(17):
        metric.update(x[part], y[part], part)
    got = metric.compute()
    torch.testing.assert_close(got["rms_radius"], manifold_radius(x, y).mean())
    torch.testing.assert_close(got["participation_ratio"], participation_ratio(x, y).mean())
    torch.testing.assert_close(got["separability"], separability(x, y))
    expected = manifold_capacity(x, y)
    for name in ("capacity", "radius", "dimension", "capacity_error", "radius_error", "dimension_error"):
        torch.testing.assert_close(got[name], getattr(expected, name))
    torch.testing.assert_close(got["center_correlation"], expected.initial_center_correlation)


def test_forward_numbers_images_that_have_none():
    x, y = clouds()
    metric, whole = ManifoldGeometry(), ManifoldGeometry()
    for part in torch.arange(90).split(30):
        metric(x[part], y[part])
    whole.update(x, y)
    torch.testing.assert_close(metric.compute(), whole.compute())


def test_choice_does_not_depend_on_batches_or_order():
    x, y = clouds(3000, c=20)
    results = []
    for order in (torch.arange(3000), torch.randperm(3000)):
        for size in (31, 3000):
            metric = ManifoldGeometry(num_per_class=7, num_classes=5, seed=1)
            for part in order.split(size):
                metric.update(x[part], y[part], part)
            results.append(metric.compute())
            if size == 31:
                assert sum(len(labels) for labels in metric.labels) < 800  # what is not chosen was dropped
    for other in results[1:]:
        torch.testing.assert_close(results[0], other)
    features, labels, index = metric.chosen()
    assert len(features) == 35 and labels.unique(return_counts=True)[1].tolist() == [7] * 5
    torch.testing.assert_close(features, x[index])
    other = ManifoldGeometry(num_per_class=7, num_classes=5, seed=2)
    other.update(x, y)
    assert set(other.chosen()[1].tolist()) != set(labels.tolist())


def test_all_classes_give_equally_many_images():
    """Capacity and dimension depend on the number of images, so classes of more would count as something else."""
    x, y = clouds(90)
    index = torch.randperm(90)
    fewer = torch.ones(90, dtype=torch.bool)
    fewer[(y == 1).nonzero()[:12, 0]] = False  # 30, 18 and 30 images
    metric = ManifoldGeometry()
    for part in fewer.nonzero()[:, 0].split(20):
        metric.update(x[part], y[part], index[part])
    _, labels, number = metric.chosen()
    assert labels.unique(return_counts=True)[1].tolist() == [18, 18, 18]
    asked, capped = ManifoldGeometry(num_per_class=18), ManifoldGeometry(num_per_class=25)
    for other in (asked, capped):
        other.update(x[fewer], y[fewer], index[fewer])
        assert torch.equal(other.chosen()[2], number)
        torch.testing.assert_close(other.compute(), metric.compute())
    everything = ManifoldGeometry(num_per_class=None)
    everything.update(x[fewer], y[fewer], index[fewer])
    assert len(everything.chosen()[1]) == 78
    torch.testing.assert_close(everything.compute()["capacity"], manifold_capacity(x[fewer], y[fewer]).capacity)


def test_classes_that_hold_the_others_down_are_named():
    x, y = clouds(90, c=6)
    small = torch.cat([(y != 4).nonzero()[:, 0], (y == 4).nonzero()[:5, 0]])
    for num, most in (("equal", 15), (12, 12)):
        metric = ManifoldGeometry(num_per_class=num)
        metric.update(x[small], y[small])
        with pytest.warns(UserWarning, match=rf"to 5 images each, where most have {most}: class \(images\) 4 \(5\)"):
            metric.compute()
    metric = ManifoldGeometry(num_per_class=None)
    metric.update(x[small], y[small])
    metric.compute()  # as asked for, without a word


def test_a_choice_needs_an_index_for_all_images_or_for_none():
    x, y = clouds(30)
    metric = ManifoldGeometry()
    metric.update(x[:15], y[:15], torch.arange(15))
    metric.update(x[15:], y[15:])
    metric.compute()  # equal classes: there is nothing to choose
    metric.update(x[:1] + 1, y[:1])
    with pytest.raises(ValueError, match="only some have one"):
        metric.compute()


def test_choice_is_by_chance():
    index = torch.arange(10_000)
    first = sample(torch.zeros(10_000), index, num_classes=None, num_per_class=1000, seed=0)
    other = sample(torch.zeros(10_000), index, num_classes=None, num_per_class=1000, seed=1)
    assert abs(float(first.double().mean()) - 5000) < 4 * 2887 / 1000**0.5
    overlap = int(torch.isin(first, other).sum())
    assert abs(overlap - 100) < 50
    assert len(splitmix64(index, 0).unique()) == 10_000


def test_tickets_are_the_numbers_of_splitmix64():
    """The first five of the generator seeded with 0, as its author's C code prints them; a seed moves on by one."""
    known = 0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F, 0xF88BB8A8724C81EC, 0x1B39896A51A8749B
    assert [int(splitmix64(torch.tensor([0]), seed)) % 2**64 for seed in range(5)] == list(known)


def test_wide_features_can_be_projected():
    g = torch.Generator().manual_seed(0)
    y = torch.arange(60) % 6
    x = torch.randn(6, 20_000, generator=g)[y] + torch.randn(60, 20_000, generator=g)
    whole, projected = ManifoldGeometry(), ManifoldGeometry(num_components=4000)
    whole.update(x, y)
    projected.update(x, y)
    assert projected.features[0].shape == (60, 4000)
    for name in ("capacity", "radius", "rms_radius", "separability"):
        assert float(projected.compute()[name]) == pytest.approx(float(whole.compute()[name]), rel=0.05)


def test_classes_with_one_image_are_left_out():
    x, y = clouds()
    metric, whole = ManifoldGeometry(), ManifoldGeometry()
    metric.update(torch.cat([x, x[:1] + 100]), torch.cat([y, torch.tensor([7])]))
    whole.update(x, y)
    torch.testing.assert_close(metric.compute(), whole.compute())


def test_too_few_classes_are_refused():
    x, _ = clouds(12)
    metric = ManifoldGeometry()
    metric.update(x, torch.tensor([0] * 11 + [1]))
    with pytest.raises(ValueError, match="12 images of 2 classes, 1 with two or more"):
        metric.compute()


def test_features_that_say_nothing_are_told():
    metric = ManifoldGeometry()
    metric.update(torch.zeros(12, 4), torch.arange(12) % 3)
    with pytest.warns(UserWarning, match="no capacity, radius and dimension"):
        values = metric.compute()
    assert bool(values["capacity"].isnan())


def test_a_manifold_needs_two_images():
    with pytest.raises(ValueError, match="at least 2 images per class"):
        ManifoldGeometry(num_per_class=1)
    with pytest.raises(ValueError, match='a number, "equal" or None'):
        ManifoldGeometry(num_per_class="all")


@pytest.mark.parametrize("kwargs", [{"num_classes": 1}, {"num_components": 0}, {"center_correlation": "drop"}])
def test_bad_arguments(kwargs):
    with pytest.raises(ValueError, match=next(iter(kwargs))):
        ManifoldGeometry(**kwargs)
