"""Set-level metrics: equal to the formula on the whole, in any order of batches, when merged, and over two processes."""

import pytest
import torch

from neuroalign import (
    CCA,
    CKA,
    RSA,
    AlignmentMetric,
    NeuralAlignmentLoss,
    ProcrustesSimilarity,
    RidgePredictivity,
    SoftMatching,
)
from neuroalign import functional as F
from tests.distributed import run_on_ranks


def sets(n=40, p=5, v=6):
    g = torch.Generator().manual_seed(0)
    signal = torch.randn(n, 2, generator=g)
    x, y = (signal @ torch.randn(2, k, generator=g) + 0.5 * torch.randn(n, k, generator=g) for k in (p, v))
    y[3, 2] = torch.nan
    return x, y


W = torch.tensor([0.5, 1.0, 0.0, 0.3, 0.2, 0.9])


def ridge(x, y, weight=None):
    return F.ridge_predictivity(x, y, num_folds=5, weight=weight).nanquantile(0.5)


TABLE = {
    "cka": (CKA, F.linear_cka),
    "biased": (lambda **k: CKA(debiased=False, **k), lambda x, y, **k: F.linear_cka(x, y, debiased=False, **k)),
    "corrected": (
        lambda **k: CKA(voxel_corrected=True, **k),
        lambda x, y, **k: F.linear_cka(x, y, voxel_corrected=True, **k),
    ),
    "rbf": (lambda **k: CKA(kernel="rbf", bandwidth=0.7, **k), lambda x, y, **k: F.rbf_cka(x, y, bandwidth=0.7, **k)),
    "rsa": (
        lambda **k: RSA(dissimilarity="correlation", comparison="spearman", **k),
        lambda x, y, **k: F.rsa(x, y, dissimilarity="correlation", comparison="spearman", **k),
    ),
    "procrustes": (ProcrustesSimilarity, F.procrustes),
    "angle": (
        lambda **k: ProcrustesSimilarity(angular=True, alpha=0.5, **k),
        lambda x, y, **k: F.shape_distance(x, y, alpha=0.5, **k),
    ),
    "soft matching": (SoftMatching, lambda x, y, **k: F.soft_matching(x, y, temperature=0.01, **k)),
    "ridge": (RidgePredictivity, ridge),
    "cca": (CCA, lambda x, y, **k: F.cca(x, y, **k).mean()),
    "svcca": (lambda **k: CCA(kind="svcca", variance=0.9, **k), lambda x, y, **k: F.svcca(x, y, variance=0.9, **k)),
    "pwcca": (lambda **k: CCA(kind="pwcca", **k), F.pwcca),
}


@pytest.fixture(params=TABLE, ids=str)
def case(request):
    return TABLE[request.param]


@pytest.mark.parametrize("weighted", [False, True])
def test_of_batches_in_any_order_is_that_of_the_whole(case, weighted):
    make, formula = case
    x, y = sets()
    metric = make(noise_ceiling=W) if weighted else make()
    for part in torch.randperm(40, generator=torch.Generator().manual_seed(1)).split(9):
        metric.update(x[part], y[part], part)
    metric.update(x[:4], y[:4], torch.arange(4))  # what a distributed sampler repeats
    torch.testing.assert_close(metric.compute(), formula(x, y, weight=W) if weighted else formula(x, y))
    metric.reset()
    metric.update(x[:30], y[:30])
    torch.testing.assert_close(metric.compute(), formula(x[:30], y[:30], weight=W if weighted else None))


def test_merging(case):
    make, formula = case
    x, y = sets()
    a, b = make(), make()
    a.update(x[:25], y[:25], torch.arange(25))
    b.update(x[25:], y[25:], torch.arange(25, 40))
    a.merge_state(b)
    torch.testing.assert_close(a.compute(), formula(x, y))


def _on_rank(rank, world):
    x, y = sets()
    mine = torch.arange(rank, 40, world)[: 20 - rank]  # of unequal length
    out = []
    for make, _ in TABLE.values():
        metric = make()
        metric.update(x[mine], y[mine], mine)
        out.append(metric.compute())
    return torch.stack(out)


@pytest.mark.slow
def test_two_processes_equal_one():
    x, y = sets()
    seen = torch.cat([torch.arange(0, 40, 2), torch.arange(1, 40, 2)[:19]]).sort().values
    expected = torch.stack([formula(x[seen], y[seen]) for _, formula in TABLE.values()])
    for value in run_on_ranks(_on_rank, 2):
        torch.testing.assert_close(value, expected)


def test_any_loss_is_a_metric():
    x, y = sets(v=5)
    for measure in ("mse", "gaussian_nll", "cka"):
        metric = AlignmentMetric(NeuralAlignmentLoss(measure))
        metric.update(x[:30], y[:30])
        metric.update(x[30:], y[30:])
        torch.testing.assert_close(metric.compute(), NeuralAlignmentLoss(measure)(x, y).detach())


def test_reductions_of_ridge():
    x, y = sets()
    values = {}
    for reduction in ("none", "mean", "median"):
        metric = RidgePredictivity(reduction=reduction, noise_ceiling=W)
        metric.update(x, y)
        values[reduction] = metric.compute()
    r = values["none"]
    assert r.isnan().tolist() == [False, False, True, False, False, False]
    torch.testing.assert_close(values["median"], r.nanquantile(0.5))
    torch.testing.assert_close(values["mean"], (W * r.nan_to_num()).sum() / W.sum())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: CKA(kernel="poly"), "unknown kernel 'poly': it must be 'linear' or 'rbf'"),
        (lambda: CKA(kernel="rbf", voxel_corrected=True), "known for the linear kernel only"),
        (lambda: RSA(comparison="kendall"), "unknown comparison"),
        (lambda: ProcrustesSimilarity(alpha=3), "alpha must be in"),
        (lambda: SoftMatching(temperature=0), "temperature must be positive"),
        (lambda: RidgePredictivity(reduction="max"), "'median', 'mean' or 'none'"),
        (lambda: CCA(kind="kcca"), "'cca', 'svcca' or 'pwcca'"),
        (lambda: CKA(noise_ceiling=torch.tensor([36.0])), r"must be in \[0, 1\]; got 36 to 36 .divide per cent by 100"),
        (lambda: CKA().compute(), "CKA has seen no stimuli"),
        (lambda: CKA().update(torch.rand(4, 2), torch.rand(4, 2), torch.arange(3)), "4 stimuli but an index of 3"),
        (lambda: [m.update(torch.rand(4, n), torch.rand(4, 2)) for m in [CKA()] for n in (2, 3)], "2 columns.*now 3"),
    ],
)
@pytest.mark.filterwarnings("ignore:The ``compute`` method of metric")
def test_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_loss_with_nothing_to_compare_is_undefined_over_an_epoch():
    metric = AlignmentMetric(NeuralAlignmentLoss("cka"))
    preds, target = torch.randn(2, 8, 5)
    target[3:] = torch.nan
    assert metric(preds, target).isnan()
    assert metric.compute().isnan()
    metric.update(preds, target)  # now six of them
    torch.testing.assert_close(metric.compute(), metric.function(preds.repeat(2, 1), target.repeat(2, 1)))
