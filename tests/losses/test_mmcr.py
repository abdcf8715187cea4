import pytest
import torch

from neuroalign import MMCRLoss
from neuroalign.config import build
from tests.distributed import averaged, run_on_ranks
from tests.geometry_references.embeddings import mmcr

D = torch.float64


def views(b=5, v=3, d=7, seed=0):
    return torch.randn(b, v, d, generator=torch.Generator().manual_seed(seed), dtype=D)


@pytest.mark.parametrize("weight", [0.0, 0.3])
def test_against_the_reference(weight):
    z = views()
    assert float(MMCRLoss(local_weight=weight)(z)) == pytest.approx(mmcr(z.numpy(), weight), rel=1e-12)


def test_classes_are_views_with_labels():
    z = views()
    loss, labels = MMCRLoss(local_weight=0.2), torch.arange(5).repeat_interleave(3)
    order = torch.randperm(15)
    torch.testing.assert_close(loss(z), loss(z.flatten(0, 1)[order], labels[order]))


def test_known_values():
    eye = torch.eye(4, dtype=D)[:, None]
    assert float(MMCRLoss()(eye.expand(4, 2, 4))) == pytest.approx(-4)  # orthogonal stimuli, equal views
    assert float(MMCRLoss()(eye[:1].expand(4, 2, 4))) == pytest.approx(-2)  # all alike: one direction of length sqrt(4)
    opposite = torch.cat([eye, -eye], 1)
    assert float(MMCRLoss()(opposite)) == pytest.approx(0)


def test_scale_does_not_matter_and_gradient():
    z = views()
    torch.testing.assert_close(MMCRLoss()(z), MMCRLoss()(7 * z))
    z = views(3, 2, 5).requires_grad_()
    assert torch.autograd.gradcheck(MMCRLoss(local_weight=0.3), (z,))


def test_degenerate_points_have_a_finite_gradient():
    z = torch.zeros(3, 2, 4, dtype=D).requires_grad_()
    MMCRLoss(local_weight=1.0)(z).backward()
    assert bool(z.grad.isfinite().all())


def test_config_and_bad_input():
    loss = MMCRLoss(local_weight=0.5)
    assert build(loss.config).config == loss.config
    with pytest.raises(ValueError, match="stimulus, view, feature"):
        loss(torch.randn(4, 3))
    with pytest.raises(ValueError, match="local_weight"):
        MMCRLoss(local_weight=-1.0)


def _rank_gradient(rank, world, sizes):
    start = sum(sizes[:rank])
    z = views(sum(sizes))[start : start + sizes[rank]]
    weight = torch.nn.Parameter(torch.eye(7, dtype=D))
    MMCRLoss(local_weight=0.3)(z @ weight).backward()
    return weight.grad


def test_several_processes_equal_one():
    ranks = run_on_ranks(_rank_gradient, 2, (4, 3))
    torch.testing.assert_close(averaged(ranks), _rank_gradient(0, 1, (7,)), rtol=1e-9, atol=1e-12)
