"""How often losses that take labels, triplets or identities make the host wait for a GPU after the first batch."""

import pytest
import torch

from neuroalign import (
    CapacityLoss,
    CategoryManifolds,
    ManifoldGuidance,
    ManifoldGuidanceLoss,
    MMCRLoss,
    NonNeuralManifoldLoss,
    OddOneOutLoss,
    RDMAlignmentLoss,
)
from neuroalign.functional import rdm
from neuroalign.losses import RandomFourierFeatures
from tests.stand_in_device import StandIn, on_stand_in

N, V = 32, 12


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def labels(num_classes):
    return torch.randint(0, num_classes, (N,), generator=torch.Generator().manual_seed(1))


def guided(num_classes, kernel=False, **options):
    x, y = random(4 * num_classes, V), torch.arange(4 * num_classes) % num_classes
    feature_map = RandomFourierFeatures(V, 32, bandwidth=5.0) if kernel else None
    manifolds = CategoryManifolds.from_features(x, y, variance=0.8, feature_map=feature_map)
    return ManifoldGuidanceLoss(manifolds, **options), labels(num_classes)


def rdm_loss(comparison, identities, **options):
    return RDMAlignmentLoss(rdm(random(50, 20, seed=2)), comparison=comparison, **options), torch.tensor(identities)


DISTINCT, REPEATED, UNKNOWN = list(range(5, 5 + N)), [7, 7, *range(9, 7 + N)], [*range(19, 18 + N), 1000]

CASES = {  # the loss with its second argument, and how often it may wait
    "guidance, 10 classes": (lambda: guided(10), 0),
    "guidance, 100 classes": (lambda: guided(100), 0),
    "guidance, batch mean": (lambda: guided(10, deviations_from="batch mean"), 0),
    "guidance, kernel": (lambda: guided(10, kernel=True), 0),
    "odd one out": (lambda: (OddOneOutLoss(), torch.arange(30).view(10, 3)), 0),
    "odd one out, cosine": (lambda: (OddOneOutLoss("cosine"), torch.arange(30).view(10, 3)), 0),
    "non-neural": (lambda: (NonNeuralManifoldLoss(), labels(10)), 3),  # which classes, how large, their singular values
    "non-neural, plain": (lambda: (NonNeuralManifoldLoss(normalized=False), labels(10)), 3),
    "views": (lambda: (MMCRLoss(local_weight=0.5), None), 2),  # singular values
    "classes as manifolds": (lambda: (MMCRLoss(local_weight=0.5), labels(10)), 4),
    "capacity": (lambda: (CapacityLoss(num_samples=8), labels(10)), 4),  # of the number of calls, labels, points, range
    "capacity, per manifold": (lambda: (CapacityLoss("per_manifold", num_samples=8), labels(4)), 3),
    "rdm": (lambda: rdm_loss("pearson", DISTINCT), 0),
    "rdm, repeated": (lambda: rdm_loss("pearson", REPEATED), 0),
    "rdm, ranks": (lambda: rdm_loss("soft_spearman", REPEATED), 0),
    "rdm, whitened": (lambda: rdm_loss("whitened_cosine", REPEATED), 0),
    "rdm, unknown stimuli": (lambda: rdm_loss("pearson", UNKNOWN, stimuli=range(50)), 0),
}


def steps(loss, z, second):
    """Values and gradients of two steps, and the device during the second."""
    answers = []
    for _ in range(2):
        leaf = z.clone() if z.device.type == "cpu" else z
        leaf = leaf.detach().requires_grad_()
        with StandIn() as device:
            value = loss(leaf, second)
            value.backward()
        answers.append((value.detach(), leaf.grad))
    return answers, device


@pytest.mark.filterwarnings("ignore:.*can be separated", "ignore:.*out of the kernel")
@pytest.mark.parametrize("case", CASES)
def test_waits_and_values(case):
    make, allowed = CASES[case]
    loss, second = make()
    z = random(N, V, seed=3) if second is not None else random(8, 4, V, seed=3)
    expected, _ = steps(loss, z, second)
    moved, _ = make()
    found, device = steps(on_stand_in(moved), on_stand_in(z), on_stand_in(second))
    assert device.waits.total() <= allowed, device.waits
    assert not device.copies and not device.mixes, (device.copies, device.mixes)
    for ours, theirs in zip(found, expected):
        for x, y in zip(ours, theirs):
            torch.testing.assert_close(x.cpu(), y, rtol=1e-4, atol=1e-5)


def test_manifold_guidance_of_a_network():
    loss, second = guided(10)
    guidance = on_stand_in(ManifoldGuidance({"TO": loss.manifolds}))
    z, batch = on_stand_in(random(N, V)), on_stand_in({"label": second})
    for _ in range(2):
        with StandIn() as device:
            guidance({"TO": z}, batch)
    assert not device.waits and not device.copies and not device.mixes


def test_capacity_does_its_small_steps_on_the_host():
    """Hundreds of steps, each of dozens of operations, would otherwise be sent to the device one by one."""
    _, device = steps(on_stand_in(CapacityLoss(num_samples=8)), on_stand_in(random(N, 2 * N)), on_stand_in(labels(10)))
    assert device.operations < 150
