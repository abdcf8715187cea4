"""The parts of a difference, estimated from outcomes with known parts."""

import numpy as np
import pandas as pd
import pytest

from neuroalign.evaluation import Spread, spread_of


def outcomes(values, replications=None, subjects=None, stimuli=None):
    """A table whose mean over many budgets is (row, image) values from 0 to 1, as close as the budgets allow."""
    budgets = 50
    rows = len(values)
    right = np.arange(budgets) < np.round(values * budgets)[..., None]
    index = np.indices(right.shape)
    return pd.DataFrame({
        "replication": np.asarray(replications if replications is not None else range(rows))[index[0].ravel()],
        "subject": np.asarray(subjects if subjects is not None else [""] * rows)[index[0].ravel()],
        "stimulus": (index[1] if stimuli is None else stimuli[index[0], index[1]]).ravel(),
        "eps": 0.01 * (1 + index[2].ravel()),
        "correct": right.astype(int).ravel(),
    })  # fmt: skip


def against_half(differences, **keys):
    """A table with these differences to a control that is right at half of the budgets."""
    return outcomes(0.5 + differences, **keys), outcomes(np.full(differences.shape, 0.5), **keys)


def test_the_parts_of_one_subject_are_found():
    rng = np.random.default_rng(0)
    rows = 0.05 * rng.normal(size=(12, 1)) + 0.1 * rng.normal(size=(1, 400)) + 0.08 * rng.normal(size=(12, 400))
    found = spread_of(*against_half(np.clip(rows, -0.5, 0.5)))
    own = rows.mean(1).std(ddof=1)
    assert found.seed == pytest.approx((own**2 - 0.08**2 / 400) ** 0.5, rel=0.03)
    assert found.image == pytest.approx(0.1, rel=0.08) and found.rest == pytest.approx(0.08, rel=0.03)
    assert (found.num_seeds, found.num_images, found.num_subjects, found.subject, found.common) == (12, 400, 1, 0, 0)


def test_what_images_alone_explain_is_no_spread_over_seeds():
    """The seeds' means differ, and by no more than their images make them."""
    rng = np.random.default_rng(1)
    found = [spread_of(*against_half(np.clip(0.15 * rng.normal(size=(6, 100)), -0.5, 0.5))) for _ in range(10)]
    assert np.mean([each.seed for each in found]) < 0.01 < 0.15 / 100**0.5
    assert np.mean([each.rest for each in found]) == pytest.approx(0.15, rel=0.03)


def test_images_that_no_other_seed_has_are_no_common_part():
    rng = np.random.default_rng(2)
    rows = 0.05 * rng.normal(size=(8, 1)) + 0.15 * rng.normal(size=(8, 100))
    stimuli = np.arange(800).reshape(8, 100)
    found = spread_of(*against_half(np.clip(rows, -0.5, 0.5), stimuli=stimuli))
    assert found.image == 0 and found.rest == pytest.approx(0.15, rel=0.05) and found.num_images == 100
    assert found.seed == pytest.approx((rows.mean(1).var(ddof=1) - 0.15**2 / 100) ** 0.5, rel=0.05)


def test_the_parts_of_several_subjects_are_found():
    rng = np.random.default_rng(3)
    subjects, seeds = 15, 12
    parts = [(subjects, 1, 1, 0.06), (1, seeds, 1, 0.04), (subjects, seeds, 1, 0.05), (1, 1, 60, 0.05),
             (subjects, seeds, 60, 0.08)]  # fmt: skip
    rows = sum(sd * rng.normal(size=size) for *size, sd in parts).reshape(-1, 60)
    found = spread_of(*against_half(
        np.clip(rows, -0.5, 0.5), subjects=np.repeat([f"s{i}" for i in range(subjects)], seeds),
        replications=np.tile(range(seeds), subjects),
    ))  # fmt: skip
    assert found.subject == pytest.approx(0.06, rel=0.35) and found.common == pytest.approx(0.04, rel=0.45)
    assert found.seed == pytest.approx(0.05, rel=0.1) and found.rest == pytest.approx(0.08, rel=0.05)
    assert (found.num_seeds, found.num_subjects, found.num_images) == (12, 15, 60)


def test_the_interval_of_the_spread_over_seeds_holds_it_and_is_wide_for_few():
    rng = np.random.default_rng(4)
    held, ratios = [], []
    for _ in range(100):
        rows = np.clip(0.05 * rng.normal(size=(4, 1)) + 0.1 * rng.normal(size=(4, 12)), -0.5, 0.5)
        low, high = spread_of(*against_half(rows)).seed_interval()
        held.append(low <= 0.05 <= high)
        ratios.append(high / 0.05)
    assert np.mean(held) > 0.9 and np.median(ratios) > 2


def test_the_variance_is_the_sum_of_the_parts():
    spread = Spread(0.02, 0.3, 0.4, subject=0.03, common=0.01)
    expected = 0.03**2 / 5 + 0.01**2 / 4 + (0.02**2 + 0.4**2 / 500) / 20 + 0.3**2 / 500
    assert spread.variance(seeds=4, images=500, subjects=5) == pytest.approx(expected)


def test_one_replication_is_refused():
    with pytest.raises(ValueError, match="one replication shows no spread over seeds"):
        spread_of(*against_half(np.zeros((1, 20))))


def test_impossible_spreads_are_refused():
    with pytest.raises(ValueError, match="image must be a standard deviation"):
        Spread(0.01, -0.1)
    with pytest.raises(ValueError, match="seed must be a standard deviation"):
        Spread(float("nan"), 0.1)
    with pytest.raises(ValueError, match="is given, not estimated"):
        Spread(0.01, 0.1).seed_interval()
