"""Every metric in any unit: the same value, or one clear sentence where it has a unit."""

import numpy as np
import pytest
import torch

from neuroalign import AlignmentMetric, NeuralAlignmentLoss, OddOneOutAccuracy, RDMSimilarity, VoxelCorrelation
from tests.metrics.test_contract import CASES, RDMS

UNITS = (1e-20, 1e-10, 1e10, 1e20)
HAVE_A_UNIT = {"any loss": "whose squares leave torch.float32", "any function": None}  # ours says so, torch's is inf


def value(case, unit):
    metric = case.make()
    metric.update(*(x * unit if x.is_floating_point() else x for x in case.data))
    found = metric.compute()
    return torch.as_tensor(found[case.key] if isinstance(found, dict) else found).double()


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("name", [name for name in CASES if name not in HAVE_A_UNIT])
def test_in_any_unit(name, unit):
    expected = value(CASES[name], 1.0)
    assert bool(expected.isfinite().any())
    torch.testing.assert_close(value(CASES[name], unit), expected, rtol=1e-3, atol=1e-5, equal_nan=True)


@pytest.mark.parametrize("dissimilarity", ["sqeuclidean", "correlation", "cosine"])
@pytest.mark.parametrize("unit", UNITS)
def test_similarity_to_published_rdms(dissimilarity, unit):
    x = torch.randn(40, 5, generator=torch.Generator().manual_seed(0))
    found = []
    for scale in (1.0, unit):
        metric = RDMSimilarity(RDMS, dissimilarity=dissimilarity)
        metric.update(x * scale, torch.arange(40))
        found.append(metric.compute()["similarity"])
    torch.testing.assert_close(found[1], found[0], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("similarity", ["dot", "cosine", "sqeuclidean"])
@pytest.mark.parametrize("unit", UNITS)
def test_odd_one_out(similarity, unit):
    g = torch.Generator().manual_seed(0)
    z = torch.randn(30, 4, generator=g)
    triplets = torch.stack([torch.randperm(30, generator=g)[:3] for _ in range(200)])
    found = []
    for scale in (1.0, unit):
        metric = OddOneOutAccuracy(similarity=similarity)
        metric.update(z * scale, triplets)
        found.append(float(metric.compute()))
    assert found[0] == found[1] and 0.2 < found[0] < 0.5


def test_a_loss_with_a_unit_says_that_it_is_left():
    x = torch.randn(20, 3, generator=torch.Generator().manual_seed(0))
    metric = AlignmentMetric(NeuralAlignmentLoss("mse"))
    metric.update(x * 1e20, x * 1e20)
    assert float(metric.compute()) == 0.0  # no square of theirs is needed
    metric.reset()
    metric.update(x * 1e20, -x * 1e20)
    with pytest.raises(ValueError, match=HAVE_A_UNIT["any loss"]):
        metric.compute()


@pytest.mark.parametrize("mean", [1e7, 1e8, 1e10])
def test_float64_of_a_large_mean_is_numpys(mean):
    g = torch.Generator().manual_seed(0)
    x = torch.randn(300, 4, generator=g, dtype=torch.float64)
    y = x + torch.randn(300, 4, generator=g, dtype=torch.float64)
    metric = VoxelCorrelation(reduction="none")
    for a, b in zip((x + mean).split(70), (y - 3 * mean).split(70)):
        metric.update(a, b)
    expected = [np.corrcoef((x + mean)[:, v].numpy(), (y - 3 * mean)[:, v].numpy())[0, 1] for v in range(4)]
    torch.testing.assert_close(metric.compute().double(), torch.tensor(expected).double(), rtol=1e-5, atol=1e-6)
