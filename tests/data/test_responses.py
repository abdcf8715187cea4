"""The container and what is done to responses, in order."""

import dataclasses
import re

import h5py
import numpy as np
import pytest

from neuroalign import Responses
from tests import references as ref


def recording(seed=0, sessions=3, stimuli=40, v=6, repeats=3):
    rng = np.random.default_rng(seed)
    stimulus = rng.permutation(np.repeat(np.arange(stimuli) * 7, repeats))
    session = np.sort(np.resize(np.arange(1, sessions + 1), len(stimulus)))
    signal = rng.standard_normal((stimuli, v))[stimulus // 7]
    gain, drift = rng.uniform(0.5, 2, (sessions + 1, v)), rng.normal(0, 3, (sessions + 1, v))
    values = gain[session] * (signal + rng.standard_normal((len(stimulus), v))) + drift[session]
    return Responses.from_arrays(
        values, stimulus=stimulus, session=session, shared=stimulus < 70, roi=["V1"] * 2 + ["V4"] * (v - 2),
        voxel_index=np.arange(3 * v).reshape(v, 3),
    )  # fmt: skip


def test_z_scoring_sessions_against_the_reference():
    r = recording()
    r.values[3, 2] = np.nan
    z = r.zscore_sessions()
    np.testing.assert_allclose(z.values, ref.zscore_sessions(r.values.astype(float), r.session), atol=1e-5)
    for s in (1, 2, 3):
        np.testing.assert_allclose(np.nanmean(z.values[z.session == s], 0), 0, atol=1e-5)
        np.testing.assert_allclose(np.nanstd(z.values[z.session == s], 0), 1, atol=1e-5)


def test_a_voxel_constant_in_a_session_is_nan_there_only():
    r = recording()
    r.values[r.session == 2, 4] = 1000.1
    z = r.zscore_sessions().values
    assert np.isnan(z[r.session == 2, 4]).all()
    assert np.isfinite(z[r.session != 2]).all()


def test_averaging_against_the_reference():
    r = recording()
    r.values[5, 1] = np.nan
    averaged = r.average_repeats()
    stimuli, means = ref.average_repeats(r.values.astype(float), r.stimulus)
    np.testing.assert_array_equal(averaged.stimulus, stimuli)
    np.testing.assert_allclose(averaged.values, means, rtol=1e-5)
    assert (averaged.repeats == 3).all()
    assert set(averaged.session) <= {-1, 1, 2, 3}
    with pytest.raises(ValueError, match="before average_repeats"):
        averaged.zscore_sessions()


def test_the_ceiling_follows_the_number_of_repeats():
    r = Responses.from_arrays(np.random.randn(9, 1), stimulus=np.repeat([0, 1, 2], 3), noise_ceiling=[0.25])
    ncsnr2 = 0.25 / 0.75  # a single trial's: NC = ncsnr^2 / (ncsnr^2 + 1)
    np.testing.assert_allclose(r.average_repeats().noise_ceiling, ncsnr2 / (ncsnr2 + 1 / 3), rtol=1e-6)
    mixed = r.rows(np.array([0, 1, 2, 3, 4, 6])).average_repeats()  # 3, 2 and 1 trials
    np.testing.assert_allclose(mixed.noise_ceiling, ncsnr2 / (ncsnr2 + (1 / 3 + 1 / 2 + 1) / 3), rtol=1e-6)


def test_the_estimated_ceiling_is_the_known_one():
    rng = np.random.default_rng(0)
    signal = rng.standard_normal((2000, 3))
    trials = np.repeat(signal, 3, 0) + np.array([0.5, 1.0, 2.0]) * rng.standard_normal((6000, 3))
    r = Responses.from_arrays(trials, stimulus=np.repeat(np.arange(2000), 3)).estimate_noise_ceiling()
    np.testing.assert_allclose(r.noise_ceiling, [0.8, 0.5, 0.2], atol=0.03)
    np.testing.assert_allclose(r.average_repeats().noise_ceiling, [12 / 13, 3 / 4, 3 / 7], atol=0.03)
    with pytest.raises(ValueError, match="no stimulus was repeated"):
        r.average_repeats().estimate_noise_ceiling()


def test_split_and_standardise_with_training_statistics_only():
    train, val = recording().average_repeats().split_shared()
    assert set(train.stimulus).isdisjoint(val.stimulus)
    assert (val.stimulus < 70).all()
    before = train.values.mean(0), train.values.std(0)
    z = val.standardize(train)
    np.testing.assert_allclose(z.values, (val.values - before[0]) / before[1], rtol=1e-4, atol=1e-5)
    wild = val.rows(np.arange(len(val)))
    wild.values[:] *= 100  # whatever validation holds doesn't reach the training set
    np.testing.assert_array_equal(train.standardize(train).values, train.standardize(train).values)
    np.testing.assert_allclose(train.standardize(train).values.std(0), 1, atol=1e-5)
    with pytest.raises(ValueError, match="other voxels"):
        val.standardize(train.select(roi="V4"))


def test_split_needs_both_kinds():
    r = recording().average_repeats()
    with pytest.raises(ValueError, match="a split needs some of each"):
        r.rows(r.shared).split_shared()


def test_pca_holds_the_variance_and_is_fitted_on_the_reference():
    train, val = recording(v=10).average_repeats().split_shared()
    reduced = train.pca(0.8)
    kept = reduced.values.var(0).sum() / train.values.var(0).sum()
    assert 0.8 <= kept < 1
    assert train.pca(kept * 0.99).num_voxels <= reduced.num_voxels
    covariance = np.cov(reduced.values.T)
    np.testing.assert_allclose(covariance - np.diag(np.diag(covariance)), 0, atol=1e-4)
    projected = val.pca(0.8, reference=train)
    assert projected.num_voxels == reduced.num_voxels
    assert set(projected.roi) == {"pca:V1+V4"}
    centered = train.values - train.values.mean(0)
    basis = np.linalg.lstsq(centered, reduced.values, rcond=None)[0]
    np.testing.assert_allclose(projected.values, (val.values - train.values.mean(0)) @ basis, atol=1e-3)
    train.values[0, 0] = np.nan
    with pytest.raises(ValueError, match="values are missing"):
        train.pca()
    with pytest.raises(ValueError, match=r"variance must be in \(0, 1\]"):
        val.pca(95)


def test_selecting():
    r = recording()
    assert r.select(roi="V4").num_voxels == 4
    assert r.select(roi=["V1", "V4"]).num_voxels == 6
    np.testing.assert_array_equal(r.select(roi="V4").voxel_index, r.voxel_index[2:])
    with pytest.raises(ValueError, match="unknown roi 'V3'; did you mean"):
        r.select(roi="V3")
    with pytest.raises(ValueError, match="either roi or voxels"):
        r.select()
    r.values[:, 0], r.values[:, 3] = np.nan, 5.0
    assert r.drop_invalid().num_voxels == 4


def test_shuffling_moves_all_repeats_of_a_stimulus_together():
    r = recording()
    s = r.shuffled(seed=1)
    assert sorted(s.stimulus) == sorted(r.stimulus)
    own = {k: np.sort(r.values[r.stimulus == k, 0]) for k in np.unique(r.stimulus)}
    for k in own:
        now = np.sort(s.values[s.stimulus == k, 0])
        sources = [j for j, v in own.items() if np.array_equal(v, now)]
        assert len(sources) == 1, "repeats of one stimulus were torn apart"
        assert sources[0] != k, "a stimulus kept its own responses"
        assert (sources[0] < 70) == (k < 70), "shared and other images were mixed"
    np.testing.assert_array_equal(r.shuffled(1).values, s.values)
    assert (r.shuffled(2).values != s.values).any()
    with pytest.raises(ValueError, match="a single stimulus"):
        r.rows(r.stimulus == 0).shuffled()


def test_save_and_load(tmp_path):
    r = recording().average_repeats()
    r.save(tmp_path / "r.h5")
    again = Responses.load(tmp_path / "r.h5")
    for name in ("values", "stimulus", "session", "repeats", "roi", "shared", "voxel_index"):
        np.testing.assert_array_equal(getattr(again, name), getattr(r, name))
    assert again.noise_ceiling is None
    assert again.roi.dtype.kind == "U"
    assert [p.name for p in tmp_path.iterdir()] == ["r.h5"]


def test_files_that_are_none(tmp_path):
    with pytest.raises(FileNotFoundError, match="no responses at"):
        Responses.load(tmp_path / "absent.h5")
    with h5py.File(tmp_path / "foreign.h5", "w") as f:
        f["values"] = np.zeros(3)
    with pytest.raises(ValueError, match=r"not one of Responses.save"):
        Responses.load(tmp_path / "foreign.h5")
    recording().save(tmp_path / "r.h5")
    whole = (tmp_path / "r.h5").read_bytes()
    (tmp_path / "half.h5").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="is damaged: its bytes are not those that were written"):
        Responses.load(tmp_path / "half.h5")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stimulus": np.arange(4)}, r"stimulus must be \(5,\)"),
        ({"roi": ["V1"]}, r"roi must be \(3,\)"),
        ({"noise_ceiling": [0.1]}, "noise_ceiling"),
        ({"voxel_index": np.zeros((3, 2))}, "voxel_index"),
    ],
)
def test_fields_that_do_not_fit(changes, message):
    with pytest.raises(ValueError, match=message):
        Responses.from_arrays(np.zeros((5, 3)), **changes)


@pytest.mark.parametrize("shape", [(5,), (5, 3, 1)])
def test_values_must_be_a_matrix(shape):
    with pytest.raises(ValueError, match=rf"values must be \(trial, voxel\); got shape {re.escape(str(shape))}"):
        Responses.from_arrays(np.zeros(shape))


class TestWhatIsKnownBesides:
    """Behaviour, maps, places on a surface, provenance and history travel with rows and voxels."""

    @pytest.fixture
    def full(self):
        rng = np.random.default_rng(0)
        r = Responses.from_arrays(
            rng.standard_normal((12, 3)),
            stimulus=np.repeat(np.arange(4), 3),
            session=np.tile([1, 2, 3], 4),
            roi=["V1", "V1", "V4"],
            info={"dataset": "test", "shape": [5, 4]},
        )
        time = np.arange(12, dtype=np.float32)
        time[4] = np.nan
        return dataclasses.replace(
            r,
            behaviour={"reaction_time": time},
            maps={"R2": np.array([1, 2, 3], np.float32)},
            vertex_index=np.array([[0, 1], [1, 2], [1, 0]]),
        )

    def test_rows_and_voxels(self, full):
        part = full.rows(np.array([3, 5])).select(roi="V4")
        assert part.behaviour["reaction_time"].tolist() == [3, 5]
        assert part.maps["R2"].tolist() == [3] and part.vertex_index.tolist() == [[1, 0]]

    def test_averages(self, full):
        averaged = full.average_repeats()
        np.testing.assert_allclose(averaged.behaviour["reaction_time"], [1, 4, 7, 10])
        assert averaged.history == ("average_repeats",)
        with pytest.raises(ValueError, match="averaged over repeats already"):
            averaged.average_repeats()
        zscored = full.zscore_sessions()
        with pytest.raises(ValueError, match="z-scored within sessions already"):
            zscored.zscore_sessions()

    def test_saved_and_mapped(self, full, tmp_path):
        full.zscore_sessions().save(tmp_path / "x.h5")
        for again in (Responses.load(tmp_path / "x.h5"), Responses.load(tmp_path / "x.h5", mapped=True)):
            np.testing.assert_array_equal(again.values, full.zscore_sessions().values)
            np.testing.assert_array_equal(again.behaviour["reaction_time"], full.behaviour["reaction_time"])
            np.testing.assert_array_equal(again.maps["R2"], full.maps["R2"])
            np.testing.assert_array_equal(again.vertex_index, full.vertex_index)
            assert again.info == full.info and again.history == ("zscore_sessions",)

    def test_lengths_are_checked(self, full):
        with pytest.raises(ValueError, match=r"values have 12 rows, 'reaction_time' \(3,\)"):
            dataclasses.replace(full, behaviour={"reaction_time": np.zeros(3)})
        with pytest.raises(ValueError, match=r"values have 3 voxels, 'R2' \(2,\)"):
            dataclasses.replace(full, maps={"R2": np.zeros(2)})
        with pytest.raises(ValueError, match=r"values have 3 voxels, vertex_index \(3, 3\)"):
            dataclasses.replace(full, vertex_index=np.zeros((3, 3)))


def test_z_scores_without_test_images():
    rng = np.random.default_rng(0)
    values = rng.standard_normal((40, 3))
    r = Responses.from_arrays(values, stimulus=np.arange(40) % 20, session=np.repeat([1, 2], 20))
    test = [3, 7]
    z = r.zscore_sessions(without=test)
    for session in (1, 2):
        rows = r.session == session
        kept = rows & ~np.isin(r.stimulus, test)
        expected = (values[rows] - values[kept].mean(0)) / values[kept].std(0)
        np.testing.assert_allclose(z.values[rows], expected, rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="session 1 shows only stimuli that are left out"):
        r.zscore_sessions(without=np.arange(20))


def test_statistics_in_blocks_of_columns(monkeypatch):
    """However many columns are worked on at once, the numbers are the same."""
    from neuroalign.data import standardization

    values = np.random.default_rng(0).standard_normal((50, 33)).astype(np.float32)
    values[3, 4] = np.nan
    order, starts = np.arange(50), np.arange(0, 50, 5)

    def all_of_them():
        return (*standardization.moments(values), standardization.group_means(values, order, starts))

    whole = all_of_them()
    monkeypatch.setattr(standardization, "_BLOCK", 200)
    for a, b in zip(whole, all_of_them(), strict=True):
        np.testing.assert_array_equal(a, b)
    z = standardization.zscore(values, whole[0], whole[1])
    np.testing.assert_allclose(z, (values - np.nanmean(values, 0)) / np.nanstd(values, 0), rtol=1e-4, atol=1e-5)


def test_the_ceiling_of_some_averages_is_that_of_their_repeats():
    """Half of the stimuli have one trial, half have three: either half has its own ceiling, the whole a mean of 1/n."""
    stimulus = np.r_[np.arange(10), np.repeat(np.arange(10, 20), 3)]
    r = Responses.from_arrays(np.random.default_rng(0).standard_normal((40, 1)), stimulus=stimulus, noise_ceiling=[0.5])
    averaged = r.average_repeats()
    # signal and single-trial noise have one variance: NC = 1 / (1 + mean of 1/n)
    assert averaged.noise_ceiling[0] == pytest.approx(1 / (1 + (1 + 1 / 3) / 2), rel=1e-5)
    once, thrice = averaged.rows(averaged.stimulus < 10), averaged.rows(averaged.stimulus >= 10)
    assert once.noise_ceiling[0] == pytest.approx(1 / 2, rel=1e-5)
    assert thrice.noise_ceiling[0] == pytest.approx(1 / (1 + 1 / 3), rel=1e-5)


def test_the_unit_follows():
    r = Responses.from_arrays(np.random.randn(6, 2), info={"unit": "percent signal change"})
    assert r.zscore_sessions().info["unit"] == "standard deviations" == r.standardize(r).info["unit"]
    assert r.info["unit"] == "percent signal change"
