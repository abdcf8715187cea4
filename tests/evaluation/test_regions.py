"""Geometry of recorded responses: simulated ones with a known answer, and what must be refused."""

import numpy as np
import pytest
import torch
from scipy.stats import t

from neuroalign import Responses
from neuroalign.evaluation import response_geometry
from neuroalign.evaluation.geometry_jackknife import Left, variances
from neuroalign.functional import manifold_capacity

CLASSES, MEMBERS = 12, 8
LABELS = {s: s // MEMBERS for s in range(CLASSES * MEMBERS)}


def simulated(spreads, noises, voxels=60, repeats=4, seed=0):
    """A subject with one region for each spread of its classes; returns the responses and the noiseless signals."""
    signals, trials = {}, []
    for name, spread, noise in zip(("V1", "V4", "TO"), spreads, noises):
        rng = np.random.default_rng(seed)  # equal spreads give equal signals
        latent = np.repeat(rng.standard_normal((CLASSES, 15)), MEMBERS, 0)
        latent = latent + spread * rng.standard_normal((CLASSES * MEMBERS, 15))
        latent = latent / np.sqrt(1 + spread**2)
        signals[name] = latent @ rng.standard_normal((15, voxels)) / np.sqrt(15)
        rng = np.random.default_rng([seed, len(trials)])
        repeated = np.repeat(signals[name], repeats, 0)
        trials.append(repeated + noise * rng.standard_normal(repeated.shape))
    roi = np.repeat(list(signals), voxels)
    stimulus = np.repeat(np.arange(CLASSES * MEMBERS), repeats)
    return Responses.from_arrays(np.concatenate(trials, 1), stimulus=stimulus, roi=roi), signals


def test_order_of_regions_and_their_capacities():
    responses, signals = simulated((1.5, 0.8, 0.3), (0.6, 0.6, 0.6))
    kwargs = {"num_samples": 60, "match_reliability": False}
    found = response_geometry(responses, LABELS, num_subsets=1, **kwargs)
    table = found.table.set_index("region")
    assert table["capacity"].is_monotonic_increasing and table["rms_radius"].is_monotonic_decreasing
    labels = torch.arange(CLASSES).repeat_interleave(MEMBERS)
    for region, signal in signals.items():
        truth = float(manifold_capacity(torch.from_numpy(signal), labels).capacity)
        assert table["capacity"][region] == pytest.approx(truth, rel=0.12)
        assert table["capacity_low"][region] < table["capacity"][region] < table["capacity_high"][region]
    contrast = found.contrasts.query("region == 'V1' and other == 'TO' and measure == 'capacity'").iloc[0]
    assert contrast["high"] < 0
    assert contrast["difference"] == pytest.approx(table["capacity"]["V1"] - table["capacity"]["TO"])
    assert len(found.classes) == 3 * CLASSES and len(found.contrasts) == 3 * 4


def test_without_noise_it_is_the_signals_own_geometry_over_draws_of_each_subset():
    """Three categories, of which no shared directions are removed."""
    responses, signals = simulated((0.8,), (0.0,), repeats=2)
    some = {s: c for s, c in LABELS.items() if c < 3}
    table = response_geometry(responses, some, num_subsets=2, num_samples=40, seed=3).table
    signal, labels = torch.from_numpy(signals["V1"][: 3 * MEMBERS]), torch.arange(3).repeat_interleave(MEMBERS)
    inverse = [1 / float(manifold_capacity(signal, labels, num_samples=40, seed=seed).capacity) for seed in (3, 4)]
    assert abs(inverse[0] - inverse[1]) > 1e-4
    assert table["capacity"][0] == pytest.approx(2 / sum(inverse), rel=1e-5)


def test_two_categories_are_enough():
    responses, signals = simulated((0.8,), (0.0,), repeats=2)
    labels = {s: s // MEMBERS for s in range(2 * MEMBERS)}
    with pytest.warns(UserWarning, match="no intervals from two categories"):
        table = response_geometry(responses, labels, num_subsets=1, num_samples=40).table
    assert table["num_classes"][0] == 2 and np.isnan(table["capacity_low"][0])
    signal = torch.from_numpy(signals["V1"][: 2 * MEMBERS])
    truth = manifold_capacity(signal, torch.arange(2).repeat_interleave(MEMBERS), num_samples=40)
    assert table["capacity"][0] == pytest.approx(float(truth.capacity), rel=1e-5)


def test_intervals_are_the_jackknife_over_categories():
    """Of RMS radii from their definition, category by category: centres, their mean and their distances computed anew."""
    responses, signals = simulated((0.8,), (0.0,), repeats=2)
    found = response_geometry(responses, LABELS, num_subsets=1, num_samples=40, confidence=0.8).table
    points = signals["V1"].reshape(CLASSES, MEMBERS, -1)

    def rms(x):
        centers = x.mean(1)
        between = np.square(centers - centers.mean(0)).sum(1).mean()
        return np.sqrt(np.square(x - centers[:, None]).sum(2).mean(1) / between).mean()

    jackknife = np.array([rms(np.delete(points, c, axis=0)) for c in range(CLASSES)])
    error = np.sqrt((CLASSES - 1) / CLASSES * np.square(jackknife - jackknife.mean()).sum())
    reach = t.ppf(0.9, CLASSES - 1) * error
    ends = found.loc[0, ["rms_radius_low", "rms_radius_high"]].tolist()
    assert ends == pytest.approx([rms(points) - reach, rms(points) + reach], rel=1e-4)


def test_variances_are_those_of_categories_and_voxels_and_of_their_interplay():
    """Estimates that are means of a table: category effects, voxel effects and noise, each of known variance."""
    rng = np.random.default_rng(0)
    found = []
    for _ in range(2000):
        cells = rng.standard_normal((12, 1)) + 0.7 * rng.standard_normal((1, 10)) + 2 * rng.standard_normal((12, 10))
        groups, keep = [np.arange(i, 12, 4) for i in range(4)], lambda x, out, axis: np.delete(x, out, axis)
        coarse = [keep(cells, g, 0) for g in groups]
        left = Left(
            np.array([cells.mean()]),
            np.array([[keep(cells, i, 0).mean()] for i in range(12)]),
            np.array([[x.mean()] for x in coarse]),
            np.array([[keep(cells, j, 1).mean()] for j in range(10)]),
            np.array([[[keep(x, j, 1).mean()] for j in range(10)] for x in coarse]),
        )
        found.append(
            [variances(left)[0], variances(left._replace(voxels=np.zeros((0, 1)), both=np.zeros((4, 0, 1))))[0]]
        )
    both, categories = np.mean(found, axis=0)
    assert categories == pytest.approx(1 / 12 + 4 / 120, rel=0.05)
    assert both == pytest.approx(1 / 12 + 0.49 / 10 + 4 / 120, rel=0.05)


def test_a_centre_that_nearly_vanishes_does_not_decide_the_radius():
    responses, _ = simulated((0.8,), (0.5,))
    found = response_geometry(responses, LABELS, num_subsets=1, num_samples=40)
    radii = found.classes["radius"]
    assert radii.min() < found.table["radius"][0] < radii.mean()  # long centres have small radii relative to them


def test_voxels_as_a_sample_widen_the_intervals():
    responses, _ = simulated((0.8, 0.8), (0.5, 0.5))
    kwargs = {"num_subsets": 1, "num_samples": 40}
    fixed, sample = (response_geometry(responses, LABELS, voxels=v, **kwargs) for v in ("fixed", "random"))
    np.testing.assert_allclose(fixed.table["capacity"], sample.table["capacity"], rtol=1e-6)
    width = [x.contrasts["high"] - x.contrasts["low"] for x in (fixed, sample)]
    assert (width[1] > 0.999 * width[0]).all() and (width[1] > 1.1 * width[0]).any()


def test_the_number_of_resamplings_is_of_no_use_any_more():
    responses, _ = simulated((0.8,), (0.5,))
    kwargs = {"num_subsets": 1, "num_samples": 40}
    with pytest.warns(DeprecationWarning, match="num_bootstrap"):
        old = response_geometry(responses, LABELS, num_bootstrap=200, **kwargs).table
    assert old.equals(response_geometry(responses, LABELS, **kwargs).table)


def test_contrasts_leave_the_same_categories_out_of_both_regions():
    one, _ = simulated((0.8,), (0.5,))
    twice = Responses.from_arrays(
        np.concatenate([one.values, one.values], 1), stimulus=one.stimulus, roi=["V1"] * 60 + ["TO"] * 60
    )
    found = response_geometry(twice, LABELS, num_subsets=1, num_samples=40)
    assert (found.contrasts[["difference", "low", "high"]] == 0).all(axis=None)
    assert (found.table["capacity_low"] < found.table["capacity_high"]).all()


@pytest.mark.slow
def test_noise_alone_does_not_make_a_region_look_worse():
    """Equal signals, unequal noise. The negative control: the same trials without their repeats do look unequal."""
    responses, _ = simulated((0.6, 0.6), (0.4, 1.4), repeats=6)
    found = response_geometry(responses, LABELS, num_subsets=3, num_samples=60, match_reliability=False)
    aware = found.table.set_index("region")["capacity"]
    assert set(found.table["repeats"]) == {"cross-validated"}
    single = responses.rows(np.arange(0, len(responses), 6))
    blind = response_geometry(single, LABELS, num_subsets=3, num_samples=60, match_reliability=False)
    assert set(blind.table["repeats"]) == {"none"}
    blind = blind.table.set_index("region")["capacity"]
    assert aware["V4"] / aware["V1"] > 0.85
    assert blind["V4"] / blind["V1"] < 0.75


@pytest.mark.slow
def test_regions_are_matched_in_voxels_and_reliability():
    responses, _ = simulated((0.6, 0.6), (0.8, 1.2))
    small = responses.select(voxels=np.r_[0:60, 60:100])
    found = response_geometry(small, LABELS, num_subsets=2, num_samples=40).table
    assert found["num_voxels"].nunique() == 1 and found["num_voxels"][0] <= 40
    assert abs(found["reliability"][0] - found["reliability"][1]) < 0.03
    unmatched = response_geometry(small, LABELS, num_subsets=2, num_samples=40, match_reliability=False).table
    assert abs(unmatched["reliability"][0] - unmatched["reliability"][1]) > 0.05
    assert unmatched["num_voxels"].tolist() == [40, 40]
    capped = response_geometry(small, LABELS, num_voxels=10, num_subsets=2, num_samples=40).table
    assert capped["num_voxels"].tolist() == [10, 10]


def test_without_repeats_reliability_is_the_root_of_the_noise_ceiling():
    responses, _ = simulated((0.8,), (0.5,), repeats=1)
    single = Responses.from_arrays(
        responses.values, stimulus=responses.stimulus, roi="V1", noise_ceiling=np.repeat([0.25, 0.36, 0.81], 20)
    )
    table = response_geometry(single, LABELS, num_subsets=1, num_samples=40).table
    assert table["repeats"].tolist() == ["none"]
    assert table["reliability"][0] == pytest.approx(0.6)  # the median voxel's


def test_ten_subsets_unless_told_otherwise():
    responses, _ = simulated((0.8,), (0.5,))
    labels = {s: s % 3 for s in range(9)}
    kwargs = {"num_voxels": 10, "num_samples": 10}
    table = response_geometry(responses, labels, **kwargs).table
    assert table.equals(response_geometry(responses, labels, num_subsets=10, **kwargs).table)
    assert not table.equals(response_geometry(responses, labels, num_subsets=9, **kwargs).table)


def test_same_seed_same_table_and_regions_in_the_order_asked_for():
    responses, _ = simulated((1.2, 0.8, 0.4), (1.0, 1.0, 1.0))
    kwargs = {"num_subsets": 2, "num_samples": 40, "regions": ["TO", "V1"]}
    one, two = (response_geometry(responses, LABELS, **kwargs) for _ in range(2))
    assert one.table.equals(two.table) and one.table["region"].tolist() == ["TO", "V1"]


def test_stimuli_without_label_and_lonely_ones_are_left_out():
    responses, _ = simulated((0.8,), (1.0,))
    some = {s: c for s, c in LABELS.items() if c < 5} | {90: 77}
    table = response_geometry(responses, some, num_subsets=1).table
    assert table["num_classes"][0] == 5 and table["num_stimuli"][0] == 40


@pytest.mark.slow
def test_intervals_cover_and_contrasts_of_equal_regions_hold_zero():
    """Everything drawn anew: categories, stimuli, trials and voxels. Radii resampled with fixed centres covered half."""
    categories, members, voxels = 10, 5, 24
    labels = {s: s // members for s in range(categories * members)}
    low, high, estimate, contrasts = [], [], [], []
    for seed in range(16):
        rng = np.random.default_rng([5, seed])
        latent = np.repeat(rng.standard_normal((categories, 10)), members, 0)
        latent = latent + 0.8 * rng.standard_normal(latent.shape)
        signal = latent @ rng.standard_normal((10, 2 * voxels)) / 3
        trials = np.repeat(signal, 3, 0) + rng.standard_normal((3 * len(signal), 2 * voxels))
        responses = Responses.from_arrays(
            trials, stimulus=np.repeat(np.arange(len(signal)), 3), roi=["V1"] * voxels + ["TO"] * voxels
        )
        found = response_geometry(responses, labels, match_reliability=False, num_subsets=1, num_samples=30)
        for ends, name in ((low, "_low"), (high, "_high"), (estimate, "")):
            ends.append(found.table[[f"{m}{name}" for m in ("radius", "rms_radius")]].to_numpy())
        contrasts.append((found.contrasts["low"] <= 0) & (found.contrasts["high"] >= 0))
    truth = np.mean(estimate, axis=(0, 1))
    covered = ((np.array(low) <= truth) & (truth <= np.array(high))).mean((0, 1))  # of 32 regions
    assert (covered > 0.85).all(), covered
    assert (np.mean(contrasts, axis=0) > 0.8).all()
    # Not too wide either: half-widths of 2.26 standard errors, against the spread over draws.
    half = np.sqrt(np.square(np.array(high) - np.array(low)).mean((0, 1))) / 2 / 2.26
    assert (half / np.std(estimate, axis=(0, 1)) < 1.6).all()


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"regions": ["V2"]}, "unknown region 'V2'"),
        ({"labels": {0: 0, 1: 0}}, "got 1"),
        ({"labels": {}}, "got 0"),
        ({"num_voxels": 1}, "num_voxels"),
        ({"num_subsets": 0}, "num_subsets"),
        ({"confidence": 1.0}, "confidence"),
        ({"voxels": "some"}, "unknown voxels 'some': it must be 'random' or 'fixed'"),
        ({"voxels": "random", "num_voxels": 3}, "needs four voxels per region"),
    ],
)
def test_bad_input(kwargs, message):
    responses, _ = simulated((0.8,), (1.0,))
    with pytest.raises(ValueError, match=message):
        response_geometry(responses, kwargs.pop("labels", LABELS), **kwargs)


def test_nan_and_reliability_out_of_reach():
    responses, _ = simulated((0.8, 0.8), (0.05, 8.0))
    with pytest.raises(ValueError, match="share no two voxels"):
        response_geometry(responses, LABELS)
    values = responses.values.copy()
    values[0, 3] = np.nan
    broken = Responses.from_arrays(values, stimulus=responses.stimulus, roi=responses.roi.tolist())
    with pytest.raises(ValueError, match="1 voxels hold NaN"):
        response_geometry(broken, LABELS)
