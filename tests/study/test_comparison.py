"""Paired differences and the sentences made of them."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import bootstrap

from neuroalign.study import Comparison, compare, mean_over_eps, verdict
from neuroalign.study.report import accuracy_table, summary_table


def outcomes(rates, n=200, replications=2, seed=0):
    """Per-image outcomes of conditions with given rates of being right."""
    rng = np.random.default_rng(seed)
    parts = [
        pd.DataFrame({
            "condition": name, "replication": r, "perturbation": "pgd", "eps": eps, "stimulus": np.arange(n),
            "correct": rng.random(n) < rate,
        })
        for r in range(replications) for name, rate in rates.items() for eps in (0.0, 0.1, 0.2)
    ]  # fmt: skip
    return pd.concat(parts, ignore_index=True)


def test_a_difference_is_found_and_signed():
    table = outcomes({"a": 0.8, "b": 0.5})
    found = compare(table, "a", "b")
    attacked = table[table["eps"] > 0].groupby("condition")["correct"].mean()
    assert found.difference == pytest.approx(attacked["a"] - attacked["b"])
    assert found.low < found.difference < found.high
    assert (found.num_positive, found.num_replications, found.num_images) == (2, 2, 200)
    assert found.outcome == "higher"
    assert compare(table, "b", "a").outcome == "lower"
    assert compare(table, "a", "b") == found  # seeded


def test_the_sides_are_named_in_the_order_given():
    found = compare(outcomes({"a": 0.8, "b": 0.5}), "a", "b")
    assert (found.treatment, found.control) == ("a", "b")
    assert str(found).startswith("a - b: +0.")


def test_the_interval_is_the_bootstrap_of_the_images_mean_differences():
    table = outcomes({"a": 0.8, "b": 0.5}, n=50, replications=3)
    attacked = table[table["eps"] > 0].sort_values(["condition", "stimulus"], kind="stable")
    a, b = attacked["correct"].to_numpy(dtype=float).reshape(2, 50, 3 * 2).mean(2)
    expected = bootstrap(
        (a - b,), np.mean, n_resamples=2000, confidence_level=0.95, method="percentile", rng=np.random.default_rng(7)
    ).confidence_interval
    found = compare(table, "a", "b", seed=7)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_the_interval_is_of_all_replications():
    table = outcomes({"a": 0.5, "b": 0.5})
    second = table["replication"] == 1
    table["correct"] = second & (table["condition"] == "a") & (table["stimulus"] % 2 == 0)
    found = compare(table, "a", "b")
    assert found.difference == 0.25  # 0 in the first replication, 0.5 in the second
    assert found.low <= 0.25 <= found.high


def test_no_difference_is_undecided_about_as_often_as_it_should():
    decided = [compare(outcomes({"a": 0.6, "b": 0.6}, seed=s), "a", "b").outcome != "undecided" for s in range(40)]
    assert np.mean(decided) < 0.15


def test_the_interval_covers():
    covered = []
    for s in range(100):
        found = compare(outcomes({"a": 0.7, "b": 0.5}, n=100, replications=1, seed=s), "a", "b")
        covered.append(found.low <= 0.2 <= found.high)
    assert 0.92 <= np.mean(covered) <= 0.98


def test_clean_accuracy_does_not_enter():
    table = outcomes({"a": 0.6, "b": 0.6})
    table.loc[(table["condition"] == "a") & (table["eps"] == 0), "correct"] = True
    assert abs(compare(table, "a", "b").difference) < 0.08
    assert set(mean_over_eps(table).columns) == {"condition", "replication", "accuracy"}


def test_conditions_keep_their_order():
    table = mean_over_eps(outcomes({"b": 0.6, "c": 0.6, "a": 0.6}, replications=1))
    assert table["condition"].tolist() == ["b", "c", "a"]


def test_one_replication_decides_nothing():
    assert compare(outcomes({"a": 0.9, "b": 0.1}, replications=1), "a", "b").outcome == "undecided"


def test_identical_conditions():
    table = outcomes({"a": 0.5, "b": 0.5})
    table.loc[table["condition"] == "b", "correct"] = table.loc[table["condition"] == "a", "correct"].to_numpy()
    same = compare(table, "a", "b")
    assert (same.difference, same.low, same.high, same.outcome) == (0, 0, 0, "undecided")


def test_refusals():
    table = outcomes({"a": 0.5, "b": 0.5})
    with pytest.raises(ValueError, match="no condition 'c'; there are"):
        compare(table, "a", "c")
    with pytest.raises(ValueError, match="tested on different images"):
        compare(table[~((table["condition"] == "b") & (table["stimulus"] == 3))], "a", "b")


def case(control, difference, outcome):
    low, high = {"higher": (0.01, 0.2), "lower": (-0.2, -0.01), "undecided": (-0.1, 0.1)}[outcome]
    return Comparison("T", control, difference, low, high, 2 if outcome == "higher" else 0, 2, 100)


def test_an_interval_that_touches_zero_decides_nothing():
    assert Comparison("T", "x", 0.1, 0.0, 0.2, 2, 2, 100).outcome == "undecided"
    assert Comparison("T", "x", -0.1, -0.2, 0.0, 0, 2, 100).outcome == "undecided"


@pytest.mark.parametrize(
    ("cases", "sentence"),
    [
        ([case("x", 0.1, "higher")], "T raised accuracy under attack above x (+0.100)."),
        ([case("x", -0.1, "lower")], "T lowered accuracy under attack below x (-0.100)."),
        ([case("x", 0.0, "undecided")], "T shows no clear difference from x (+0.000)."),
        (
            [
                case("x", 0.1, "higher"),
                case("y", 0.2, "higher"),
                case("z", -0.1, "lower"),
                case("w", 0.01, "undecided"),
            ],
            "T raised accuracy under attack above x (+0.100) and y (+0.200); it lowered it below z (-0.100); it shows no "
            "clear difference from w (+0.010).",
        ),
    ],
)
def test_the_verdict_follows_the_numbers(cases, sentence):
    assert verdict(cases, "T") == sentence


def test_tables():
    table = outcomes({"a": 0.8, "b": 0.5})
    accuracy = accuracy_table(table)
    assert len(accuracy) == 2 * 2 * 3
    assert (accuracy["num_images"] == 200).all()
    summary = summary_table(accuracy)
    assert summary.columns.tolist() == ["clean", "ε 0.1", "ε 0.2", "mean"]
    per_replication = table[(table["condition"] == "a") & (table["eps"] > 0)].groupby("replication")["correct"].mean()
    assert summary.loc["a", "mean"] == f"{per_replication.mean():.3f} ± {per_replication.std():.3f}"
