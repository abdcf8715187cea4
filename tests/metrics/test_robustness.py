"""Accuracy after a perturbation, over a data set."""

import copy

import pytest
import torch

from neuroalign import RobustAccuracy


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


def test_metrics_survive_copying():
    metric = RobustAccuracy()
    metric.update(torch.eye(2), torch.tensor([0, 1]))
    assert float(copy.deepcopy(metric).compute()) == 1
