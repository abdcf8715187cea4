"""NeuralAlignmentLoss: missing values, noise ceilings, callables, several processes."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from neuroalign import NeuralAlignmentLoss
from neuroalign.losses import MEASURES, register_measure
from tests import references as ref
from tests.distributed import averaged, run_on_ranks

REFERENCE = {"mse": ref.mse_loss, "pearson": ref.pearson_loss, "cosine": ref.cosine_loss}


def responses(seed, n=12, v=7, missing=0.0, dtype=torch.float64):
    g = torch.Generator().manual_seed(seed)
    preds, target = torch.randn(2, n, v, generator=g, dtype=dtype)
    target[torch.rand(n, v, generator=g) < missing] = torch.nan
    return preds, target


def test_every_measure_here_has_a_reference():
    assert set(REFERENCE) == set(MEASURES)


@pytest.mark.parametrize("measure", REFERENCE)
@pytest.mark.parametrize("missing", [0.0, 0.2])
@pytest.mark.parametrize("weighted", [False, True])
def test_against_the_reference(measure, missing, weighted):
    preds, target = responses(3, missing=missing)
    ceiling = torch.linspace(0, 1, 7) if weighted else None
    value = NeuralAlignmentLoss(measure, noise_ceiling=ceiling).double()(preds, target)
    ceiling = None if ceiling is None else ceiling.double().numpy()
    assert float(value) == pytest.approx(REFERENCE[measure](preds.numpy(), target.numpy(), ceiling), rel=1e-10)


def test_sum_over_voxels_is_the_mean_times_their_number():
    preds, target = responses(0, v=7)
    mean = NeuralAlignmentLoss("mse")(preds, target)
    torch.testing.assert_close(NeuralAlignmentLoss("mse", voxel_reduction="sum")(preds, target), 7 * mean)
    expected = ((preds - target) ** 2).sum(1).mean()  # the paper's: sum over voxels, mean over stimuli
    torch.testing.assert_close(7 * mean, expected)


@pytest.mark.parametrize("measure", REFERENCE)
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_a_voxel_of_weight_zero_is_dropped(measure, reduction):
    preds, target = responses(1)
    ceiling = torch.ones(7)
    ceiling[2] = 0
    weighted = NeuralAlignmentLoss(measure, noise_ceiling=ceiling, voxel_reduction=reduction).double()
    kept = ceiling > 0
    plain = NeuralAlignmentLoss(measure, voxel_reduction=reduction)
    torch.testing.assert_close(weighted(preds, target), plain(preds[:, kept], target[:, kept]))


@pytest.mark.parametrize("measure", REFERENCE)
def test_a_missing_voxel_is_dropped(measure):
    preds, target = responses(1)
    target[:, 4] = torch.nan
    kept = torch.arange(7) != 4
    loss = NeuralAlignmentLoss(measure)
    torch.testing.assert_close(loss(preds, target), loss(preds[:, kept], target[:, kept]))


@pytest.mark.parametrize("measure", REFERENCE)
def test_integer_weights_repeat_voxels(measure):
    preds, target = responses(5, v=3)
    times = torch.tensor([1, 2, 4])
    weighted = NeuralAlignmentLoss(measure, noise_ceiling=times / 4).double()
    repeated = NeuralAlignmentLoss(measure)(preds.repeat_interleave(times, 1), target.repeat_interleave(times, 1))
    torch.testing.assert_close(weighted(preds, target), repeated)


@pytest.mark.parametrize("measure", REFERENCE)
def test_the_scale_of_the_weights_does_not_matter(measure):
    preds, target = responses(6)
    w = torch.rand(7) * 0.9 + 0.1
    a, b = (NeuralAlignmentLoss(measure, noise_ceiling=s * w).double()(preds, target) for s in (1.0, 0.25))
    torch.testing.assert_close(a, b, rtol=1e-6, atol=0)


@pytest.mark.parametrize("measure", REFERENCE)
def test_nothing_valid_is_zero_with_a_graph(measure):
    preds = torch.randn(4, 3, requires_grad=True)
    value = NeuralAlignmentLoss(measure)(preds, torch.full((4, 3), torch.nan))
    assert float(value) == 0
    value.backward()
    assert torch.equal(preds.grad, torch.zeros(4, 3))


@pytest.mark.parametrize("measure", REFERENCE)
def test_missing_targets_send_no_gradient(measure):
    preds, target = responses(2, missing=0.3)
    preds.requires_grad_()
    NeuralAlignmentLoss(measure)(preds, target).backward()
    assert torch.isfinite(preds.grad).all()
    assert (preds.grad[target.isnan()] == 0).all()


def test_predictions_beside_a_missing_target_may_be_anything():
    preds, target = responses(2, missing=0.3)
    wild = torch.where(target.isnan(), torch.inf, preds)
    for measure in MEASURES:
        loss = NeuralAlignmentLoss(measure)
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


@pytest.mark.parametrize("measure", REFERENCE)
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


def _rank_gradient(rank, world, measure, reduction, sizes):
    x, target = responses(9, n=sum(sizes), missing=0.2)
    w = torch.eye(7, dtype=torch.float64, requires_grad=True)
    start = sum(sizes[:rank])
    mine = slice(start, start + sizes[rank])
    value = NeuralAlignmentLoss(measure, voxel_reduction=reduction)(x[mine] @ w, target[mine])
    value.backward()
    return value.detach(), w.grad


@pytest.mark.parametrize("measure", REFERENCE)
@pytest.mark.parametrize(("sizes", "reduction"), [((6, 6), "mean"), ((8, 3), "sum"), ((5, 3, 2, 4), "mean")])
def test_several_processes_equal_one(measure, sizes, reduction):
    ranks = run_on_ranks(_rank_gradient, len(sizes), measure, reduction, sizes)
    value, gradient = _rank_gradient(0, 1, measure, reduction, (sum(sizes),))
    torch.testing.assert_close(averaged([r[1] for r in ranks]), gradient, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(averaged([r[0] for r in ranks]), value, rtol=1e-9, atol=1e-12)


def _local_value(rank, world):
    preds, target = responses(rank)
    loss = NeuralAlignmentLoss("pearson", distributed=False)
    return loss(preds, target)


def test_distributed_can_be_switched_off():
    for rank, value in enumerate(run_on_ranks(_local_value, 2)):
        torch.testing.assert_close(value, NeuralAlignmentLoss("pearson")(*responses(rank)))
