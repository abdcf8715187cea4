"""Every loss in any unit: the value times a power of the unit, with a finite gradient, or one clear sentence."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch

from neuroalign import (
    CapacityLoss,
    CategoryManifolds,
    ManifoldGuidanceLoss,
    MMCRLoss,
    NeuralAlignmentLoss,
    NonNeuralManifoldLoss,
    OddOneOutLoss,
    RDMAlignmentLoss,
    losses,
)
from neuroalign.functional import rdm
from neuroalign.losses import MEASURES

UNITS = (1e-20, 1e-10, 1e10, 1e20)
N, D = 24, 6
LABELS = torch.arange(N) % 4


def data(seed, width=D):
    g = torch.Generator().manual_seed(seed)
    return 2 * torch.randn(4, width, generator=g)[LABELS] + torch.randn(N, width, generator=g)


@dataclass
class Case:
    of: Callable  # the loss of x in a unit
    power: int = 0  # of the unit, with which the value grows
    refused: tuple[float, ...] = ()  # units in which it says that the dtype is left


def measure(name, **options):
    target = data(1)
    powers = {"mse": 2, "gaussian_nll": 2, "poisson_nll": 1}
    if name == "poisson_nll":
        counts = target.abs().ceil()
        of = lambda x, unit: NeuralAlignmentLoss(name, log_input=False)(x.abs() + 0.1 * unit, counts * unit)  # noqa: E731
    elif name == "gaussian_nll":
        of = lambda x, unit: NeuralAlignmentLoss(name, variance=1.0, **options)(x, target * unit)  # noqa: E731
    else:
        of = lambda x, unit: NeuralAlignmentLoss(name, **options)(x, target * unit)  # noqa: E731
    return Case(of, powers.get(name, 0), (1e20,) if MEASURES[name].squares else ())


def guidance(x, unit, **options):
    manifolds = CategoryManifolds.from_features(data(2) * unit, LABELS, variance=0.8)
    return ManifoldGuidanceLoss(manifolds, **options)(x, LABELS)


TRIPLETS = torch.stack([torch.arange(N).roll(k) for k in range(3)], 1)
TABLE = {name: measure(name) for name in MEASURES} | {
    "pearson over voxels": measure("pearson", over="voxels"),
    "rsa, correlation": measure("rsa", dissimilarity="correlation"),
    "rsa, cosine": measure("rsa", dissimilarity="cosine", comparison="whitened_cosine"),
    "cka, biased": measure("cka", debiased=False),
    "procrustes, whitened": measure("procrustes", alpha=0.5, angular=True),
    "manifold radius": Case(lambda x, unit: guidance(x, unit, subspace_weight=0.0), 1),
    "manifold subspace": Case(lambda x, unit: guidance(x, unit, radius_weight=0.0)),
    "manifold, batch mean": Case(
        lambda x, unit: guidance(x, unit, radius_weight=0.0, deviations_from="batch mean")
    ),
    "non-neural": Case(lambda x, unit: NonNeuralManifoldLoss()(x, LABELS)),
    "non-neural, paper": Case(lambda x, unit: NonNeuralManifoldLoss(radius=0.0, normalized=False)(x, LABELS), 1),
    "capacity": Case(lambda x, unit: CapacityLoss()(x, LABELS)),
    "mmcr": Case(lambda x, unit: MMCRLoss()(x, LABELS)),
    "rdm": Case(lambda x, unit: RDMAlignmentLoss(rdm(data(1)))(x, torch.arange(N))),
    "odd one out, cosine": Case(lambda x, unit: OddOneOutLoss("cosine")(x, TRIPLETS)),
}  # fmt: skip


def value_and_gradient(of, x, unit):
    x = (x * unit).requires_grad_()
    value = of(x, unit)
    return value.detach(), torch.autograd.grad(value, x)[0]


def test_every_loss_is_asked():
    asked = {"NeuralAlignmentLoss", "ManifoldGuidanceLoss", "NonNeuralManifoldLoss", "CapacityLoss", "MMCRLoss",
             "RDMAlignmentLoss", "OddOneOutLoss"}  # fmt: skip
    assert {name for name in losses.__all__ if name.endswith("Loss")} == asked
    assert set(MEASURES) <= set(TABLE)


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("name", TABLE)
def test_in_any_unit(name, unit):
    case, x = TABLE[name], data(0)
    if unit in case.refused:
        with pytest.raises(
            ValueError, match=r"target has values up to .*e\+20, whose squares leave torch.float32.*z-scores"
        ):
            case.of(x * unit, unit)
        return
    expected, gradient = value_and_gradient(case.of, x, 1.0)
    value, found = value_and_gradient(case.of, x, unit)
    assert bool(value.isfinite()) and bool(found.isfinite().all())
    scale = unit**case.power
    # float32's smallest numbers hold few digits: 1e-40 of a square
    smallest = 3e-45 * N * D
    torch.testing.assert_close(value.double(), expected.double() * scale, rtol=1e-3, atol=1e-6 * scale + smallest)
    gradient = gradient.double() * (scale / unit)
    torch.testing.assert_close(found.double(), gradient, rtol=1e-2, atol=3e-3 * float(gradient.abs().max()) + smallest)


@pytest.mark.parametrize("unit", [1e-38, 1e-30, 1e30, 1e37])
@pytest.mark.parametrize("name", sorted(n for n, m in MEASURES.items() if m.scale_free))
def test_at_the_ends_of_float32(name, unit):
    case, x = TABLE[name], data(0)
    value, gradient = value_and_gradient(case.of, x, unit)
    assert float(value) == pytest.approx(float(case.of(x, 1.0)), rel=2e-2, abs=1e-4)
    assert bool(gradient.isfinite().all())


def test_fill_values_of_voxels_that_are_left_out_are_not_squared():
    x, y = data(0), data(1)
    y[:, 2] = 1e20
    weight = torch.tensor([1.0, 1.0, 0.0, 1.0, 0.5, 1.0])
    assert bool(NeuralAlignmentLoss("mse", noise_ceiling=weight)(x, y).isfinite())
    with pytest.raises(ValueError, match="whose squares leave"):
        NeuralAlignmentLoss("mse", noise_ceiling=weight.flip(0))(x, y)


@pytest.mark.parametrize("similarity", ["dot", "sqeuclidean"])
def test_similarities_that_leave_float32_are_refused(similarity):
    with pytest.raises(ValueError, match=r"similarities of embeddings of up to .*e\+20 leave torch.float32"):
        OddOneOutLoss(similarity)(data(0) * 1e20, TRIPLETS)
    assert bool(OddOneOutLoss(similarity)(data(0) * 1e-20, TRIPLETS).isfinite())


@pytest.mark.parametrize("unit", [1e-30, 1e-20, 1e20, 1e30])
def test_category_manifolds_in_any_unit(unit):
    x = data(2)
    expected, found = (CategoryManifolds.from_features(x * u, LABELS, variance=0.8) for u in (1.0, unit))
    torch.testing.assert_close(found.radii / unit, expected.radii, rtol=1e-5, atol=0)
    torch.testing.assert_close(found.centers / unit, expected.centers, rtol=1e-5, atol=1e-6)
    assert found.ranks.tolist() == expected.ranks.tolist()
    for a, b in zip(found.bases, expected.bases):
        torch.testing.assert_close((a.T @ b).abs(), torch.eye(a.shape[1]), atol=1e-4, rtol=0)


def test_manifolds_of_no_images_are_refused():
    for shape in ((0, 4), (5, 0)):
        with pytest.raises(ValueError, match=r"no features to measure manifolds of: their shape is \("):
            CategoryManifolds.from_features(torch.zeros(shape), torch.zeros(shape[0], dtype=torch.long))


@pytest.mark.parametrize("num", [3, 16, 128, 256, 1000, 1448, 4096])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_many_constants_send_no_gradient(num, dtype):
    g = torch.Generator().manual_seed(0)
    constants = (4 * torch.rand(200, generator=g, dtype=torch.float64) - 2).to(dtype).expand(num, -1)
    y = torch.randn(num, 200, generator=g, dtype=torch.float64).to(dtype)
    loss = NeuralAlignmentLoss("pearson")
    for preds, target in ((constants, y), (y, constants)):
        value, gradient = value_and_gradient(lambda x, _: loss(x, target), preds.clone(), 1.0)  # noqa: B023
        assert float(value) == 1 and bool(gradient.eq(0).all())
