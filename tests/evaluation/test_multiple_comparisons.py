"""Holm's correction over comparisons: what it changes, what it leaves, and how often it is wrong."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

from neuroalign.evaluation import Comparison, compare, holm
from neuroalign.evaluation.multiple_comparisons import corrected_p
from neuroalign.evaluation.variance_components import MeanVariance, mean_variance


def of_seeds(name, difference, sd=0.02, replications=4, **options):
    """A comparison whose variance is all between seeds."""
    variance = MeanVariance(((sd**2 / replications, replications - 1),), (), (1e-9, 1000))
    half, within = variance.half_width(0.95), variance.half_width(0.90)
    return Comparison(
        "T", name, difference, difference - half, difference + half, 2, replications, 100,
        within=(difference - within, difference + within), variance=variance, **options,
    )  # fmt: skip


def test_the_smallest_p_is_multiplied_by_their_number():
    comparisons = [of_seeds("x", 0.05), of_seeds("y", 0.2), of_seeds("z", 0.001)]
    x, y, z = holm(comparisons)
    assert y.p_holm == pytest.approx(3 * y.p_value) and x.p_holm == pytest.approx(2 * x.p_value)
    assert z.p_holm == pytest.approx(z.p_value)
    assert [c.control for c in (x, y, z)] == ["x", "y", "z"] and {c.num_tests for c in (x, y, z)} == {3}
    assert (x.low, x.high) == (comparisons[0].low, comparisons[0].high)


def test_what_the_interval_shows_may_be_lost_to_the_correction():
    weak = of_seeds("x", 0.04)
    assert weak.outcome == "higher" and 0.01 < weak.p_value < 0.05
    corrected = holm([weak, *(of_seeds(str(i), 0.001) for i in range(8))])[0]
    assert corrected.outcome == "undecided" and corrected.excludes_zero and corrected.lost_to_correction
    assert str(corrected).endswith(
        f"p = {weak.p_value:.2g}, not significant after Holm's correction over 9 comparisons {corrected.p_holm:.2g}"
    )
    strong = holm([of_seeds("x", -0.4), weak])[0]
    assert strong.outcome == "lower" and "not significant" not in str(strong) and "over 2 comparisons" in str(strong)


@pytest.mark.slow
def test_alone_a_comparison_stays_what_it_was():
    for difference in (0.0, 0.03, 0.032, 0.04):
        alone = of_seeds("x", difference, equivalence=0.05)
        (corrected,) = holm([alone])
        assert corrected.p_holm == alone.p_value and corrected.outcome == alone.outcome
        assert corrected.p_equivalence_holm == alone.p_equivalence


def test_tests_of_equivalence_are_a_family_of_their_own():
    comparisons = [of_seeds("x", 0.0, equivalence=0.04), of_seeds("y", 0.0, equivalence=0.1), of_seeds("z", 0.0)]
    x, y, z = holm(comparisons)
    assert (x.num_tests, x.num_equivalence_tests, z.num_equivalence_tests) == (3, 2, None)
    assert y.p_equivalence_holm == pytest.approx(2 * y.p_equivalence) and z.p_equivalence_holm is None
    weak = of_seeds("x", 0.0, equivalence=0.026)
    assert weak.outcome == "equivalent"
    assert holm([weak, of_seeds("y", 0.0, equivalence=0.026)])[0].outcome == "undecided"


def test_what_decides_nothing_is_no_test():
    one = Comparison("T", "one", 0.3, 0.2, 0.4, 1, 1, 100, variance=of_seeds("x", 0.1).variance)
    left, corrected = holm([one, of_seeds("x", 0.05)])
    assert left == one and left.p_holm is None and corrected.num_tests == 1
    assert holm([]) == []
    assert np.isnan(corrected_p([np.nan])).all()


def test_comparisons_made_by_hand_are_refused():
    with pytest.raises(ValueError, match=r"T - x has no p value: make it with neuroalign\.evaluation\.compare"):
        holm([replace(of_seeds("x", 0.1), variance=None)])


def test_comparisons_of_one_table():
    rng = np.random.default_rng(0)
    table = pd.concat(
        pd.DataFrame(
            {"condition": c, "replication": r, "eps": 0.1, "stimulus": range(100), "correct": rng.random(100) < p}
        )
        for c, p in {"a": 0.9, "b": 0.4, "c": 0.4}.items()
        for r in range(3)
    )
    found = holm([compare(table, "a", "b"), compare(table, "a", "c"), compare(table, "b", "c")])
    assert [c.outcome for c in found] == ["higher", "higher", "undecided"]
    assert all(c.p_holm >= c.p_value for c in found)


@pytest.mark.slow
def test_the_chance_of_any_false_comparison_among_nine_is_5_percent():
    """One treatment and nine equal controls over six seeds: the treatment's luck is in all nine differences."""
    rng = np.random.default_rng(0)
    seeds, images, studies = 6, 300, 1000
    any_false, uncorrected = [], []
    for _ in range(studies):
        rate = 0.25 + rng.normal(0, 0.012, (10, seeds, 1))
        ease = rng.normal(size=images)
        right = 0.5**0.5 * ease + 0.5**0.5 * rng.normal(size=(10, seeds, images)) < norm.ppf(rate)
        differences = [right[0].astype(float) - control for control in right[1:]]
        p = np.array([mean_variance(d).p_value(d.mean()) for d in differences])
        uncorrected.append((p < 0.05).any())
        any_false.append(
            9 * p.min() < 0.05
        )  # Holm's method rejects any where its first step does; statsmodels takes 0.1 s
    assert (corrected_p(p) < 0.05).any() == any_false[-1]
    assert np.mean(any_false) <= 0.05 + 2 * (0.05 * 0.95 / studies) ** 0.5
    assert np.mean(uncorrected) > 0.065  # so there is something to correct
