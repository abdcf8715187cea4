"""Undefined means undefined, in every registered measure: no gradient from what is constant, one value in any unit."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from neuroalign import (
    CapacityLoss,
    MMCRLoss,
    NeuralAlignmentLoss,
    OddOneOutLoss,
    RDMAlignmentLoss,
    functional,
)
from neuroalign.losses import MEASURES

SCALE_FREE = sorted(name for name, measure in MEASURES.items() if measure.scale_free)
OPTIONS = {
    "pearson": [{}, {"over": "voxels"}],
    "rsa": [{}, {"dissimilarity": "correlation"}, {"dissimilarity": "cosine"}, {"comparison": "whitened_cosine"},
            {"comparison": "soft_spearman"}],
    "procrustes": [{}, {"alpha": 0.5}, {"angular": True}],
    "cka": [{}, {"debiased": False}, {"voxel_corrected": True}],
}  # fmt: skip
CASES = [(name, options) for name in SCALE_FREE for options in OPTIONS.get(name, [{}])]


def sets(seed=0, n=24, v=6, dtype=torch.float32):
    g = torch.Generator().manual_seed(seed)
    signal = torch.randn(n, 3, generator=g, dtype=torch.float64)
    x, y = (signal @ torch.randn(3, v, generator=g, dtype=torch.float64) for _ in range(2))
    x, y = (z + 0.3 * torch.randn(n, v, generator=g, dtype=torch.float64) for z in (x, y))
    return x.to(dtype), y.to(dtype)


def value_and_gradient(loss, x, y):
    x = x.clone().requires_grad_()
    value = loss(x, y)
    return value.detach(), torch.autograd.grad(value, x)[0]


def test_the_measures_that_claim_it():
    assert SCALE_FREE == ["cka", "cosine", "pearson", "procrustes", "rbf_cka", "ridge", "rsa", "soft_matching"]


@pytest.mark.parametrize(("name", "options"), CASES, ids=str)
@pytest.mark.parametrize("missing", [False, True])
def test_value_and_gradient_in_any_unit(name, options, missing):
    loss = NeuralAlignmentLoss(name, **options)
    x, y = sets()
    if missing:
        y[2, 1] = y[5, 3] = torch.nan
    expected, gradient = value_and_gradient(loss, x, y)
    assert abs(float(expected)) > 0.001 and float(gradient.abs().max()) > 0
    for a, b in ((1e-20, 1.0), (1.0, 1e-20), (1e20, 1e-20), (1e-20, 1e20), (1e20, 1e20), (1e-10, 1e-15)):
        value, grad = value_and_gradient(loss, a * x, b * y)
        torch.testing.assert_close(value, expected, rtol=2e-4, atol=2e-5)
        torch.testing.assert_close(grad * a, gradient, rtol=5e-3, atol=2e-3 * float(gradient.abs().max()))


@settings(max_examples=12, deadline=None)
@given(
    st.floats(-1e20, 1e20) | st.floats(-3, 3),
    st.integers(6, 10_000),
    st.sampled_from([torch.float32, torch.float64]),
)
@pytest.mark.parametrize("name", ["cosine", "pearson", "ridge", "soft_matching"])
def test_a_constant_voxel_sends_no_gradient(name, constant, n, dtype):
    if name == "cosine":  # which doesn't centre: a constant means nothing to it, zero does
        constant, loss = 0.0, NeuralAlignmentLoss(name)
    else:
        loss = NeuralAlignmentLoss(name)
    x, y = sets(n=n, v=3, dtype=dtype)
    for side in ("target", "preds"):
        z, t = x.clone(), y.clone()
        if name == "cosine":
            (t if side == "target" else z)[1] = 0
        else:
            (t if side == "target" else z)[:, 1] = constant
        value, gradient = value_and_gradient(loss, z, t)
        assert bool(value.isfinite()) and bool(gradient.isfinite().all())
        if name == "pearson" or (name == "soft_matching" and side == "preds"):
            assert gradient[:, 1].eq(0).all()
        if name == "cosine":
            assert gradient[1].eq(0).all()


@settings(max_examples=8, deadline=None)
@given(
    st.floats(-1e20, 1e20) | st.floats(-3, 3),
    st.integers(8, 300),
    st.sampled_from([torch.float32, torch.float64]),
)
@pytest.mark.parametrize(("name", "options"), [c for c in CASES if not MEASURES[c[0]].paired], ids=str)
def test_a_constant_set_sends_no_gradient(name, options, constant, n, dtype):
    n = min(n, 60) if name == "soft_matching" else n
    loss = NeuralAlignmentLoss(name, **options)
    x, _ = sets(n=n, v=3, dtype=dtype)
    flat = torch.full_like(x, constant)
    if options.get("dissimilarity") == "cosine":  # every pattern alike: distances 0, as of any constant set
        flat[:, 1] *= 0.5
    worst = 1.0 if not options.get("angular") else torch.pi / 2
    for preds, target in ((flat, x), (x, flat)):
        value, gradient = value_and_gradient(loss, preds, target)
        assert float(value) == pytest.approx(worst)
        assert gradient.eq(0).all()


@pytest.mark.parametrize(
    "function",
    [functional.linear_cka, functional.rbf_cka, functional.rsa, functional.procrustes, functional.soft_matching],
)
@pytest.mark.parametrize("constant", [0.1, -1.7, 1e20, 1e-20, 1e8])
def test_a_constant_set_is_undefined_as_a_function(function, constant):
    for n in (5, 256, 1448):
        n = min(n, 60) if function is functional.soft_matching else n
        x = torch.randn(n, 4)
        flat = torch.full((n, 3), constant)
        assert bool(function(x, flat).isnan()) and bool(function(flat, x).isnan())
    assert functional.ridge_predictivity(torch.full((40, 3), constant), torch.randn(40, 2)).isnan().all()
    assert functional.ridge_predictivity(torch.randn(40, 3), torch.full((40, 2), constant)).isnan().all()


@pytest.mark.parametrize("function", [functional.linear_cka, functional.rbf_cka, functional.rsa, functional.procrustes])
def test_a_huge_constant_column_beside_small_signals_changes_nothing(function):
    x, y = sets()
    wide = torch.cat([x, torch.full((len(x), 1), 1e6)], 1)
    torch.testing.assert_close(function(wide, y), function(x, y), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", [n for n in MEASURES if n != "poisson_nll"])
def test_infinite_targets_are_refused(name):
    x, y = sets()
    y[3, 2] = torch.inf
    with pytest.raises(ValueError, match="target has infinite values; mark missing ones by NaN"):
        NeuralAlignmentLoss(name)(x, y)
    y[4, 1] = torch.nan
    y[3, 2] = -torch.inf
    with pytest.raises(ValueError, match="target has infinite values"):
        NeuralAlignmentLoss(name)(x, y)


@pytest.mark.parametrize("name", MEASURES)
def test_infinite_predictions_never_become_finite(name):
    x, y = sets()
    x[3, 2] = torch.inf
    assert not bool(NeuralAlignmentLoss(name)(x, y.abs()).isfinite())


def test_a_readout_with_zero_weights():
    """Alone, a correlation has nothing to tell it, and says so exactly; with a term that sees values it trains."""
    torch.manual_seed(0)
    x, y = torch.randn(256, 64), torch.randn(256, 50)
    y = y + torch.randn(50) + 2 * x[:, :50]
    head = torch.nn.Linear(64, 50)
    torch.nn.init.zeros_(head.weight)
    head.bias.data = y.mean(0)
    NeuralAlignmentLoss("pearson")(head(x), y).backward()
    assert head.weight.grad.eq(0).all() and head.bias.grad.eq(0).all()
    optimizer = torch.optim.SGD(head.parameters(), 0.1, momentum=0.9)
    for _ in range(200):
        optimizer.zero_grad()
        loss = NeuralAlignmentLoss("mse")(head(x), y) + NeuralAlignmentLoss("pearson")(head(x), y)
        loss.backward()
        optimizer.step()
    assert float(functional.pearson(head(x), y).min()) > 0.85


LABELS = torch.arange(24) % 4
OTHERS = {
    "RDM of predictions": lambda s: RDMAlignmentLoss(functional.rdm(sets()[1])),
    "odd one out": lambda s: OddOneOutLoss("cosine"),
    "MMCR": lambda s: MMCRLoss(local_weight=1.0),
    "capacity per manifold": lambda s: CapacityLoss("per_manifold", resample=False),
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_losses_without_a_unit(name):
    g = torch.Generator().manual_seed(0)
    second = {
        "RDM of predictions": torch.arange(24),
        "odd one out": torch.stack([torch.randperm(24, generator=g)[:3] for _ in range(30)]),
    }.get(name, LABELS)
    expected, gradient = value_and_gradient(OTHERS[name](1), sets()[0], second)
    for scale in (1e-20, 1e-10, 1e20):
        value, grad = value_and_gradient(OTHERS[name](1), scale * sets()[0], second)
        torch.testing.assert_close(value, expected, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(grad * scale, gradient, rtol=5e-3, atol=2e-3 * float(gradient.abs().max()))


def test_a_dissimilarity_matrix_in_any_unit():
    d = functional.rdm(sets()[1])
    subjects = torch.stack([d, d.roll(3), d + 0.2 * d.flip(0)])
    expected = float(RDMAlignmentLoss(subjects)(sets()[0], torch.arange(24)))
    ceiling = torch.stack(functional.rdm_noise_ceiling(subjects))
    for scale in (1e-20, 1e20):
        found = RDMAlignmentLoss(scale * subjects)(sets()[0], torch.arange(24))
        assert float(found) == pytest.approx(expected, rel=1e-4)
        torch.testing.assert_close(torch.stack(functional.rdm_noise_ceiling(scale * subjects)), ceiling)
    with pytest.raises(ValueError, match="rdm has infinite values"):
        RDMAlignmentLoss(d.index_fill(0, torch.tensor([2]), torch.inf))


@pytest.mark.parametrize(
    "measure",
    [
        functional.manifold_radius, functional.participation_ratio, functional.separability, functional.variance_ratio,
        functional.effective_rank, functional.nearest_center_signal,
    ],
    ids=lambda f: f.__name__,
)  # fmt: skip
def test_manifold_measures_in_any_unit(measure):
    x = sets()[0]
    for scale in (1e-20, 1e20):
        torch.testing.assert_close(measure(scale * x, LABELS), measure(x, LABELS), rtol=1e-4, atol=0)


@pytest.mark.parametrize("constant", [0.1, -1.7e8, 1e20])
def test_a_class_that_is_a_point_has_no_dimension(constant):
    x = sets()[0]
    x[LABELS == 2] = constant
    for measure in (functional.participation_ratio, functional.effective_rank):
        assert measure(x, LABELS).isnan().tolist() == [False, False, True, False]
    flat = torch.full((24, 5), constant)
    assert bool(functional.separability(flat, LABELS).isnan())
