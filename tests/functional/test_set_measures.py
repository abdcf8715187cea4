"""What all set-level measures share: the reference, missing values, weights, invariances, precision, degenerate input.

A measure is asked by standing in the table.
"""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from neuroalign import functional as F
from tests import similarity_references as ref

N, P, V = 14, 5, 6


def sets(seed=0, missing=0.0, n=N, p=P, v=V, dtype=torch.float64):
    """Two sets with a common signal; with ``missing`` a lost voxel and a lost stimulus besides scattered entries."""
    g = torch.Generator().manual_seed(seed)
    signal = torch.randn(n, 3, generator=g, dtype=torch.float64)
    x, y = (
        signal @ torch.randn(3, k, generator=g, dtype=torch.float64)
        + 0.7 * torch.randn(n, k, generator=g, dtype=torch.float64)
        for k in (p, v)
    )
    if missing:
        y[torch.rand(n, v, generator=g) < missing] = torch.nan
        y[:, 2], y[5] = torch.nan, torch.nan
    return x.to(dtype), y.to(dtype)


def rsa(dissimilarity, comparison):
    def ours(x, y, weight=None):
        return F.rsa(x, y, dissimilarity=dissimilarity, comparison=comparison, weight=weight)

    def reference(x, y, w):
        return ref.rsa(x, y, w, dissimilarity, comparison)

    return ours, reference


def mean_predictivity(x, y, weight=None, **options):
    r = F.ridge_predictivity(x, y, weight=weight, **options)
    w = torch.ones_like(r) if weight is None else weight.nan_to_num(0.0)
    w = torch.where(y.isnan().all(0), 0, w)
    return (w * r.nan_to_num(0.0)).sum() / w.sum()


SHIFT, SCALE, ROTATION, COLUMNS, ORDER = "shift", "scale", "rotation", "column scale", "stimulus order"
GEOMETRIC = {SHIFT, SCALE, ROTATION, ORDER}

# name -> (function, reference, what leaves it unchanged)
MEASURES = {
    "cka": (F.linear_cka, ref.linear_cka, GEOMETRIC),
    "biased cka": (
        lambda x, y, weight=None: F.linear_cka(x, y, debiased=False, weight=weight),
        lambda x, y, w: ref.linear_cka(x, y, w, debiased=False),
        GEOMETRIC,
    ),
    "rbf cka": (F.rbf_cka, ref.rbf_cka, GEOMETRIC),
    "rsa sqeuclidean pearson": (*rsa("sqeuclidean", "pearson"), GEOMETRIC),
    "rsa sqeuclidean cosine": (*rsa("sqeuclidean", "cosine"), GEOMETRIC),
    "rsa sqeuclidean spearman": (*rsa("sqeuclidean", "spearman"), GEOMETRIC),
    "rsa sqeuclidean soft": (*rsa("sqeuclidean", "soft_spearman"), GEOMETRIC),
    "rsa correlation pearson": (*rsa("correlation", "pearson"), {SCALE, ORDER}),
    "rsa cosine cosine": (*rsa("cosine", "cosine"), {SCALE, ROTATION, ORDER}),
    "procrustes": (F.procrustes, ref.procrustes, GEOMETRIC),
    "procrustes half whitened": (
        lambda x, y, weight=None: F.procrustes(x, y, alpha=0.5, weight=weight),
        lambda x, y, w: ref.procrustes(x, y, w, alpha=0.5),
        GEOMETRIC,
    ),
    "shape distance": (
        F.shape_distance,
        lambda x, y, w: math.acos(ref.procrustes(x, y, w)),
        GEOMETRIC,
    ),
    "soft matching": (
        F.soft_matching,
        lambda x, y, w: ref.soft_matching(x, y, w, 0.05),
        {SHIFT, SCALE, COLUMNS, ORDER},
    ),
    "ridge": (
        lambda x, y, weight=None: mean_predictivity(x, y, weight, penalty=0.1),
        lambda x, y, w: 1 - ref.ridge_loss(x, y, w, 0.1),
        {SHIFT, SCALE, ROTATION},
    ),
}
# Whitening inverts a covariance of pairs: the reference does so over the pairs that are left, which we refuse.
WHITENED = rsa("sqeuclidean", "whitened_cosine")


@pytest.fixture(params=MEASURES, ids=str)
def measure(request):
    return MEASURES[request.param]


@pytest.mark.parametrize("missing", [0.0, 0.15])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("seed", [0, 1])
def test_against_the_reference(measure, missing, weighted, seed):
    ours, reference, _ = measure
    x, y = sets(seed, missing)
    w = torch.tensor([0.9, 0.0, 0.5, torch.nan, 0.3, 1.0], dtype=torch.float64) if weighted else None
    value = ours(x, y, weight=w)
    expected = reference(x.numpy(), y.numpy(), None if w is None else w.numpy())
    assert math.isfinite(expected)
    assert float(value) == pytest.approx(expected, rel=1e-8, abs=1e-10)


@pytest.mark.parametrize("wide", [(30, 40), (30, 5), (3, 40)])
def test_more_columns_than_stimuli(measure, wide):
    ours, reference, _ = measure
    x, y = sets(3, p=wide[0], v=wide[1])
    assert float(ours(x, y)) == pytest.approx(reference(x.numpy(), y.numpy(), None), rel=1e-7)


def test_missing_voxels_and_stimuli_are_as_if_they_had_not_been_there(measure):
    ours, _, _ = measure
    x, y = sets(0, missing=0.1)
    voxels, stimuli = torch.arange(V) != 2, torch.arange(N) != 5
    torch.testing.assert_close(ours(x, y), ours(x[stimuli], y[stimuli][:, voxels]))


def test_integer_weights_repeat_voxels(measure):
    ours, _, _ = measure
    x, y = sets(0, missing=0.1)
    times = torch.tensor([1, 2, 1, 3, 1, 0])
    torch.testing.assert_close(ours(x, y, weight=times.double() / 7), ours(x, y.repeat_interleave(times, 1)))


def rotation(k, g):
    return torch.linalg.qr(torch.randn(k, k, generator=g, dtype=torch.float64))[0]


CHANGES = {
    SHIFT: lambda z, g: z + torch.randn(z.shape[1], generator=g, dtype=torch.float64),
    SCALE: lambda z, g: 3.7 * z,
    ROTATION: lambda z, g: z @ rotation(z.shape[1], g),
    COLUMNS: lambda z, g: z * (torch.arange(z.shape[1]) + 1.0),
}


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 10_000))
@pytest.mark.parametrize("change", [*CHANGES, ORDER])
@pytest.mark.parametrize("name", MEASURES)
def test_invariances_exactly_as_claimed(name, change, seed):
    ours, _, claimed = MEASURES[name]
    if change not in claimed:
        seed = 0  # one example is enough, and a random order may happen to keep the folds
    g = torch.Generator().manual_seed(seed)
    x, y = sets(seed)
    before = float(ours(x, y))
    if change == ORDER:
        order = torch.randperm(N, generator=g)
        after = [float(ours(x[order], y[order]))]
    else:
        after = [float(ours(CHANGES[change](x, g), y)), float(ours(x, CHANGES[change](y, g)))]
    if name == "ridge" and change in (ROTATION, COLUMNS):  # a readout is judged voxel by voxel, each on its own scale
        after = after[:1]
    if change in claimed:
        assert after == pytest.approx([before] * len(after), abs=1e-6)
    else:
        assert abs(after[0] - before) > 1e-9


@pytest.mark.parametrize("mean", [0.0, 30.0, 1000.0])
def test_float32_is_right_far_from_zero(measure, mean):
    ours, _, _ = measure
    x, y = sets(2, n=60, p=40, v=50)
    x, y = (x + mean).float(), (y + mean).float()
    assert float(ours(x, y)) == pytest.approx(float(ours(x.double(), y.double())), rel=1e-3)


def test_dtype(measure):
    ours, _, _ = measure
    x, y = sets()
    assert ours(x, y).dtype == torch.float64
    assert ours(x.float(), y.float()).dtype == torch.float32
    assert ours(x.bfloat16(), y.bfloat16()).dtype == torch.float32


@pytest.mark.parametrize("value", [0.0, 0.1, 1000.1])
def test_a_constant_side_has_no_similarity(measure, value):
    ours, _, _ = measure
    x, y = sets(dtype=torch.float32)
    assert torch.isnan(ours(torch.full_like(x, value), y)) or measure is MEASURES["ridge"]


@pytest.mark.parametrize("rank", [1, 2])
def test_rank_deficient_sets_have_finite_gradients(measure, rank):
    ours, _, _ = measure
    x, y = sets()
    x = (x[:, :rank] @ torch.randn(rank, P, dtype=torch.float64)).requires_grad_()
    value = ours(x, y[:, :rank] @ torch.randn(rank, V, dtype=torch.float64))
    assert torch.isfinite(value)
    if measure is not MEASURES["rsa sqeuclidean spearman"]:  # ranks have no gradient
        value.backward()
        assert torch.isfinite(x.grad).all()
        assert (x.grad != 0).any() or rank == 1


@pytest.mark.parametrize(
    ("x", "y", "error", "message"),
    [
        (torch.zeros(8, 3), torch.zeros(7, 3), ValueError, "8 stimuli and target 7"),
        (
            torch.zeros(8, 3, dtype=torch.long),
            torch.zeros(8, 3),
            TypeError,
            r"preds must be floating point; got torch.int64",
        ),
        (torch.zeros(8, 3), torch.zeros(8, 0), ValueError, "target has no voxels"),
        (torch.zeros(8, 3), torch.full((8, 2), torch.nan), ValueError, "no valid value"),
        (torch.zeros(8), torch.zeros(8), ValueError, r"must be \(stimulus, voxel\)"),
        (torch.rand(1, 3), torch.rand(1, 3), ValueError, r"needs at least \d stimuli; got 1"),
        (torch.zeros(8, 3).numpy(), torch.zeros(8, 3), TypeError, "must be a tensor; got ndarray"),
    ],
)
def test_bad_input(measure, x, y, error, message):
    ours, _, _ = measure
    with pytest.raises(error, match=message):
        ours(x, y)


def test_values_that_are_not_finite(measure):
    ours, _, _ = measure
    x, y = sets()
    with pytest.raises(ValueError, match="preds has NaN or infinite values; only the target may"):
        ours(x.index_fill(0, torch.tensor([2]), torch.nan), y)
    with pytest.raises(ValueError, match="target has infinite values; mark missing ones by NaN"):
        ours(x, y.index_fill(0, torch.tensor([2]), torch.inf))


def test_bad_weight(measure):
    ours, _, _ = measure
    x, y = sets()
    if measure is not MEASURES["ridge"]:
        with pytest.raises(ValueError, match=r"weight must be \(voxel,\)"):
            ours(x, y, weight=torch.ones(V + 1))
