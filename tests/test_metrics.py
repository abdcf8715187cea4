"""Metrics: equal to the formula on the whole, in any order of batches, and when merged."""

import copy

import pytest
import torch

from neuroalign import ManifoldGeometry, NoiseNormalizedCorrelation, RobustAccuracy, VoxelCorrelation
from neuroalign.functional import manifold_radius, participation_ratio, pearson, separability


def responses(n=60, v=4, mean=0.0):
    preds, target = torch.randn(2, n, v, dtype=torch.float64)
    target[:7, 1] = torch.nan
    return (preds + mean).float(), (target + preds + mean).float()


@pytest.mark.parametrize("mean", [0.0, 30.0, 1000.0])
@pytest.mark.parametrize("over", ["stimuli", "voxels"])
def test_correlation_of_batches_is_that_of_the_whole(over, mean):
    preds, target = responses(mean=mean)
    metric = VoxelCorrelation(over=over, reduction="none")
    for part in torch.arange(60).split(13):
        metric.update(preds[part], target[part])
    expected = pearson(preds.double(), target.double(), dim=0 if over == "stimuli" else 1)
    torch.testing.assert_close(metric.compute().double(), expected, atol=1e-6, rtol=0)


def test_merging_states():
    preds, target = responses()
    a, b = VoxelCorrelation(reduction="none"), VoxelCorrelation(reduction="none")
    a.update(preds[:20], target[:20])
    b.update(preds[20:], target[20:])
    a.merge_state(b)
    torch.testing.assert_close(a.compute(), pearson(preds, target), atol=1e-6, rtol=0)


def test_forward_and_reset():
    preds, target = responses()
    metric = VoxelCorrelation(reduction="none")
    torch.testing.assert_close(metric(preds[:20], target[:20]), pearson(preds[:20], target[:20]), atol=1e-6, rtol=0)
    metric(preds[20:], target[20:])
    torch.testing.assert_close(metric.compute(), pearson(preds, target), atol=1e-6, rtol=0)
    metric.reset()
    metric.update(preds[:5], target[:5])
    torch.testing.assert_close(metric.compute()[0], pearson(preds[:5], target[:5])[0], atol=1e-6, rtol=0)


@pytest.mark.parametrize("constant", [0.0, 0.1, 1000.1])
def test_undefined_voxels_are_counted_and_left_out(constant):
    preds, target = responses()
    preds[:, 0] = constant
    metric = VoxelCorrelation(reduction="median")
    metric.update(preds, target)
    value = metric.compute()
    assert metric.num_undefined == 1
    torch.testing.assert_close(value, pearson(preds, target)[1:].median(), atol=1e-6, rtol=0)


def test_normalised_by_the_ceiling():
    preds, target = responses()
    ceiling = torch.tensor([0.25, 0.5, 0.01, 1.0])
    metric = NoiseNormalizedCorrelation(ceiling, reduction="none")
    metric.update(preds, target)
    r = pearson(preds, target)
    got = metric.compute()
    assert got[2].isnan()
    torch.testing.assert_close(got[[0, 1, 3]], (r / ceiling.sqrt())[[0, 1, 3]], atol=1e-6, rtol=1e-6)
    other = NoiseNormalizedCorrelation(torch.ones(3))
    other.update(preds, target)
    with pytest.raises(ValueError, match="noise_ceiling has 3 voxels, the responses 4"):
        other.compute()


def test_bad_options():
    with pytest.raises(ValueError, match="'stimuli' or 'voxels'"):
        VoxelCorrelation(over="images")
    with pytest.raises(ValueError, match="'median', 'mean' or 'none'"):
        VoxelCorrelation(reduction="max")
    with pytest.raises(ValueError, match="at least 2 images a class"):
        ManifoldGeometry(num_per_class=1)


def test_robust_accuracy_counts_an_image_once():
    metric = RobustAccuracy()
    logits, labels = torch.eye(4), torch.tensor([0, 1, 0, 0])
    metric.update(logits, labels, torch.tensor([10, 11, 12, 13]))
    metric.update(logits[:2], labels[:2], torch.tensor([10, 11]))  # what a distributed sampler repeats
    assert float(metric.compute()) == 0.5
    assert metric.num_images == 4
    with pytest.raises(ValueError, match="4 rows of logits but 3 labels"):
        metric.update(logits, labels[:3])


def test_nan_logits_are_not_right():
    metric = RobustAccuracy()
    metric.update(torch.full((2, 3), torch.nan), torch.tensor([0, 0]))
    assert float(metric.compute()) == 0


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


def test_metrics_survive_copying():
    metric = RobustAccuracy()
    metric.update(torch.eye(2), torch.tensor([0, 1]))
    assert float(copy.deepcopy(metric).compute()) == 1
