"""Paired comparison of two networks: closed forms, coverage of the interval, refusals."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom, bootstrap

from neuroalign.study import compare_paired


def table(correct, eps=(0.1, 0.2), name="pgd"):
    n = len(correct)
    parts = [
        pd.DataFrame({"perturbation": name, "eps": e, "stimulus": np.arange(n), "correct": correct[:, k]})
        for k, e in enumerate(eps)
    ]
    return pd.concat(parts)


def test_exact_mcnemar_by_hand():
    a = np.array([[1, 1]] * 9 + [[0, 0]] * 3)
    b = np.array([[1, 0]] * 5 + [[0, 0]] * 4 + [[1, 1]] * 1 + [[0, 0]] * 2)
    found = compare_paired(table(a), table(b)).table
    assert found[["only_first", "only_second"]].values.tolist() == [[4, 1], [9, 1]]
    assert found["p_value"][0] == pytest.approx(2 * binom.cdf(1, 5, 0.5))
    assert found["p_value"][1] == pytest.approx(2 * binom.cdf(1, 10, 0.5))
    assert found["difference"].tolist() == pytest.approx([3 / 12, 8 / 12])


def test_the_same_network_is_no_different():
    rng = np.random.default_rng(0)
    a = rng.random((50, 2)) < 0.5
    found = compare_paired(table(a), table(a).sample(frac=1, random_state=0))
    assert (found.table[["difference", "low", "high"]] == 0).all(axis=None)
    assert (found.table["p_value"] == 1).all()
    assert str(found) == "+0.000 [+0.000, +0.000]"


def test_each_budgets_interval_and_that_over_all_agree_with_scipys():
    rng = np.random.default_rng(0)
    a, b = rng.random((200, 2)) < [0.8, 0.6], rng.random((200, 2)) < [0.5, 0.4]
    found = compare_paired(table(a), table(b), num_resamples=20_000)
    differences = a.astype(float) - b
    for values, low, high in (
        (differences[:, 0], *found.table.loc[0, ["low", "high"]]),
        (differences[:, 1], *found.table.loc[1, ["low", "high"]]),
        (differences.mean(1), found.low, found.high),
    ):
        theirs = bootstrap(
            (values,),
            np.mean,
            n_resamples=20_000,
            confidence_level=0.95,
            method="percentile",
            rng=np.random.default_rng(1),
        ).confidence_interval
        assert (low, high) == pytest.approx((theirs.low, theirs.high), abs=1 / 200 + 1e-9)  # by one image at most


def test_of_one_budget_the_tables_interval_is_that_over_all():
    rng = np.random.default_rng(0)
    found = compare_paired(table(rng.random((60, 1)) < 0.8, [0.1]), table(rng.random((60, 1)) < 0.5, [0.1]))
    assert found.table[["low", "high"]].values.tolist() == [[found.low, found.high]]
    assert found.low < found.mean_difference < found.high


def test_the_interval_covers():
    """Of 200 pairs of networks with a known difference, about 95 % of the intervals hold it."""
    rng = np.random.default_rng(0)
    covered = []
    for seed in range(200):
        a, b = rng.random((80, 1)) < 0.6, rng.random((80, 1)) < 0.4
        found = compare_paired(table(a, [0.1]), table(b, [0.1]), num_resamples=400, seed=seed)
        covered.append(found.low <= 0.2 <= found.high)
    assert 0.90 <= np.mean(covered) <= 0.985


def test_strata_take_the_differences_between_classes_out():
    classes = pd.Series(np.repeat([0, 1], 50))
    a = np.repeat([[1], [0]], 50, axis=0)  # one network is right on class 0 alone
    b = np.zeros((100, 1))
    plain = compare_paired(table(a, [0.1]), table(b, [0.1]))
    within = compare_paired(table(a, [0.1]), table(b, [0.1]), labels=classes)
    assert within.low == within.high == within.mean_difference == 0.5
    assert plain.low < 0.45 < 0.55 < plain.high


def test_perturbations_without_a_budget_take_part():
    a = table(np.ones((5, 1)), [np.nan], "fog-3")
    b = table(np.zeros((5, 1)), [np.nan], "fog-3")
    found = compare_paired(a, b).table
    assert found["eps"].isna().all()
    assert found["difference"].tolist() == [1]


def test_refusals():
    a = table(np.ones((5, 2)))
    with pytest.raises(ValueError, match="different images"):
        compare_paired(a, table(np.ones((4, 2))))
    with pytest.raises(ValueError, match="different perturbations or budgets"):
        compare_paired(a, table(np.ones((5, 2)), eps=(0.1, 0.3)))
    with pytest.raises(ValueError, match="don't shuffle the loader"):
        compare_paired(a.assign(label=a["stimulus"]), a.assign(label=4 - a["stimulus"]))
    with pytest.raises(ValueError, match="correct is missing"):
        compare_paired(a.drop(columns="correct"), a)
    with pytest.raises(ValueError, match="occurs twice"):
        compare_paired(pd.concat([a, a]), a)
    with pytest.raises(ValueError, match="not every image"):
        compare_paired(a.iloc[:-1], a)
    with pytest.raises(ValueError, match="no class for stimulus 3"):
        compare_paired(a, a, labels=pd.Series([0, 1, 1]))
