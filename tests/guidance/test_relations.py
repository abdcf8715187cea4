"""Guidance by dissimilarity matrices and by odd-one-out choices."""

import pytest
import torch

from neuroalign import OddOneOutGuidance, OddOneOutLoss, RDMAlignmentLoss, RDMGuidance
from neuroalign.functional import rdm
from tests.distributed import run_on_ranks


def features():
    return torch.randn(10, 4, generator=torch.Generator().manual_seed(0))


@pytest.mark.filterwarnings("ignore:comparison=.cosine. takes the noise")
def test_rdm_guidance_finds_the_batchs_part():
    target = rdm(features())
    guidance = RDMGuidance({"IT": target, "EVC": RDMAlignmentLoss(target, comparison="cosine")})
    stimulus = torch.tensor([8, 1, 3, 5])
    x = features().flip(0)[:4]
    terms = guidance({"IT": x, "EVC": x}, {"stimulus": stimulus})
    torch.testing.assert_close(terms["IT/rsa"], RDMAlignmentLoss(target)(x, stimulus))
    assert guidance.terms == tuple(terms)
    assert terms["IT/rsa"] != terms["EVC/rsa"]
    exact = guidance({"IT": features()[stimulus], "EVC": features()[stimulus]}, {"stimulus": stimulus})
    assert float(exact["IT/rsa"]) == pytest.approx(0, abs=1e-6)


def test_triplets_inside_the_batch_are_used():
    triplets = torch.tensor([[100, 101, 102], [102, 100, 103], [100, 101, 999], [1, 2, 3]])
    guidance = OddOneOutGuidance("IT", triplets, OddOneOutLoss("cosine"))
    stimulus = torch.tensor([103, 100, 102, 101])
    x = features()[:4]
    value = guidance({"IT": x}, {"stimulus": stimulus})["IT/odd_one_out"]
    expected = OddOneOutLoss("cosine")(x, torch.tensor([[1, 3, 2], [2, 1, 0]]))
    torch.testing.assert_close(value, expected)
    none = guidance({"IT": x.requires_grad_()}, {"stimulus": torch.tensor([5, 6, 7, 8])})["IT/odd_one_out"]
    none.backward()
    assert float(none) == 0


def test_relations_tell_whether_a_batch_held_any():
    x = features()
    known = RDMGuidance({"IT": rdm(x[:5])}, stimuli=range(5))
    triplets = OddOneOutGuidance("IT", torch.tensor([[0, 1, 2]]))
    for stimulus, expected in (([0, 1, 2, 9], True), ([0, 1, 8, 9], False)):
        b = {"stimulus": torch.tensor(stimulus)}
        for guidance, term in ((known, "IT/rsa"), (triplets, "IT/odd_one_out")):
            value = guidance({"IT": x.flip(0)[:4]}, b)[term]
            assert bool(guidance.last_valid[term]) is expected
            assert (float(value) == 0) is not expected
    assert known.loss_of("IT").min_valid == triplets.loss_of("IT").min_valid == 3


def _told_on_ranks(rank, world):
    """The second process has no triplet, then neither has."""
    out = []
    for first in ([[0, 1, 2]], []):
        loss = OddOneOutLoss()
        loss(features(), torch.tensor(first if rank == 0 else [], dtype=torch.long).reshape(-1, 3))
        out.append(bool(loss.last_valid))
    return out


def test_a_triplet_of_another_process_counts():
    assert run_on_ranks(_told_on_ranks, 2) == [[True, False], [True, False]]


def test_errors():
    with pytest.raises(ValueError, match=r"integer \(triplet, 3\)"):
        OddOneOutGuidance("IT", torch.zeros(2, 2))
    for guidance in (RDMGuidance({"IT": rdm(features())}), OddOneOutGuidance("IT", torch.tensor([[0, 1, 2]]))):
        with pytest.raises(ValueError, match="finds its target by the batch's 'stimulus'"):
            guidance({"IT": features()}, {"image": features()})
        with pytest.raises(ValueError, match="unknown response head 'IT'"):
            guidance({"V4": features()}, {"stimulus": torch.arange(10)})
