"""Losses of labelled embeddings on a device whose values are not looked at after the first batch."""

import pytest
import torch

from neuroalign import CategoryManifolds, ManifoldGuidanceLoss, OddOneOutLoss
from neuroalign.functional import host
from neuroalign.losses import manifold


@pytest.fixture
def elsewhere(monkeypatch):
    """Let the CPU count as a device whose values are expensive to look at."""
    for module in (host, manifold):
        monkeypatch.setattr(module, "readable", lambda x: False)


def guided(num_classes, width, dtype, seed=0, **options):
    g = torch.Generator().manual_seed(seed)
    labels = torch.arange(6 * num_classes) % num_classes
    centers = 2 * torch.randn(num_classes, width, generator=g, dtype=dtype)
    x = centers[labels] + torch.randn(len(labels), width, generator=g, dtype=dtype)
    return ManifoldGuidanceLoss(CategoryManifolds.from_features(x, labels, variance=0.8), **options)


def answer(loss, z, labels):
    z = z.clone().requires_grad_()
    value = loss(z, labels)
    return value.detach(), *torch.autograd.grad(value, z)


@pytest.mark.parametrize("deviations_from", ["center", "batch mean"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_manifold_guidance_is_the_same_without_looking(monkeypatch, dtype, deviations_from):
    g = torch.Generator().manual_seed(0)
    for num_classes, rows, width, unit in ((1, 1, 4, 1.0), (3, 40, 7, 1.0), (30, 12, 5, 1e15), (10, 64, 20, 1e-20)):
        loss = guided(num_classes, width, dtype, deviations_from=deviations_from)
        z = unit * torch.randn(rows, width, generator=g, dtype=dtype)
        labels = torch.randint(0, num_classes, (rows,), generator=g)
        for kind in (torch.int64, torch.int32):
            expected = answer(loss, z, labels.to(kind))
            with monkeypatch.context() as patch:
                for module in (host, manifold):
                    patch.setattr(module, "readable", lambda x: False)
                loss(z, labels)  # the first batch, which is looked at
                tolerance = 1e-4 if dtype == torch.float32 else 1e-10
                for found, wanted in zip(answer(loss, z, labels.to(kind)), expected):
                    torch.testing.assert_close(
                        found, wanted, rtol=tolerance, atol=tolerance * float(wanted.abs().max())
                    )


def test_a_missing_value_stays_in_the_result(elsewhere):
    loss = guided(3, 5, torch.float64)
    z, labels = torch.zeros(6, 5), torch.arange(6) % 3
    z[0, 0] = torch.nan
    assert bool(loss(z, labels).isnan()) and bool(loss(z, labels).isnan())


@pytest.mark.parametrize("wrong", [-1, 3])
def test_a_wrong_label_is_refused_in_words_first_and_is_nan_later(elsewhere, wrong):
    z, right = torch.randn(6, 5), torch.arange(6) % 3
    labels = right.clone()
    labels[2] = wrong
    with pytest.raises(ValueError, match="0 to 2"):
        guided(3, 5, torch.float32)(z, labels)
    loss = guided(3, 5, torch.float32)
    assert bool(loss(z, right).isfinite())
    value, gradient = answer(loss, z, labels)
    assert bool(value.isnan()) and bool(gradient.isnan().all())
    assert all(bool(term.isnan()) for term in loss.terms(z, labels).values())
    assert bool(loss(z, right).isfinite())


def test_on_the_cpu_every_batch_is_refused_in_words():
    loss = guided(3, 5, torch.float32)
    z, labels = torch.randn(6, 5), torch.arange(6) % 3
    loss(z, labels)
    with pytest.raises(ValueError, match="0 to 2"):
        loss(z, labels + 1)


@pytest.mark.parametrize("similarity", ["dot", "cosine", "sqeuclidean"])
def test_odd_one_out_is_the_same_without_looking(elsewhere, similarity):
    g = torch.Generator().manual_seed(0)
    loss, z = OddOneOutLoss(similarity), torch.randn(9, 4, generator=g)
    triplets = torch.randint(0, 9, (20, 3), generator=g)
    first = answer(loss, z, triplets)
    torch.testing.assert_close(answer(loss, z, triplets), first)
    for wrong in (triplets - 1, triplets + 1):
        with pytest.raises(ValueError, match="index 9 embeddings"):
            OddOneOutLoss(similarity)(z, wrong)
        assert bool(loss(z, wrong).isnan())


def test_similarities_that_overflow_are_nan_later(elsewhere):
    loss, z, triplets = OddOneOutLoss("dot"), torch.full((3, 4), 1e25), torch.tensor([[0, 1, 2]])
    with pytest.raises(ValueError, match="divide the embeddings"):
        loss(z, triplets)
    assert bool(loss(z, triplets).isnan())
