"""Metrics: equal to the formula on the whole, in any order of batches, and when merged."""

import numpy as np
import pytest
import torch

from neuroalign import NoiseNormalizedCorrelation, VoxelCorrelation
from neuroalign.functional import noise_ceiling, pearson, pooled_normalized_correlation


def responses(n=60, v=4, mean=0.0):
    preds, target = torch.randn(2, n, v, dtype=torch.float64)
    target[:7, 1] = torch.nan
    return (preds + mean).float(), (target + preds + mean).float()


@pytest.mark.parametrize("mean", [0.0, 30.0, 1000.0])
@pytest.mark.parametrize("over", ["stimuli", "voxels"])
def test_correlation_of_batches_is_that_of_the_whole(over, mean):
    preds, target = responses(mean=mean)
    metric = VoxelCorrelation(over=over, reduction="none")
    for part in torch.arange(60).split(13):
        metric.update(preds[part], target[part])
    expected = pearson(preds.double(), target.double(), dim=0 if over == "stimuli" else 1)
    torch.testing.assert_close(metric.compute().double(), expected, atol=1e-6, rtol=0)


def test_merging_states():
    preds, target = responses()
    a, b = VoxelCorrelation(reduction="none"), VoxelCorrelation(reduction="none")
    a.update(preds[:20], target[:20])
    b.update(preds[20:], target[20:])
    a.merge_state(b)
    torch.testing.assert_close(a.compute(), pearson(preds, target), atol=1e-6, rtol=0)


def test_forward_and_reset():
    preds, target = responses()
    metric = VoxelCorrelation(reduction="none")
    torch.testing.assert_close(metric(preds[:20], target[:20]), pearson(preds[:20], target[:20]), atol=1e-6, rtol=0)
    metric(preds[20:], target[20:])
    torch.testing.assert_close(metric.compute(), pearson(preds, target), atol=1e-6, rtol=0)
    metric.reset()
    metric.update(preds[:5], target[:5])
    torch.testing.assert_close(metric.compute()[0], pearson(preds[:5], target[:5])[0], atol=1e-6, rtol=0)


@pytest.mark.parametrize("constant", [0.0, 0.1, 1000.1])
def test_undefined_voxels_are_counted_and_left_out(constant):
    preds, target = responses()
    preds[:, 0] = constant
    metric = VoxelCorrelation(reduction="median")
    metric.update(preds, target)
    value = metric.compute()
    assert metric.num_undefined == 1
    torch.testing.assert_close(value, pearson(preds, target)[1:].median(), atol=1e-6, rtol=0)


@pytest.mark.parametrize(("dtype", "enough"), [(torch.float32, 1e-37), (torch.float64, 1e-140)])
@pytest.mark.parametrize("side", ["preds", "target"])
def test_a_voxel_whose_span_is_subnormal_is_undefined_as_in_the_formula(dtype, enough, side):
    """Numbers below the smallest normal one have lost digits; what counts is the dtype in which they were given."""
    preds, target = (x.to(dtype) for x in responses())
    values = preds if side == "preds" else target
    for voxel, span in ((0, torch.finfo(dtype).tiny / 2), (2, enough)):
        x = values[:, voxel]
        values[:, voxel] = (x - x.min()) / (x.max() - x.min()) * span
    metric = VoxelCorrelation(reduction="none")
    for part in torch.arange(60).split(13):
        metric.update(preds[part], target[part])
    value = metric.compute()
    assert value.isnan().tolist() == [True, False, False, False] and metric.num_undefined == 1
    torch.testing.assert_close(value, pearson(preds, target).float(), equal_nan=True, atol=1e-6, rtol=0)


def test_a_voxel_whose_squares_leave_float64_is_undefined_and_not_infinite():
    preds, target = (x.double() for x in responses())
    preds[:, 0] *= 1e-200
    metric = VoxelCorrelation(reduction="none")
    metric.update(preds, target)
    assert metric.compute().isnan().tolist() == [True, False, False, False]


@pytest.mark.parametrize(
    "make", [VoxelCorrelation, lambda: NoiseNormalizedCorrelation(torch.full((4,), 0.5), reduction="median")]
)
def test_the_median_of_an_even_number_is_the_mean_of_the_middle_two(make):
    preds, target = responses()
    metric = make()
    metric.update(preds, target)
    r = pearson(preds, target).numpy() / (1 if isinstance(make, type) else 0.5**0.5)
    assert float(metric.compute()) == pytest.approx(float(np.median(r)), abs=1e-6)


def test_normalised_by_the_ceiling():
    preds, target = responses()
    ceiling = torch.tensor([0.25, 0.5, 0.01, 1.0])
    metric = NoiseNormalizedCorrelation(ceiling, reduction="none")
    metric.update(preds, target)
    r = pearson(preds, target)
    got = metric.compute()
    assert got[2].isnan()
    torch.testing.assert_close(got[[0, 1, 3]], (r / ceiling.sqrt())[[0, 1, 3]], atol=1e-6, rtol=1e-6)
    other = NoiseNormalizedCorrelation(torch.ones(3))
    other.update(preds, target)
    with pytest.raises(ValueError, match="noise_ceiling has 3 voxels, the responses 4"):
        other.compute()


def test_bad_options():
    with pytest.raises(ValueError, match="'stimuli' or 'voxels'"):
        VoxelCorrelation(over="images")
    with pytest.raises(ValueError, match="'median', 'mean' or 'none'"):
        VoxelCorrelation(reduction="max")
    with pytest.raises(ValueError, match="'max': it must be 'median', 'mean', 'none' or 'pooled'"):
        NoiseNormalizedCorrelation(torch.ones(3), reduction="max")
    with pytest.raises(ValueError, match="'pooled': it must be 'median', 'mean' or 'none'"):
        VoxelCorrelation(reduction="pooled")


def test_pooled_over_voxels():
    preds, target = responses()
    ceiling = torch.tensor([0.25, 0.5, -0.1, torch.nan])
    metric = NoiseNormalizedCorrelation(ceiling, reduction="pooled")
    for part in torch.arange(60).split(13):
        metric.update(preds[part], target[part])
    count = torch.tensor([60.0, 53.0, 60.0, 60.0])
    expected = pooled_normalized_correlation(pearson(preds, target), ceiling, count)
    torch.testing.assert_close(metric.compute(), expected, atol=1e-5, rtol=0)
    assert metric.num_undefined == 1
    some = NoiseNormalizedCorrelation(ceiling, selection=torch.tensor([True, False, False, True]), reduction="pooled")
    some.update(preds, target)
    alone = pooled_normalized_correlation(pearson(preds, target)[:1], ceiling[:1], 60)
    torch.testing.assert_close(some.compute(), alone, atol=1e-5, rtol=0)


def test_voxels_selected_by_other_data():
    preds, target = responses()
    ceiling, other = torch.tensor([0.25, 0.5, -0.01, 0.0]), torch.tensor([0.0, 0.5, 0.3, 0.04])
    metric = NoiseNormalizedCorrelation(ceiling, selection=other, reduction="none")
    metric.update(preds, target)
    r = pearson(preds, target)
    expected = [torch.nan, float(r[1]) / 0.5**0.5, float(r[2].sign()) * torch.inf, torch.nan]
    torch.testing.assert_close(metric.compute(), torch.tensor(expected), atol=1e-6, rtol=0, equal_nan=True)
    with pytest.raises(ValueError, match="ceiling of 1 selected voxels isn't above 0"):
        NoiseNormalizedCorrelation(ceiling, selection=other, reduction="mean")


@pytest.mark.parametrize(
    ("ceiling", "options", "message"),
    [
        ([36.0, 20.0], {}, "divide per cent by 100"),
        ([0.5, -torch.inf], {"reduction": "pooled"}, "noise_ceiling has infinite values"),
        ([-0.5, torch.nan], {"reduction": "pooled"}, "0 or NaN everywhere"),
        ([0.5, 0.5], {"selection": [0.01, 0.04]}, "selection leaves no voxel"),
        ([0.5, torch.nan], {"selection": [False, True]}, "selection leaves no voxel"),
        ([0.5, 0.5], {"selection": [True]}, r"selection is \(1,\), noise_ceiling \(2,\)"),
    ],
)
def test_ceilings_and_selections_that_are_none(ceiling, options, message):
    options = {k: torch.tensor(v) if k == "selection" else v for k, v in options.items()}
    with pytest.raises(ValueError, match=message):
        NoiseNormalizedCorrelation(torch.tensor(ceiling), **options)


def test_pooling_clamped_ceilings_is_warned_of():
    with pytest.warns(UserWarning, match="1 noise ceilings are exactly 0"):
        NoiseNormalizedCorrelation(torch.tensor([0.0, 0.5]), reduction="pooled")


def true_ceilings(kind, g):
    """(voxel,) ceilings of the average of three: one number, or drawn from beta(.5, 4)."""
    if kind != "mixed":
        return torch.full((1000,), kind)
    a, b = (torch._standard_gamma(torch.full((1000,), k), generator=g) for k in (0.5, 4.0))
    return (a / (a + b)).clamp(1e-6, 1 - 1e-6)


def record(ceilings, num_stimuli, g):
    """The signal (stimulus, voxel), and three trials of it (stimulus, repeat, voxel)."""
    signal = torch.randn(num_stimuli, 1000, generator=g)
    noise = torch.randn(num_stimuli, 3, 1000, generator=g)
    return signal, signal[:, None] + (3 * (1 / ceilings - 1)).sqrt() * noise


def score(preds, trials, *args, **options):
    metric = NoiseNormalizedCorrelation(*args, **options)
    metric.update(preds, trials.mean(1))
    return float(metric.compute())


@pytest.mark.slow
@pytest.mark.parametrize("kind", [0.058, 0.25, 0.56, "mixed"])
@pytest.mark.parametrize(("num_stimuli", "count"), [(50, 60), (100, 40), (515, 8), (1000, 8)])
def test_the_true_signal_scores_one_and_half_of_it_a_half(kind, num_stimuli, count):
    """The median of the lowest ceilings scores .56 to .82, and .28 to .41."""
    g = torch.Generator().manual_seed(num_stimuli)
    whole, half = [], []
    for _ in range(count if kind in (0.058, "mixed") else count // 4):
        signal, trials = record(true_ceilings(kind, g), num_stimuli, g)
        ceiling = noise_ceiling(trials, clamp=False)
        whole.append(score(signal, trials, ceiling, reduction="pooled"))
        preds = 0.5 * signal + 0.75**0.5 * torch.randn(num_stimuli, 1000, generator=g)
        half.append(score(preds, trials, ceiling, reduction="pooled"))
    assert np.mean(whole) == pytest.approx(1, abs=0.02)
    assert np.mean(half) == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize(("kind", "stated", "selected"), [(0.058, 0.61, 0.96), ("mixed", 0.77, 0.96)])
def test_selection_by_other_stimuli_takes_most_of_the_bias_from_the_median(kind, stated, selected):
    """With 100 stimuli, as the docstring states it."""
    g = torch.Generator().manual_seed(0)
    alone, by_others = [], []
    for _ in range(15):
        ceilings = true_ceilings(kind, g)
        (signal, trials), (_, others) = record(ceilings, 100, g), record(ceilings, 100, g)
        ceiling = noise_ceiling(trials, clamp=False)
        alone.append(score(signal, trials, ceiling, reduction="median"))
        by_others.append(score(signal, trials, ceiling, selection=noise_ceiling(others), reduction="median"))
    assert np.mean(alone) == pytest.approx(stated, abs=0.02)
    assert np.mean(by_others) == pytest.approx(selected, abs=0.04)
