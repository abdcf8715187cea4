"""Metrics: equal to the formula on the whole, in any order of batches, and when merged."""

import pytest
import torch

from neuroalign import NoiseNormalizedCorrelation, VoxelCorrelation
from neuroalign.functional import pearson


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
