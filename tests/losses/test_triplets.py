"""Odd-one-out triplets as a loss."""

import math

import pytest
import torch

from neuroalign import OddOneOutLoss
from neuroalign.functional import odd_one_out_correct, odd_one_out_nll
from tests.distributed import averaged, run_on_ranks


def case():
    g = torch.Generator().manual_seed(0)
    z = torch.randn(12, 4, generator=g, dtype=torch.float64)
    return z, torch.stack([torch.randperm(12, generator=g)[:3] for _ in range(30)])


def test_it_is_the_formula():
    z, triplets = case()
    value = OddOneOutLoss("cosine", temperature=0.5)(z, triplets)
    torch.testing.assert_close(value, odd_one_out_nll(z, triplets, similarity="cosine", temperature=0.5))


def test_learning_from_choices():
    """Embeddings learned from the choices of simulated people predict other choices; of shuffled ones they don't."""
    truth, _ = case()
    g = torch.Generator().manual_seed(1)
    triplets = torch.stack([torch.randperm(12, generator=g)[:3] for _ in range(600)])
    s = torch.stack([(truth[triplets[:, a]] * truth[triplets[:, b]]).sum(1) for a, b in ((0, 1), (0, 2), (1, 2))], 1)
    order = torch.tensor([[0, 1, 2], [0, 2, 1], [1, 2, 0]])[s.argmax(1)]
    chosen = triplets.gather(1, order)
    shuffled = triplets.gather(1, order[torch.randperm(600, generator=g)])
    accuracy = []
    for given in (chosen, shuffled):
        z = torch.nn.Parameter(0.1 * torch.randn(12, 4, generator=g))
        optimizer = torch.optim.Adam([z], 0.05)
        for _ in range(200):
            optimizer.zero_grad()
            OddOneOutLoss()(z, given[:400]).backward()
            optimizer.step()
        accuracy.append(float(odd_one_out_correct(z, chosen[400:]).mean()))
    assert accuracy[0] > 0.8
    assert accuracy[1] < 0.55


def _gradient(rank, world, sizes):
    z, triplets = case()
    w = torch.eye(4, dtype=torch.float64, requires_grad=True)
    start = sum(sizes[:rank])
    value = OddOneOutLoss()(z @ w, triplets[start : start + sizes[rank]])
    value.backward()
    return w.grad, value.detach()


def test_several_processes_equal_one():
    ranks = run_on_ranks(_gradient, 2, (25, 5))
    gradient, value = _gradient(0, 1, (30,))
    torch.testing.assert_close(averaged([r[0] for r in ranks]), gradient, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(averaged([r[1] for r in ranks]), value)


def test_errors():
    with pytest.raises(ValueError, match="unknown similarity 'euclidean'"):
        OddOneOutLoss("euclidean")
    with pytest.raises(ValueError, match="temperature must be positive"):
        OddOneOutLoss(temperature=0)
    assert float(OddOneOutLoss()(torch.ones(3, 2), torch.tensor([[0, 1, 2]]))) == pytest.approx(math.log(3))


@pytest.mark.parametrize("temperature", [1.0, 0.1])
def test_the_floor_of_cosines_is_as_stated(temperature):
    """Two equal objects and their opposite: no embedding makes the choice more certain."""
    z = torch.tensor([[1.0, 0.0], [1.0, 0.0], [-1.0, 0.0]], dtype=torch.float64)
    value = OddOneOutLoss("cosine", temperature)(50 * z, torch.tensor([[0, 1, 2]]))
    assert float(value) == pytest.approx(math.log1p(2 * math.exp(-2 / temperature)), rel=1e-6)


def test_the_temperature_follows_the_similarity():
    z, triplets = torch.randn(9, 4), torch.arange(9).view(3, 3)
    for similarity, temperature in (("cosine", 0.1), ("dot", 1.0), ("sqeuclidean", 1.0)):
        loss = OddOneOutLoss(similarity)
        assert loss.temperature == temperature == loss.config["init_args"]["temperature"]
        expected = odd_one_out_nll(z, triplets, similarity=similarity, temperature=temperature)
        assert float(loss(z, triplets)) == float(expected) == float(odd_one_out_nll(z, triplets, similarity=similarity))
    z = torch.tensor([[1.0, 0.0], [1.0, 0.0], [-1.0, 0.0]])
    assert float(OddOneOutLoss("cosine")(z, torch.tensor([[0, 1, 2]]))) < 1e-6
