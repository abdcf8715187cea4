"""The smoothness callback, batch by batch."""

import pytest
import torch
from torch import nn

from neuroalign import InputSmoothnessCallback, evaluate_smoothness
from tests.evaluation.test_curve import images, network


def test_the_seed_is_that_of_what_the_network_draws():
    x = images(20)
    labels = network()(x).argmax(1)

    class Noisy(nn.Sequential):
        def forward(self, z):
            return super().forward(z + 0.1 * torch.randn_like(z))

    model, values = Noisy(network()).eval(), []
    for seed in (3, 4):
        callback = InputSmoothnessCallback(seed=seed)
        callback.look(None, model, x, labels, torch.arange(20))
        values.append(float(callback.results()["smoothness/clean"]))
        expected = evaluate_smoothness(model, [(x, labels)], seed=seed)
        assert values[-1] == pytest.approx(expected.clean, rel=1e-5)
    assert abs(values[0] / values[1] - 1) > 0.01
