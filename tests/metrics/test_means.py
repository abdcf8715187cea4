"""The mean over batches of which some don't count."""

import numpy as np
import pytest
import torch

from neuroalign.metrics.means import WeightedMean
from tests.device_reads import CountReads

VALUES = [0.5, 0.0, 2.0, float("nan"), -1.0]
WEIGHTS = [32, 0, 16, 0, 7]  # what has no weight may be anything


def mean_of(part):
    metric = WeightedMean()
    for value, weight in list(zip(VALUES, WEIGHTS))[part]:
        metric.update(torch.tensor(value), torch.tensor(weight))
    return metric


def test_it_is_the_weighted_mean():
    expected = np.average(np.nan_to_num(VALUES), weights=WEIGHTS)
    whole = mean_of(slice(None))
    assert float(whole.compute()) == pytest.approx(expected, rel=1e-6)
    first, second = mean_of(slice(2)), mean_of(slice(2, None))
    first.merge_state(second)
    assert float(first.compute()) == pytest.approx(expected, rel=1e-6)


def test_without_any_weight_there_is_no_mean():
    metric = WeightedMean()
    metric.update(torch.tensor(0.0), torch.tensor(False))
    assert metric.compute().isnan()


def test_a_loss_that_counts_and_is_nan_is_not_hidden():
    metric = WeightedMean()
    metric.update(torch.tensor(torch.nan), torch.tensor(3))
    metric.update(torch.tensor(1.0), 3)
    assert metric.compute().isnan()


def test_nothing_is_read_from_the_device():
    metric = WeightedMean()
    with CountReads() as counted:
        metric.update(torch.tensor(0.5), torch.tensor(True))
    assert counted.reads == 0
