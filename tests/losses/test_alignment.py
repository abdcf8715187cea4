"""NeuralAlignmentLoss: missing values, noise ceilings, callables, several processes."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.autograd import forward_ad
from torch.utils.checkpoint import checkpoint

from neuroalign import NeuralAlignmentLoss
from neuroalign.functional import linear_cka, rsa
from neuroalign.losses import MEASURES, register_measure
from tests import references as ref
from tests import similarity_references as sim
from tests.distributed import averaged, run_on_ranks

PENALTIES = (1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0)


def ridge_loss(preds, target, ceiling):
    """The reference's ridge loss at the penalties that its generalised cross-validation chooses in each fold."""
    w = np.ones(target.shape[1]) if ceiling is None else np.nan_to_num(ceiling)
    voxels = (w > 0) & ~np.isnan(target).all(0)
    rows = ~np.isnan(target[:, voxels]).all(1)
    x, y, w = preds[rows], target[rows][:, voxels], w[voxels]
    held_out = np.zeros_like(y)
    for fold in range(2):
        query = np.arange(len(x)) % 2 == fold
        unit = ((x[~query] - x[~query].mean(0)) ** 2).sum(1).mean()
        chosen = sim.ridge_gcv(x[~query], y[~query], np.array(PENALTIES) * unit)
        held_out[query] = sim.ridge_predictions(x[~query], y[~query], x[query], chosen)
    return 1 - np.average(np.nan_to_num(sim.within_folds(held_out, y, 2)), weights=w)


# measure, options -> reference(preds, target, ceiling). The first of each measure is its default.
REFERENCES = {
    ("mse",): ref.mse_loss,
    ("pearson",): ref.pearson_loss,
    ("pearson", ("over", "voxels")): sim.pearson_patterns_loss,
    ("cosine",): ref.cosine_loss,
    ("gaussian_nll",): lambda p, t, c: sim.gaussian_nll(p, t, c, 1.0),
    ("gaussian_nll", ("variance", 2.5)): lambda p, t, c: sim.gaussian_nll(p, t, c, 2.5),
    ("poisson_nll",): sim.poisson_nll,
    ("cka",): lambda p, t, c: 1 - sim.linear_cka(p, t, c),
    ("cka", ("debiased", False)): lambda p, t, c: 1 - sim.linear_cka(p, t, c, debiased=False),
    ("cka", ("voxel_corrected", True)): lambda p, t, c: 1 - sim.linear_cka_voxel_corrected(p, t, c),
    ("rbf_cka",): lambda p, t, c: 1 - sim.rbf_cka(p, t, c),
    ("rbf_cka", ("bandwidth", 0.5)): lambda p, t, c: 1 - sim.rbf_cka(p, t, c, bandwidth=0.5),
    ("rsa",): lambda p, t, c: 1 - sim.rsa(p, t, c, "sqeuclidean", "pearson"),
    ("rsa", ("dissimilarity", "correlation")): lambda p, t, c: 1 - sim.rsa(p, t, c, "correlation", "pearson"),
    ("rsa", ("dissimilarity", "cosine")): lambda p, t, c: 1 - sim.rsa(p, t, c, "cosine", "pearson"),
    ("rsa", ("comparison", "cosine")): lambda p, t, c: 1 - sim.rsa(p, t, c, "sqeuclidean", "cosine"),
    ("rsa", ("comparison", "soft_spearman")): lambda p, t, c: 1 - sim.rsa(p, t, c, "sqeuclidean", "soft_spearman"),
    ("rsa", ("comparison", "whitened_cosine")): lambda p, t, c: 1 - sim.rsa(p, t, c, "sqeuclidean", "whitened_cosine"),
    ("procrustes",): lambda p, t, c: 1 - sim.procrustes(p, t, c),
    ("procrustes", ("alpha", 0.5)): lambda p, t, c: 1 - sim.procrustes(p, t, c, alpha=0.5),
    ("procrustes", ("angular", True)): lambda p, t, c: np.arccos(sim.procrustes(p, t, c)),
    ("soft_matching",): lambda p, t, c: 1 - sim.soft_matching(p, t, c, 0.05),
    ("ridge",): ridge_loss,
    ("ridge", ("penalty", 0.1)): lambda p, t, c: sim.ridge_loss(p, t, c, 0.1),
    ("ridge", ("num_folds", 4), ("penalty", 0.1)): lambda p, t, c: sim.ridge_loss(p, t, c, 0.1, num_folds=4),
}
PAIRED = [m for m in MEASURES if MEASURES[m].paired]
SETS = [m for m in MEASURES if not MEASURES[m].paired]


def responses(seed, n=12, v=7, missing=0.0, dtype=torch.float64, measure="mse"):
    g = torch.Generator().manual_seed(seed)
    preds, target = torch.randn(2, n, v, generator=g, dtype=dtype)
    if not MEASURES[measure].paired:  # sets without anything in common are near nothing
        signal = torch.randn(n, 2, generator=g, dtype=dtype)
        preds, target = (x + 2 * signal @ torch.randn(2, v, generator=g, dtype=dtype) for x in (preds, target))
    if MEASURES[measure].counts:
        target = (3 * target.abs()).round()
    target[torch.rand(n, v, generator=g) < missing] = torch.nan
    return preds, target


def with_voxels(measure, preds, target, change):
    """A change to the voxels of the target, and of the predictions where they are of the same voxels."""
    return (change(preds) if MEASURES[measure].paired else preds), change(target)


def test_every_measure_here_has_a_reference():
    ours = {name for name, m in MEASURES.items() if m.function.__module__.startswith("neuroalign.losses.")}
    assert {name for name, *_ in REFERENCES} == ours


@pytest.mark.filterwarnings("ignore:comparison=.cosine. takes the noise")
@pytest.mark.parametrize("key", REFERENCES, ids=lambda key: " ".join(map(str, key)))
@pytest.mark.parametrize("missing", [0.0, 0.15])
@pytest.mark.parametrize("weighted", [False, True])
def test_against_the_reference(key, missing, weighted):
    name, *options = key
    preds, target = responses(3, n=20, missing=missing, measure=name)
    if missing:
        target[4] = torch.nan
        if ("voxel_corrected", True) in options:
            target[:, :4] = responses(3, n=20, measure=name)[1][:, :4]  # it needs complete voxels
            target[4] = torch.nan
    ceiling = torch.linspace(0, 1, 7) if weighted else None
    value = NeuralAlignmentLoss(name, noise_ceiling=ceiling, **dict(options)).double()(preds, target)
    ceiling = None if ceiling is None else ceiling.double().numpy()
    expected = REFERENCES[key](preds.numpy(), target.numpy(), ceiling)
    assert np.isfinite(expected)
    # The transport plan is found by iteration.
    assert float(value) == pytest.approx(expected, rel=1e-6 if name == "soft_matching" else 1e-8)


@pytest.mark.filterwarnings("ignore:comparison=.cosine. takes the noise")
@pytest.mark.parametrize("key", REFERENCES, ids=lambda key: " ".join(map(str, key)))
@pytest.mark.parametrize("missing", [0.0, 0.15])
def test_gradients_with_missing_values_and_weights(key, missing):
    name, *options = key
    preds, target = responses(3, n=16, v=5, missing=missing, measure=name)
    if missing and ("voxel_corrected", True) in options:
        target[:, :3] = responses(3, n=16, v=5, measure=name)[1][:, :3]
    given = {**MEASURES[name].exact_options, **dict(options)}
    loss = NeuralAlignmentLoss(name, noise_ceiling=torch.linspace(0.2, 1, 5), **given).double()
    assert torch.autograd.gradcheck(lambda p: loss(p, target), preds.requires_grad_(), atol=1e-6)
    if not MEASURES[name].counts and not missing:  # it never detaches: the target may be trained as well
        assert torch.autograd.gradcheck(lambda t: loss(preds.detach(), t), target.requires_grad_(), atol=1e-6)


def test_sum_over_voxels_is_the_mean_times_their_number():
    preds, target = responses(0, v=7)
    mean = NeuralAlignmentLoss("mse")(preds, target)
    torch.testing.assert_close(NeuralAlignmentLoss("mse", voxel_reduction="sum")(preds, target), 7 * mean)
    expected = ((preds - target) ** 2).sum(1).mean()  # the paper's: sum over voxels, mean over stimuli
    torch.testing.assert_close(7 * mean, expected)


def test_entries_weigh_alike_in_the_sum_too():
    """A sum with missing values is the mean over valid entries times the number of voxels that have any."""
    preds, target = torch.zeros(1000, 21), torch.ones(1000, 21)
    target[:, 10:] = 2
    target[100:, 10:], target[:, 20] = torch.nan, torch.nan
    entries = [(1 if v < 10 else 2) ** 2 for v in range(20) for i in range(1000) if v < 10 or i < 100]
    expected = 20 * sum(entries) / len(entries)
    mean, total = (NeuralAlignmentLoss("mse", voxel_reduction=r)(preds, target) for r in ("mean", "sum"))
    assert float(total) == pytest.approx(expected, rel=1e-6)
    assert float(total) == pytest.approx(20 * float(mean), rel=1e-6)


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_a_voxel_of_weight_zero_is_dropped(measure, reduction):
    preds, target = responses(1, measure=measure)
    ceiling = torch.ones(7)
    ceiling[2] = 0
    weighted = NeuralAlignmentLoss(measure, noise_ceiling=ceiling, voxel_reduction=reduction).double()
    kept = ceiling > 0
    plain = NeuralAlignmentLoss(measure, voxel_reduction=reduction)
    fewer = with_voxels(measure, preds, target, lambda x: x[:, kept])
    torch.testing.assert_close(weighted(preds, target), plain.double()(*fewer))


@pytest.mark.parametrize("measure", MEASURES)
def test_missing_voxels_and_stimuli_are_dropped(measure):
    preds, target = responses(1, measure=measure)
    target[:, 4], target[3] = torch.nan, torch.nan
    voxels, stimuli = torch.arange(7) != 4, torch.arange(12) != 3
    loss = NeuralAlignmentLoss(measure).double()
    fewer = with_voxels(measure, preds[stimuli], target[stimuli], lambda x: x[:, voxels])
    torch.testing.assert_close(loss(preds, target), loss(*fewer))


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("missing", [0.0, 0.15])
def test_integer_weights_repeat_voxels(measure, missing):
    preds, target = responses(5, v=4, missing=missing, measure=measure)
    times = torch.tensor([1, 2, 4, 1])
    weighted = NeuralAlignmentLoss(measure, noise_ceiling=times / 4).double()
    repeated = with_voxels(measure, preds, target, lambda x: x.repeat_interleave(times, 1))
    torch.testing.assert_close(weighted(preds, target), NeuralAlignmentLoss(measure).double()(*repeated))


@pytest.mark.parametrize("measure", MEASURES)
def test_the_scale_of_the_weights_does_not_matter(measure):
    preds, target = responses(6, measure=measure)
    w = torch.rand(7) * 0.9 + 0.1
    a, b = (NeuralAlignmentLoss(measure, noise_ceiling=s * w).double()(preds, target) for s in (1.0, 0.25))
    torch.testing.assert_close(a, b, rtol=1e-6, atol=0)


@pytest.mark.parametrize("measure", MEASURES)
def test_nothing_valid_is_zero_with_a_graph(measure):
    preds = torch.randn(6, 3, requires_grad=True)
    value = NeuralAlignmentLoss(measure)(preds, torch.full((6, 3), torch.nan))
    assert float(value) == 0
    value.backward()
    assert torch.equal(preds.grad, torch.zeros(6, 3))


@pytest.mark.parametrize("measure", SETS)
def test_too_few_valid_stimuli_are_like_none(measure):
    preds, target = responses(0, measure=measure)
    target[1:] = torch.nan
    value = NeuralAlignmentLoss(measure).double()(preds.requires_grad_(), target)
    assert float(value) == 0 and value.requires_grad


# By measure the number of stimuli with a value that it takes to compare anything.
ENOUGH = dict.fromkeys(MEASURES, 1) | {"pearson": 3, "procrustes": 3, "rsa": 3, "soft_matching": 3}
ENOUGH |= {"cka": 4, "rbf_cka": 4, "ridge": 6}


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("num_valid", range(8))
@pytest.mark.parametrize("weighted", [False, True])
def test_a_loss_says_whether_it_had_something_to_compare(measure, num_valid, weighted):
    preds, target = responses(0, measure=measure)
    target[num_valid:] = torch.nan
    ceiling = torch.linspace(0, 1, 7) if weighted else None
    loss = NeuralAlignmentLoss(measure, noise_ceiling=ceiling).double()
    assert loss.last_valid is None
    value = loss(preds.requires_grad_(), target)
    value.backward()
    assert loss.last_valid.shape == () and loss.last_valid.dtype == torch.bool
    assert bool(loss.last_valid) == (num_valid >= ENOUGH[measure]) == bool(preds.grad.abs().sum() > 1e-12)
    assert loss.min_valid == ENOUGH[measure]
    if not bool(loss.last_valid):
        assert float(value) == 0


@pytest.mark.parametrize(
    ("measure", "options"), [("cka", {"debiased": False}), ("rbf_cka", {"debiased": False}), ("procrustes", {})]
)
def test_two_stimuli_fit_any_two_others(measure, options):
    """Which is no alignment: their loss is 0 whatever they are."""
    preds, target = responses(0, n=2)
    loss = NeuralAlignmentLoss(measure, **options).double()
    assert float(loss(preds, target)) == pytest.approx(0, abs=1e-12) and not bool(loss.last_valid)


def test_complete_targets_are_something_to_compare():
    for measure in MEASURES:
        loss = NeuralAlignmentLoss(measure)
        loss(*responses(0, measure=measure))
        assert bool(loss.last_valid)
    plain = NeuralAlignmentLoss(torch.nn.functional.l1_loss)
    plain(*responses(0))
    assert bool(plain.last_valid)
    plain(torch.zeros(4, 3), torch.full((4, 3), torch.nan))
    assert not bool(plain.last_valid)
    plain(torch.zeros(0, 3), torch.zeros(0, 3))
    assert not bool(plain.last_valid)


def test_what_single_measures_find_missing_is_told():
    """A pattern of one voxel, and a correction that needs complete voxels."""
    preds, target = responses(0)
    target[:, 1:] = torch.nan
    patterns = NeuralAlignmentLoss("pearson", over="voxels")
    assert float(patterns(preds, target)) == 0 and not bool(patterns.last_valid)
    preds, target = responses(0, measure="cka")
    target[torch.arange(7), torch.arange(7)] = torch.nan
    corrected, plain = NeuralAlignmentLoss("cka", voxel_corrected=True), NeuralAlignmentLoss("cka")
    assert float(corrected(preds, target)) == 0 and not bool(corrected.last_valid)
    assert float(plain(preds, target)) > 0 and bool(plain.last_valid)


@pytest.mark.parametrize("weighted", [False, True])
def test_pearson_counts_voxels_from_three_stimuli_on(weighted):
    preds, target = responses(4)
    target[2:, 0], target[3:, 1] = torch.nan, torch.nan  # two valid stimuli, and three
    ceiling = torch.linspace(0.2, 1, 7) if weighted else None
    value = NeuralAlignmentLoss("pearson", noise_ceiling=ceiling).double()(preds.requires_grad_(), target)
    value.backward()
    assert (preds.grad[:, 0] == 0).all() and (preds.grad[:3, 1] != 0).all()
    weights = np.ones(7) if ceiling is None else ceiling.double().numpy()
    r = [0.0]
    for v in range(1, 7):
        valid = ~target[:, v].isnan().numpy()
        r.append(np.corrcoef(preds.detach().numpy()[valid, v], target.numpy()[valid, v])[0, 1])
    assert float(value) == pytest.approx(1 - np.average(r[1:], weights=weights[1:]), rel=1e-8)


def test_pearson_of_two_complete_stimuli_has_nothing_to_compare():
    preds, target = torch.tensor([[0.0], [1.0]], requires_grad=True), torch.tensor([[2.0], [1.0]])
    loss = NeuralAlignmentLoss("pearson")
    value = loss(preds, target)
    value.backward()
    assert float(value) == 0 and not bool(loss.last_valid)
    assert torch.equal(preds.grad, torch.zeros(2, 1))


def _told_on_ranks(rank, world, valid):
    """Of each measure, whether there was something to compare; ``valid`` stimuli of this rank are."""
    out = []
    for measure in MEASURES:
        preds, target = responses(rank, n=6, measure=measure)
        target[valid[rank] :] = torch.nan
        loss = NeuralAlignmentLoss(measure).double()
        loss(preds, target)
        out.append(bool(loss.last_valid))
    return out


@pytest.mark.parametrize(
    "valid",
    [(0, 5), (2, 2), pytest.param((0, 0), marks=pytest.mark.slow), pytest.param((1, 0), marks=pytest.mark.slow)],
)
def test_processes_say_of_the_global_batch_whether_there_was_something(valid):
    expected = [sum(valid) >= ENOUGH[measure] for measure in MEASURES]
    assert run_on_ranks(_told_on_ranks, 2, valid) == [expected, expected]


@pytest.mark.parametrize("measure", SETS)
def test_sets_of_different_width(measure):
    preds, target = responses(0, n=20, measure=measure)
    loss = NeuralAlignmentLoss(measure).double()
    for p, t in ((preds[:, :2], target), (preds, target[:, :2]), (preds.repeat(1, 9), target)):
        assert torch.isfinite(loss(p, t))


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("mean", [0.0, 30.0, 1000.0])
def test_float32_is_right_far_from_zero_and_under_autocast(measure, mean):
    preds, target = responses(0, n=64, v=50, measure=measure)
    if measure == "poisson_nll":
        preds = preds + 1
    else:
        preds, target = preds + mean, target + mean
    loss = NeuralAlignmentLoss(measure)
    preds, target = preds.float(), target.float()  # what the loss is given, rounding included
    exact = float(NeuralAlignmentLoss(measure).double()(preds.double(), target.double()))
    assert float(loss(preds, target)) == pytest.approx(exact, rel=1e-3)
    with torch.autocast("cpu", torch.bfloat16):
        assert float(loss(preds, target)) == pytest.approx(exact, rel=1e-3)


@pytest.mark.parametrize("measure", PAIRED)
def test_missing_targets_send_no_gradient(measure):
    preds, target = responses(2, missing=0.3, measure=measure)
    preds.requires_grad_()
    NeuralAlignmentLoss(measure)(preds, target).backward()
    assert torch.isfinite(preds.grad).all()
    assert (preds.grad[target.isnan()] == 0).all()


def test_predictions_beside_a_missing_target_may_be_anything():
    for measure in PAIRED:
        preds, target = responses(2, missing=0.3, measure=measure)
        wild = torch.where(target.isnan(), torch.inf, preds)
        loss = NeuralAlignmentLoss(measure).double()
        torch.testing.assert_close(loss(wild, target), loss(preds, target))


@pytest.mark.parametrize("mean", [0.0, 30.0, 1000.0])
def test_a_constant_voxel_sends_no_gradient(mean):
    preds, target = responses(0, dtype=torch.float32)
    target[:, 0], preds[:, 1] = mean + 0.1, mean + 0.1
    preds.requires_grad_()
    value = NeuralAlignmentLoss("pearson")(preds, target)
    value.backward()
    assert torch.isfinite(value)
    assert (preds.grad[:, :2] == 0).all()
    assert (preds.grad[:, 2:] != 0).any()


@pytest.mark.parametrize("mean", [0.0, 30.0, 1000.0])
def test_pearson_is_right_in_float32_far_from_zero(mean):
    preds, target = responses(0, n=200)
    exact = NeuralAlignmentLoss("pearson")(preds, target)
    shifted = NeuralAlignmentLoss("pearson")((preds + mean).float(), (target + mean).float())
    assert float(shifted) == pytest.approx(float(exact), rel=1e-3)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), scale=st.floats(0.01, 100), shift=st.floats(-100, 100))
def test_invariances(seed, scale, shift):
    preds, target = responses(seed)
    pearson, cosine = NeuralAlignmentLoss("pearson"), NeuralAlignmentLoss("cosine")
    torch.testing.assert_close(pearson(scale * preds + shift, target), pearson(preds, target), rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(cosine(scale * preds, target), cosine(preds, target), rtol=1e-6, atol=1e-8)


def test_what_they_are_not_invariant_to():
    preds, target = responses(0)
    assert not torch.isclose(
        NeuralAlignmentLoss("cosine")(preds + 1, target), NeuralAlignmentLoss("cosine")(preds, target)
    )
    assert not torch.isclose(NeuralAlignmentLoss("mse")(2 * preds, target), NeuralAlignmentLoss("mse")(preds, target))


def test_it_never_detaches():
    preds, target = responses(0)
    target.requires_grad_()
    NeuralAlignmentLoss("mse")(preds, target).backward()
    assert target.grad.abs().sum() > 0


def test_callables():
    preds, target = responses(0, missing=0.2)
    target[:, 3] = torch.nan

    def mae(p, t):
        assert not t.isnan().any()
        return (p - t).abs().mean()

    loss = NeuralAlignmentLoss(mae)
    voxels = ~target.isnan().all(0)
    stimuli = ~target[:, voxels].isnan().any(1)
    expected = (preds - target)[stimuli][:, voxels].abs().mean()
    torch.testing.assert_close(loss(preds, target), expected)
    assert loss.name == "mae"
    with pytest.raises(ValueError, match="takes no `weight`"):
        NeuralAlignmentLoss(mae, noise_ceiling=torch.ones(7))
    with pytest.raises(ValueError, match="must return a scalar"):
        NeuralAlignmentLoss(lambda p, t: (p - t).abs())(preds, target)


def test_torchs_own_losses_are_callables():
    preds, target = responses(0)
    for function in (torch.nn.functional.mse_loss, torch.nn.functional.l1_loss, torch.nn.MSELoss()):
        torch.testing.assert_close(NeuralAlignmentLoss(function)(preds, target), function(preds, target))


@pytest.mark.parametrize("measure", MEASURES)
def test_an_empty_batch_is_zero(measure):
    assert float(NeuralAlignmentLoss(measure)(torch.zeros(0, 3), torch.zeros(0, 3))) == 0


def test_a_callable_with_weight_gets_missing_values_and_ceilings():
    def weighted_mae(preds, target, weight):
        return (weight * (preds - target).abs()).sum() / weight.sum()

    preds, target = responses(0, missing=0.2)
    value = NeuralAlignmentLoss(weighted_mae, noise_ceiling=torch.linspace(0.1, 1, 7)).double()(preds, target)
    weight = torch.linspace(0.1, 1, 7).double() * ~target.isnan()
    expected = (weight * (preds - target.nan_to_num()).abs()).sum() / weight.sum()
    torch.testing.assert_close(value, expected)


def test_a_registered_measure_is_available_by_name():
    @register_measure("test-mae", averages_over="entry")
    def mae(preds, target, weight):
        return (weight * (preds - target).abs()).sum() / weight.sum()

    try:
        assert float(NeuralAlignmentLoss("test-mae")(torch.zeros(2, 3), torch.ones(2, 3))) == 1
        with pytest.raises(ValueError, match="registered already"):
            register_measure("test-mae")(mae)
    finally:
        del MEASURES["test-mae"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"measure": "perason"}, "did you mean 'pearson'"),
        ({"voxel_reduction": "max"}, "must be 'mean' or 'sum'"),
        ({"noise_ceiling": torch.tensor([36.0, 20.0])}, "divide per cent by 100"),
        ({"noise_ceiling": torch.tensor([-0.1, 0.2])}, r"must be in \[0, 1\]"),
        ({"noise_ceiling": torch.zeros(3)}, "every voxel would be left out"),
        ({"noise_ceiling": torch.ones(2, 2)}, r"must be \(voxel,\)"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        NeuralAlignmentLoss(**arguments)


def test_bad_measure_type():
    with pytest.raises(TypeError, match="a name or a callable"):
        NeuralAlignmentLoss(3)


@pytest.mark.parametrize(
    ("preds", "target", "message"),
    [
        (torch.zeros(4, 3), torch.zeros(5, 3), "4 stimuli and target 5"),
        (torch.zeros(4, 3), torch.zeros(4, 1), "3 voxels and target 1"),
        (torch.zeros(4), torch.zeros(4), r"must be \(stimulus, voxel\)"),
    ],
)
def test_bad_shapes(preds, target, message):
    with pytest.raises(ValueError, match=message):
        NeuralAlignmentLoss()(preds, target)


def test_a_ceiling_of_other_length():
    with pytest.raises(ValueError, match="noise_ceiling has 2 voxels, the responses 3"):
        NeuralAlignmentLoss(noise_ceiling=torch.ones(2))(torch.zeros(4, 3), torch.zeros(4, 3))


CASES = [*((measure, {}) for measure in MEASURES), ("pearson", {"over": "voxels"})]


def _rank_gradients(rank, world, reduction, sizes):
    """Value, gradient of the network and gradients of the loss's own parameters, for every measure."""
    out = []
    for measure, options in CASES:
        x, target = responses(9, n=sum(sizes), missing=0.15, measure=measure)
        w = torch.eye(7, dtype=torch.float64, requires_grad=True)
        start = sum(sizes[:rank])
        mine = slice(start, start + sizes[rank])
        loss = NeuralAlignmentLoss(measure, voxel_reduction=reduction, **options).double()
        value = loss(x[mine] @ w, target[mine])
        value.backward()
        out.append([value.detach(), w.grad, *(p.grad for p in loss.parameters())])
    return out


@pytest.mark.parametrize(
    ("sizes", "reduction"),
    [
        ((8, 3), "sum"),
        ((12, 0), "mean"),
        pytest.param((7, 7), "mean", marks=pytest.mark.slow),
        pytest.param((5, 3, 2, 4), "mean", marks=pytest.mark.slow),
    ],
)
def test_several_processes_equal_one(sizes, reduction):
    """Of 2 and 4 processes, with ragged last batches, and with one that has run out of data."""
    ranks = run_on_ranks(_rank_gradients, len(sizes), reduction, sizes)
    single = _rank_gradients(0, 1, reduction, (sum(sizes),))
    for i, (case, expected) in enumerate(zip(CASES, single)):
        for j, part in enumerate(expected):
            together = averaged([rank[i][j] for rank in ranks])
            torch.testing.assert_close(together, part, rtol=1e-6, atol=1e-9, msg=lambda m, c=case: f"{c}: {m}")


def _traffic(rank, world, measure):
    """Bytes that a process sends in one forward and backward pass."""
    import torch.distributed as dist

    sent = []
    gather, reduce = dist.all_gather, dist.all_reduce
    dist.all_gather = lambda parts, x: (sent.append(x.nbytes), gather(parts, x))[1]
    dist.all_reduce = lambda x: (sent.append(x.nbytes), reduce(x))[1]
    preds, target = torch.randn(2, 64, 100)
    NeuralAlignmentLoss(measure)(preds.requires_grad_(), target).backward()
    return sum(sent)


def test_voxel_wise_measures_do_not_pay_for_a_gather():
    batch = 64 * 100 * 4
    assert run_on_ranks(_traffic, 2, "mse")[0] <= 8
    assert run_on_ranks(_traffic, 2, "pearson")[0] < batch
    assert run_on_ranks(_traffic, 2, "cka")[0] > 2 * batch


def _local_value(rank, world):
    preds, target = responses(rank)
    loss = NeuralAlignmentLoss("pearson", distributed=False)
    return loss(preds, target)


def test_distributed_can_be_switched_off():
    for rank, value in enumerate(run_on_ranks(_local_value, 2)):
        torch.testing.assert_close(value, NeuralAlignmentLoss("pearson")(*responses(rank)))


def test_errors_name_the_side_that_is_wrong():
    x = torch.randn(8, 4)
    for measure in ("mse", "cka"):
        with pytest.raises(TypeError, match=r"^target must be floating point"):
            NeuralAlignmentLoss(measure)(x, torch.ones(8, 4, dtype=torch.long))
        with pytest.raises(TypeError, match=r"^preds must be floating point"):
            NeuralAlignmentLoss(measure)(torch.ones(8, 4, dtype=torch.long), x)


def repeated(measure, seed=0):
    """Sets of 10 stimuli, three of them twice in different places, and the same without the repeats."""
    preds, target = responses(seed, n=10, v=5, measure=measure)
    target[2, 3] = torch.nan if measure != "poisson_nll" else 1.0
    rows = torch.tensor([0, 1, 2, 3, 4, 2, 5, 6, 7, 0, 8, 9, 6])
    return preds[rows], target[rows], 100 - rows, preds, target


@pytest.mark.parametrize("measure", SETS)
def test_a_stimulus_is_not_compared_with_itself(measure):
    preds, target, stimulus, *once = repeated(measure)
    loss = NeuralAlignmentLoss(measure, noise_ceiling=torch.linspace(0.2, 1, 5)).double()
    value = loss(preds.requires_grad_(), target, stimulus)
    if measure == "rsa":  # which keeps the rows, and leaves pairs of them out
        ceiling = loss.noise_ceiling.double()
        torch.testing.assert_close(value, 1 - rsa(preds, target, weight=ceiling, stimulus=stimulus))
    else:
        torch.testing.assert_close(value, loss(*once), rtol=1e-6, atol=1e-8)
    assert abs(float(value - loss(preds, target))) > 1e-4
    value.backward()
    assert bool(preds.grad.isfinite().all())


@pytest.mark.parametrize("measure", PAIRED)
def test_identities_change_nothing_voxel_by_voxel(measure):
    preds, target, stimulus, *_ = repeated(measure)
    loss = NeuralAlignmentLoss(measure).double()
    assert torch.equal(loss(preds, target, stimulus), loss(preds, target))


@pytest.mark.parametrize("measure", MEASURES)
def test_identities_that_differ_change_nothing(measure):
    preds, target = responses(0, measure=measure)
    loss = NeuralAlignmentLoss(measure).double()
    assert torch.equal(loss(preds, target, torch.arange(12).flip(0)), loss(preds, target))


@pytest.mark.parametrize("measure", SETS)
def test_too_few_different_stimuli_are_like_none(measure):
    preds, target = responses(0, measure=measure)
    value = NeuralAlignmentLoss(measure).double()(preds.requires_grad_(), target, torch.zeros(12, dtype=torch.long))
    assert float(value) == 0 and value.requires_grad


class PlainCKA(torch.nn.Module):
    paired = False

    def forward(self, preds, target):
        return 1 - linear_cka(preds, target)


def test_a_callable_sees_the_mean_of_a_stimulus():
    preds, target, stimulus, *once = repeated("cka")
    target, once[1] = target.nan_to_num(0.5), once[1].nan_to_num(0.5)
    loss = NeuralAlignmentLoss(PlainCKA())
    torch.testing.assert_close(loss(preds, target, stimulus), loss(*once))
    plain = NeuralAlignmentLoss(lambda preds, target: (preds - target).square().mean())
    assert torch.equal(plain(preds, target, stimulus), plain(preds, target))


def test_a_measure_may_see_the_rows_of_a_stimulus():
    seen = []

    @register_measure("test-rows", paired=False)
    def rows(preds, target, weight, scale=1.0, stimulus=None):
        seen.append(stimulus)
        return scale * preds.sum()

    try:
        preds, target, stimulus, *_ = repeated("cka")
        target[4] = torch.nan  # the only row of its stimulus
        loss = NeuralAlignmentLoss("test-rows", scale=2.0)
        kept = torch.arange(13) != 4
        torch.testing.assert_close(loss(preds, target, stimulus), 2 * preds[kept].sum())
        loss(preds[:5], target[:5], stimulus[:5])
        assert seen[0].tolist() == [0, 1, 2, 3, 2, 4, 5, 6, 0, 7, 8, 5] and seen[1] is None
        with pytest.raises(TypeError, match="option of measure 'test-rows': 'stimulus'"):
            NeuralAlignmentLoss("test-rows", stimulus=stimulus)
    finally:
        del MEASURES["test-rows"]


def test_identities_that_are_none():
    preds, target = responses(0)
    for measure in ("mse", "cka"):
        loss = NeuralAlignmentLoss(measure)
        with pytest.raises(TypeError, match="integer identities"):
            loss(preds, target, torch.rand(12))
        with pytest.raises(ValueError, match="12 stimuli, but 11 identities"):
            loss(preds, target, torch.arange(11))


def _with_repeats(rank, world, measure, cut):
    preds, target, stimulus, *_ = repeated(measure)
    mine = slice(0, cut) if rank == 0 else slice(cut, None)
    if world == 1:
        mine = slice(None)
    w = torch.eye(5, dtype=torch.float64, requires_grad=True)
    value = NeuralAlignmentLoss(measure).double()(preds[mine] @ w, target[mine], stimulus[mine])
    value.backward()
    return torch.cat([value.detach()[None], w.grad.flatten()])


@pytest.mark.parametrize("measure", ["cka", "rsa"])
def test_repeats_on_several_processes_equal_one(measure):
    together = averaged(run_on_ranks(_with_repeats, 2, measure, 8))
    torch.testing.assert_close(together, _with_repeats(0, 1, measure, 0), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("measure", PAIRED)
def test_torchs_other_ways_to_differentiate(measure):
    """torch.func, forward mode and checkpoints get the gradient of the backward pass."""
    preds, target = responses(0, missing=0.3, measure=measure)
    loss = NeuralAlignmentLoss(measure).double()
    expected = torch.autograd.grad(loss(preds.requires_grad_(), target), preds)[0]
    preds, direction = preds.detach(), torch.randn_like(preds)
    torch.testing.assert_close(torch.func.grad(lambda x: loss(x, target))(preds), expected)
    if not loss.stateful:  # the floor of a learned variance has a backward pass alone
        with forward_ad.dual_level():
            tangent = forward_ad.unpack_dual(loss(forward_ad.make_dual(preds, direction), target)).tangent
        torch.testing.assert_close(tangent, (expected * direction).sum())
    value = checkpoint(lambda x: loss(x, target), preds.requires_grad_(), use_reentrant=False)
    torch.testing.assert_close(torch.autograd.grad(value, preds)[0], expected)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("missing", [0.0, 0.3])
@pytest.mark.parametrize("value", [torch.nan, torch.inf, 1e300])
@pytest.mark.parametrize("measure", PAIRED)
def test_predictions_of_left_out_voxels_may_be_anything(measure, value, missing, reduction):
    preds, target = responses(0, missing=missing, measure=measure)
    ceiling = torch.linspace(0, 1, preds.shape[1])  # the first voxel is left out
    odd = preds.clone()
    odd[1, 0] = value
    loss = NeuralAlignmentLoss(measure, noise_ceiling=ceiling, voxel_reduction=reduction).double()
    found, expected = (loss(x.requires_grad_(), target) for x in (odd, preds))
    torch.testing.assert_close(found, expected)
    gradients = [torch.autograd.grad(v, x)[0] for v, x in ((found, odd), (expected, preds))]
    torch.testing.assert_close(*gradients)
    assert not bool(gradients[0][:, 0].any())


@pytest.mark.parametrize("measure", PAIRED)
def test_infinite_targets_are_refused_in_left_out_voxels_too(measure):
    preds, target = responses(0, measure=measure)
    target[1, 0] = torch.inf
    with pytest.raises(ValueError, match="target has infinite values"):
        NeuralAlignmentLoss(measure, noise_ceiling=torch.linspace(0, 1, preds.shape[1])).double()(preds, target)
