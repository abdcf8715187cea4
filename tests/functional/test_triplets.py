"""Odd-one-out triplets."""

import math

import pytest
import torch

from neuroalign.functional import odd_one_out_correct, odd_one_out_nll, pair_similarities
from tests import similarity_references as ref

SIMILARITIES = ("dot", "cosine", "sqeuclidean")


def case():
    g = torch.Generator().manual_seed(0)
    z = torch.randn(8, 3, generator=g).double()
    return z, torch.stack([torch.randperm(8, generator=g)[:3] for _ in range(20)])


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_against_the_reference(similarity):
    z, triplets = case()
    args = z.numpy(), triplets.numpy(), similarity
    default = 0.1 if similarity == "cosine" else 1.0
    assert float(odd_one_out_nll(z, triplets, similarity=similarity)) == pytest.approx(
        ref.odd_one_out_loss(*args, default)
    )
    value = odd_one_out_nll(z, triplets, similarity=similarity, temperature=0.3)
    assert float(value) == pytest.approx(ref.odd_one_out_loss(*args, 0.3))
    accuracy = odd_one_out_correct(z, triplets, similarity=similarity).mean()
    assert float(accuracy) == pytest.approx(ref.odd_one_out_accuracy(*args))
    assert torch.autograd.gradcheck(lambda e: odd_one_out_nll(e, triplets, similarity=similarity), z.requires_grad_())


def test_a_constant_embedding_is_at_chance():
    z, triplets = case()
    constant = torch.ones_like(z)
    assert float(odd_one_out_nll(constant, triplets)) == pytest.approx(math.log(3))
    assert float(odd_one_out_correct(constant, triplets).mean()) == pytest.approx(1 / 3)
    zero = torch.zeros_like(z).requires_grad_()
    odd_one_out_nll(zero, triplets, similarity="cosine").backward()
    assert torch.isfinite(zero.grad).all()


def test_no_triplets_are_a_zero_with_a_graph():
    z = torch.ones(3, 2, requires_grad=True)
    odd_one_out_nll(z, torch.zeros(0, 3, dtype=torch.long)).backward()
    assert torch.equal(z.grad, torch.zeros(3, 2))


@pytest.mark.parametrize(
    ("z", "triplets", "error", "message"),
    [
        (
            torch.rand(3, 2),
            torch.tensor([[1, 2, 3]]),
            ValueError,
            "index 3 embeddings from 0; found 1 to 3.*count from 1",
        ),
        (torch.rand(3, 2), torch.tensor([[0, 1]]), ValueError, r"must be \(triplet, 3\)"),
        (torch.rand(3, 2), torch.tensor([[0.0, 1.0, 2.0]]), TypeError, "integer indices"),
        (torch.ones(3, 2, dtype=torch.long), torch.tensor([[0, 1, 2]]), TypeError, "floating point"),
    ],
)
def test_bad_input(z, triplets, error, message):
    with pytest.raises(error, match=message):
        pair_similarities(z, triplets)


def test_bad_options():
    z, triplets = case()
    with pytest.raises(ValueError, match="it must be 'dot', 'cosine' or 'sqeuclidean'"):
        pair_similarities(z, triplets, "cosin")
    with pytest.raises(ValueError, match="temperature must be positive"):
        odd_one_out_nll(z, triplets, temperature=0)
