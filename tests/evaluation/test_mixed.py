"""The mixed model of accuracy along regions over subjects."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import t, ttest_1samp

from neuroalign.evaluation import mixed_trend


def networks(rng, subjects=6, replications=3, steps=3, slope=0.0, sd_slope=0.02, sd_level=0.03, sd=0.012):
    """One row per network of a made-up study, its accuracy near .3."""
    shape = (subjects, replications, steps)
    of_subject = rng.normal([0.3, slope], [sd_level, sd_slope], (subjects, 2))
    accuracy = (
        of_subject[:, :1, None] + of_subject[:, 1:, None] * np.arange(steps) + rng.normal(0, 0.01, (1, replications, 1))
    )
    subject, replication, step = (index.ravel() for index in np.indices(shape))
    return pd.DataFrame({
        "subject": subject, "replication": replication, "step": step + 1,
        "accuracy": (accuracy + rng.normal(0, sd, shape)).ravel(),
    })  # fmt: skip


def own_slopes(table):
    return table.groupby("subject")[["step", "accuracy"]].apply(lambda g: np.polyfit(g["step"], g["accuracy"], 1)[0])


def test_of_a_balanced_table_it_is_the_t_test_of_the_subjects_slopes():
    table = networks(np.random.default_rng(0), slope=0.03)
    found, slopes = mixed_trend(table), own_slopes(table)
    assert found.effect == pytest.approx(slopes.mean())
    assert found.p_value == pytest.approx(ttest_1samp(slopes, 0).pvalue, rel=1e-2)
    half = t.ppf(0.975, 5) * slopes.std(ddof=1) / 6**0.5
    assert (found.low, found.high) == pytest.approx((slopes.mean() - half, slopes.mean() + half), rel=1e-2)
    assert (found.note, found.num_subjects) == ("", 6)


def test_a_singular_fit_is_said_and_its_interval_is_not_short():
    table = networks(np.random.default_rng(0), subjects=4, sd_slope=0.0)
    slopes = own_slopes(table)
    table["accuracy"] -= (slopes - slopes.mean())[table["subject"]].to_numpy() * (table["step"] - 2)  # all slopes equal
    found = mixed_trend(table)
    assert "singular fit" in found.note and np.isfinite([found.low, found.high, found.p_value]).all()
    assert found.effect == pytest.approx(slopes.mean()) and found.high - found.low > 0.01


def test_subjects_of_other_seeds_and_a_missing_network_take_part():
    table = networks(np.random.default_rng(0), slope=0.03).drop(index=[4, 17])
    found = mixed_trend(table.assign(replication=table["replication"] + 10 * table["subject"]))
    assert found.effect == pytest.approx(0.03, abs=0.03) and found.p_value < 1


def test_refusals():
    table = networks(np.random.default_rng(0))
    with pytest.raises(ValueError, match="step is missing"):
        mixed_trend(table.drop(columns="step"))
    with pytest.raises(ValueError, match="at least two subjects; got"):
        mixed_trend(table[table["subject"] == 0])
    with pytest.raises(ValueError, match="at least two steps"):
        mixed_trend(table[table["step"] == 1])
    with pytest.raises(ValueError, match="missing in 1 rows"):
        mixed_trend(table.assign(accuracy=table["accuracy"].where(table.index > 0)))
    with pytest.raises(ValueError, match="confidence"):
        mixed_trend(table, confidence=1)


@pytest.mark.slow
@pytest.mark.parametrize("sd_slope", [0.0, 0.015])
def test_four_subjects_without_a_trend_are_rarely_said_to_have_one(sd_slope):
    rng = np.random.default_rng(0)
    studies = 200
    found = [mixed_trend(networks(rng, subjects=4, sd_slope=sd_slope)) for _ in range(studies)]
    assert np.mean([f.p_value < 0.05 for f in found]) <= 0.05 + 2 * (0.05 * 0.95 / studies) ** 0.5
    assert np.mean([f.low <= 0 <= f.high for f in found]) >= 0.93
    assert not np.isnan([f.p_value for f in found]).any()
