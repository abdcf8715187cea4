"""Averages of sessions that are read one by one are those of the container's own steps."""

from dataclasses import replace

import numpy as np
import pytest

from neuroalign import Responses
from neuroalign.data.datamodules.standardized import compact, keep_voxels, standardize_parts
from neuroalign.data.responses_file import stored_sessions
from neuroalign.data.streaming import StimulusMeans, averages_of_sessions

TEST = [3, 5, 8, 21]


def recording(seed=0, missing="none", scale=1.0, sessions=4, trials=30, voxels=11):
    """Trials of 40 stimuli, each seen one to six times, also within a session."""
    rng = np.random.default_rng(seed)
    stimulus = np.concatenate([np.resize(np.arange(40), sessions * trials - 20), rng.integers(0, 40, 20)])
    stimulus = rng.permutation(stimulus)
    session = np.repeat(np.arange(1, sessions + 1), trials)
    values = (scale * (rng.standard_normal((len(stimulus), voxels)) + rng.standard_normal(voxels))).astype(np.float32)
    if missing in ("sessions", "both"):
        values[session == 2, 1] = np.nan
        values[session <= 3, 2] = np.nan
        values[:, 4] = np.nan
        values[session == 4, 5] = 7.25  # constant, so z-scores are missing
    if missing in ("trials", "both"):
        values[rng.random(values.shape) < 0.2] = np.nan
    if missing == "test":
        values[np.flatnonzero(stimulus == TEST[0])[0], 3] = np.nan
    trials = Responses.from_arrays(
        values, stimulus=stimulus, session=session, noise_ceiling=rng.random(voxels), shared=np.isin(stimulus, TEST),
        roi=[f"R{i % 3}" for i in range(voxels)], info={"unit": "percent signal change"},
    )  # fmt: skip
    return replace(trials, behaviour={"rt": rng.random(len(stimulus)).astype(np.float32)})


def streamed(trials, test=TEST, **kwargs):
    sessions = (trials.values[trials.session == number].copy() for number in np.unique(trials.session))
    labels = replace(trials, values=np.broadcast_to(np.float32(0), trials.values.shape))
    return averages_of_sessions(labels, sessions, test=test, **kwargs)


def stepwise(trials, test=TEST, zscore=True):
    return (trials.zscore_sessions(without=test) if zscore else trials).average_repeats().split(test)


def assert_same(got, expected, scale=1.0):
    np.testing.assert_allclose(got.values, expected.values, rtol=2e-7, atol=2e-7 * scale)
    for name in ("stimulus", "session", "roi", "shared", "repeats", "history", "info"):
        np.testing.assert_array_equal(getattr(got, name), getattr(expected, name), err_msg=name)
    np.testing.assert_allclose(got.noise_ceiling, expected.noise_ceiling, rtol=1e-6)
    np.testing.assert_array_equal(got.behaviour["rt"], expected.behaviour["rt"])
    assert (got.valid_repeats is None) == (expected.valid_repeats is None)
    if expected.valid_repeats is not None:
        np.testing.assert_array_equal(got.valid_repeats, expected.valid_repeats)
        assert got.valid_repeats.dtype.kind == "u"


@pytest.mark.parametrize("zscore", [True, False])
@pytest.mark.parametrize("missing", ["none", "sessions", "trials", "both", "test"])
@pytest.mark.parametrize("seed", range(3))
def test_as_the_steps_one_after_the_other(missing, zscore, seed):
    for scale in (1.0, 1e-20, 1e15):
        trials = recording(seed, missing, scale)
        for got, expected in zip(streamed(trials, zscore=zscore), stepwise(trials, zscore=zscore), strict=True):
            assert_same(got, expected, 1 if zscore else scale)


def test_one_session_and_one_trial_of_each():
    trials = Responses.from_arrays(np.random.default_rng(0).standard_normal((12, 3)), stimulus=np.arange(12)[::-1])
    for got, expected in zip(streamed(trials, [2, 4]), stepwise(trials, [2, 4]), strict=True):
        np.testing.assert_array_equal(got.values, expected.values)
        np.testing.assert_array_equal(got.stimulus, expected.stimulus)


def test_the_same_words_as_the_steps():
    trials = recording()
    for test, said in (([77], "0 of 40 rows show a test stimulus"), (range(40), "40 of 40 rows show a test stimulus")):
        with pytest.raises(ValueError, match=said):
            streamed(trials, test)
    alone = replace(trials, stimulus=np.where(trials.session == 2, 3, trials.stimulus), shared=trials.shared * False)
    with pytest.raises(ValueError, match="session 2 shows only stimuli that are left out"):
        streamed(alone, [3])
    torn = replace(trials, shared=np.arange(len(trials)) % 2 == 0)
    with pytest.raises(ValueError, match="shared in one trial and not in another"):
        streamed(torn)


def test_a_session_is_let_go_before_the_next_is_read():
    import weakref

    trials = recording()
    alive = []

    def sessions():
        for number in np.unique(trials.session):
            values = trials.values[trials.session == number].copy()
            assert not [one for one in alive if one() is not None]
            alive.append(weakref.ref(values))
            yield values
            del values

    averages_of_sessions(trials, sessions(), test=TEST)
    assert len(alive) == 4


def test_means_ignore_other_stimuli():
    means = StimulusMeans(np.array([5, 9]), 2)
    means.add(np.array([[1, 2], [3, 4], [np.nan, 6]], dtype=np.float32), np.array([7, 5, 9]))
    np.testing.assert_array_equal(means.values, [[3, 4], [np.nan, 6]])
    np.testing.assert_array_equal(means.valid_repeats(), [[1, 1], [0, 1]])


def test_sessions_from_a_file(tmp_path):
    trials = recording(missing="both")
    trials.save(tmp_path / "trials.h5")
    stored = Responses.load(tmp_path / "trials.h5", mapped=True)
    parts = list(stored_sessions(tmp_path / "trials.h5", stored.session))
    assert [len(part) for part in parts] == [30] * 4
    np.testing.assert_array_equal(np.concatenate(parts), trials.values)
    got = averages_of_sessions(stored, iter(parts), test=TEST)
    assert_same(got[0], stepwise(trials)[0])


@pytest.mark.parametrize("kept", ["some", "all", "none"])
def test_voxels_are_kept_in_place(kept):
    rest, _ = streamed(recording(missing="trials"))
    mask = {"some": np.arange(11) % 3 != 0, "all": np.ones(11, bool), "none": np.zeros(11, bool)}[kept]
    expected = rest.select(voxels=mask)
    memory = rest.values
    got = keep_voxels(rest, mask)
    assert_same(got, expected)
    assert kept == "none" or np.shares_memory(got.values, memory)
    assert got.values.flags.c_contiguous
    assert compact(np.arange(12).reshape(3, 4), np.arange(4) > 1).tolist() == [[2, 3], [6, 7], [10, 11]]


def test_standardized_in_place():
    parts = streamed(recording(missing="both"))
    expected = standardize_parts(*parts, reference=parts[0])
    memory = [part.values for part in parts]
    got = standardize_parts(*parts, reference=parts[0], in_place=True)
    for g, e, m in zip(got, expected, memory, strict=True):
        assert g.values is m
        np.testing.assert_array_equal(g.values, e.values)
        assert g.info["unit"] == "standard deviations"
