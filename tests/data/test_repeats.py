"""Ceilings and averages of trials that hold missing values: valid trials are counted, for each voxel."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from neuroalign import Responses
from neuroalign.data import standardization
from neuroalign.data.repeats import mean_inverse, valid_counts
from neuroalign.functional import noise_ceiling


def trials(truth, missing=0.3, num_stimuli=300, num_voxels=2000, repeats=3, seed=0):
    """Single-trial ceilings of ``truth``, a share of the values missing: (trial, voxel) and the grid with repeats."""
    rng = np.random.default_rng(seed)
    signal = rng.standard_normal((num_stimuli, 1, num_voxels), dtype=np.float32)
    noise = rng.standard_normal((num_stimuli, repeats, num_voxels), dtype=np.float32)
    grid = signal + np.float32(1 / truth - 1) ** 0.5 * noise
    grid[rng.random(grid.shape, dtype=np.float32) < missing] = np.nan
    return grid.reshape(-1, num_voxels), grid, np.repeat(np.arange(num_stimuli), repeats)


def explained(signal_ceiling, grid):
    """The ceiling of averages, from that of a trial and counts by loops."""
    out = []
    for v in range(grid.shape[2]):
        counts = [c for c in (~np.isnan(grid[:, :, v])).sum(1) if c]
        out.append(signal_ceiling / (signal_ceiling + (1 - signal_ceiling) * np.mean([1 / c for c in counts])))
    return np.array(out)


@pytest.mark.parametrize(("single", "truth"), [(0.1, 0.171), (0.3, 0.443)])
def test_the_ceiling_of_averages_counts_valid_trials(single, truth):
    """30 % missing. Rows that are counted whatever they hold give .237 and .556."""
    values, grid, stimulus = trials(single)
    given = Responses.from_arrays(values, stimulus=stimulus, noise_ceiling=np.full(2000, single)).average_repeats()
    np.testing.assert_allclose(given.noise_ceiling[:20], explained(single, grid[:, :, :20]), rtol=1e-5)
    averaged = Responses.from_arrays(values, stimulus=stimulus).estimate_noise_ceiling(clamp=False).average_repeats()
    assert float(averaged.noise_ceiling.mean()) == pytest.approx(truth, abs=0.01)
    expected = noise_ceiling(torch.from_numpy(grid), clamp=False)
    np.testing.assert_allclose(averaged.noise_ceiling, expected, atol=1e-5)


def test_averages_say_how_many_trials_each_value_has():
    values, grid, stimulus = trials(0.3, num_stimuli=20, num_voxels=5)
    order = np.random.default_rng(1).permutation(60)
    averaged = Responses.from_arrays(values[order], stimulus=stimulus[order]).average_repeats()
    np.testing.assert_array_equal(averaged.valid_repeats, (~np.isnan(grid)).sum(1))
    assert averaged.valid_repeats.dtype == np.uint8
    assert (averaged.repeats == 3).all()
    np.testing.assert_array_equal(averaged.valid_repeats == 0, np.isnan(averaged.values))
    whole = Responses.from_arrays(np.nan_to_num(values), stimulus=stimulus).average_repeats()
    assert whole.valid_repeats is None


def test_the_counts_follow_rows_and_voxels(tmp_path):
    values, grid, stimulus = trials(0.3, num_stimuli=20, num_voxels=5)
    r = Responses.from_arrays(
        values, stimulus=stimulus, noise_ceiling=np.full(5, 0.3), roi=["V1", "V1", "V2", "V4", "V4"]
    )
    averaged = r.average_repeats()
    some = np.arange(20) % 2 == 0
    for part in (averaged.rows(some), averaged.rows(np.flatnonzero(some)), averaged.split(np.flatnonzero(some))[1]):
        np.testing.assert_array_equal(part.valid_repeats, averaged.valid_repeats[some])
        np.testing.assert_allclose(part.noise_ceiling, explained(0.3, grid[some]), rtol=1e-5)
    assert averaged.select(roi="V2").valid_repeats.shape == (20, 1)
    averaged.save(tmp_path / "r.h5")
    again = Responses.load(tmp_path / "r.h5")
    np.testing.assert_array_equal(again.valid_repeats, averaged.valid_repeats)
    np.testing.assert_array_equal(again.rows(some).noise_ceiling, averaged.rows(some).noise_ceiling)
    complete = averaged.rows(~np.isnan(averaged.values).any(1))
    assert complete.pca(1.0).valid_repeats is None


def test_the_counts_go_through_xarray():
    pytest.importorskip("xarray")
    values, _, stimulus = trials(0.3, num_stimuli=20, num_voxels=5)
    averaged = Responses.from_arrays(values, stimulus=stimulus).average_repeats()
    assembly = averaged.to_xarray().transpose("neuroid", "presentation")
    np.testing.assert_array_equal(Responses.from_xarray(assembly).valid_repeats, averaged.valid_repeats)


def test_a_voxel_without_any_trial_has_no_ceiling():
    values, _, stimulus = trials(0.3, num_stimuli=4, num_voxels=2)
    values[:6, 0] = np.nan  # the first two stimuli
    averaged = Responses.from_arrays(values, stimulus=stimulus, noise_ceiling=[0.3, 0.3]).average_repeats()
    assert np.isnan(averaged.rows(np.array([0, 1])).noise_ceiling).tolist() == [True, False]
    np.testing.assert_array_equal(averaged.rows(np.array([], dtype=int)).noise_ceiling, averaged.noise_ceiling)


def test_counts_that_do_not_fit():
    r = Responses.from_arrays(np.zeros((3, 2)))
    with pytest.raises(ValueError, match=r"values are \(3, 2\), valid_repeats \(3, 1\)"):
        replace(r, valid_repeats=np.ones((3, 1), dtype=np.uint8))


def test_blocks_of_voxels(monkeypatch):
    values, grid, _ = trials(0.3, num_stimuli=20, num_voxels=7)
    monkeypatch.setattr(standardization, "_BLOCK", 120)
    order, starts = np.arange(60), np.arange(0, 60, 3)
    counts = valid_counts(values, np.ones(60, int), None, order, starts)
    np.testing.assert_array_equal(counts, (~np.isnan(grid)).sum(1))
    twice = valid_counts(np.zeros((20, 7)), np.full(20, 3), counts, np.arange(20), np.array([0, 10]))
    np.testing.assert_array_equal(twice, [counts[:10].sum(0), counts[10:].sum(0)])
    seen = counts > 0
    np.testing.assert_allclose(
        mean_inverse(np.full(20, 3), counts), (seen / np.maximum(counts, 1)).sum(0) / seen.sum(0)
    )


def test_trials_are_read_as_they_lie():
    """Arrays that torch doesn't take: backwards, read-only."""
    values, grid, stimulus = trials(0.3, num_stimuli=20, num_voxels=4)
    expected = noise_ceiling(torch.from_numpy(grid), num_averaged=1).numpy()
    r = Responses.from_arrays(values, stimulus=stimulus)
    still = values.copy()
    still.flags.writeable = False
    for other in (replace(r, values=values[::-1], stimulus=stimulus[::-1]), replace(r, values=still)):
        np.testing.assert_allclose(other.estimate_noise_ceiling().noise_ceiling, expected, rtol=1e-5)
