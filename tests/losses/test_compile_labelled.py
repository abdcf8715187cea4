"""Losses of labelled embeddings as one compiled graph."""

import pytest
import torch

from neuroalign import CategoryManifolds, ManifoldGuidance, ManifoldGuidanceLoss, MMCRLoss, OddOneOutLoss
from neuroalign.losses import RandomFourierFeatures

pytestmark = pytest.mark.one_graph

C, V = 5, 8


def manifolds(feature_map=None):
    g = torch.Generator().manual_seed(0)
    labels = torch.arange(100) % C
    x = 2 * torch.randn(C, V, generator=g)[labels] + torch.randn(100, V, generator=g)
    return CategoryManifolds.from_features(x, labels, variance=0.8, feature_map=feature_map)


def batch(n=24):
    g = torch.Generator().manual_seed(1)
    return torch.randn(n, V, generator=g), torch.randint(0, C - 1, (n,), generator=g)


LOSSES = {
    "center": lambda: ManifoldGuidanceLoss(manifolds(), radius_weight=0.5),
    "batch mean": lambda: ManifoldGuidanceLoss(manifolds(), deviations_from="batch mean"),
    "kernel": lambda: ManifoldGuidanceLoss(manifolds(RandomFourierFeatures(V, 64, bandwidth=4.0))),
}


def equal_to_eager(loss, compiled, *arguments):
    results = []
    for f in (loss, compiled):
        z = arguments[0].clone().requires_grad_()
        value = f(z, *arguments[1:])
        results.append((value.detach(), *torch.autograd.grad(value, z)))
    torch.testing.assert_close(results[0], results[1], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("form", LOSSES)
def test_one_graph_equals_eager(form):
    loss = LOSSES[form]()
    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    z, labels = batch()
    equal_to_eager(loss, compiled, z, labels)
    equal_to_eager(loss, compiled, z, torch.full_like(labels, 2))  # one class has all samples
    if form == "center":  # another size compiles again, which takes time
        equal_to_eager(loss, compiled, *batch(17))
    assert bool(compiled(z, labels + C).isnan())
    assert bool(compiled(z, labels - C).isnan())


@pytest.mark.slow
@pytest.mark.parametrize("form", LOSSES)
def test_inductor(form):
    loss = LOSSES[form]()
    equal_to_eager(loss, torch.compile(loss, fullgraph=True), *batch())


def test_manifold_guidance():
    guidance = ManifoldGuidance({"TO": manifolds()})
    z, labels = batch()
    compiled = torch.compile(
        lambda z, labels: guidance({"TO": z}, {"label": labels}), fullgraph=True, backend="aot_eager"
    )
    torch.testing.assert_close(compiled(z, labels), guidance({"TO": z}, {"label": labels}))


@pytest.mark.parametrize("similarity", ["dot", "cosine", "sqeuclidean"])
def test_odd_one_out(similarity):
    loss = OddOneOutLoss(similarity)
    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    z, triplets = batch()[0], torch.tensor([[0, 1, 2], [5, 3, 9]])
    equal_to_eager(loss, compiled, z, triplets)
    assert bool(compiled(z, triplets + 20).isnan())


def test_mmcr_of_views():
    loss = MMCRLoss(local_weight=0.3)
    equal_to_eager(loss, torch.compile(loss, fullgraph=True, backend="aot_eager"), batch()[0].view(8, 3, V))
