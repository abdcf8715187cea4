"""The difference between two conditions: what it is, over what its interval is, and what it refuses."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom, norm, t, ttest_rel

from neuroalign.evaluation import Comparison, PairedComparison, compare, compare_paired, mean_over_eps
from neuroalign.study.report import accuracy_by_condition, summary_table


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


def spread(rng, n, replications, sd, nested=False, base=0.3, difference=0.0):
    """Two conditions whose accuracies differ by seed, with this standard deviation of their difference.

    Images are easier or harder for both conditions, and for each of them.
    """
    parts = []
    for r in range(replications):
        if nested or r == 0:
            both, own = rng.normal(size=n), rng.normal(size=(2, n))
        for name, shift, ease in (("a", difference, own[0]), ("b", 0.0, own[1])):
            rate = base + shift + rng.normal(0, sd / 2**0.5)
            right = 0.4**0.5 * both + 0.2**0.5 * ease + 0.4**0.5 * rng.normal(size=n) < norm.ppf(rate)
            stimulus = np.arange(n) + (r * n if nested else 0)
            parts.append(
                pd.DataFrame({"condition": name, "replication": r, "eps": 0.1, "stimulus": stimulus, "correct": right})
            )
    return pd.concat(parts, ignore_index=True)


def one(correct, eps=(0.1, 0.2), name="pgd"):
    """The table of one network: (image, budget) outcomes."""
    parts = [
        pd.DataFrame({"perturbation": name, "eps": e, "stimulus": np.arange(len(correct)), "correct": correct[:, k]})
        for k, e in enumerate(eps)
    ]
    return pd.concat(parts)


def test_a_difference_is_found_and_signed():
    table = outcomes({"a": 0.8, "b": 0.4}, replications=4)
    found = compare(table, "a", "b")
    attacked = table[table["eps"] > 0].groupby("condition")["correct"].mean()
    assert found.difference == pytest.approx(attacked["a"] - attacked["b"])
    assert found.low < found.difference < found.high
    assert (found.num_positive, found.num_replications, found.num_images, found.num_subjects) == (4, 4, 200, 1)
    assert (found.unit, found.num_units, found.df, found.confidence) == ("replication", 4, 3, 0.95)
    assert found.outcome == "higher"
    assert compare(table, "b", "a").outcome == "lower"
    assert compare(table, "a", "b") == found


def test_the_sides_are_named_in_the_order_given():
    found = compare(outcomes({"a": 0.8, "b": 0.5}), "a", "b")
    assert (found.treatment, found.control) == ("a", "b")
    assert str(found).startswith("a - b: +0.")
    assert str(found).endswith("over 2 replications and 200 images, higher in 2 of 2")


def test_equal_conditions_whose_seeds_spread_are_rarely_called_different():
    """As in a study of two splits; an interval over images alone decides in about 40 % of these studies."""
    rng = np.random.default_rng(0)
    decided = [compare(spread(rng, 350, 2, 0.032), "a", "b").outcome != "undecided" for _ in range(100)]
    assert np.mean(decided) <= 0.08  # 5 % plus twice the standard error of 100 studies, less than a third of it wanted


def test_the_interval_adds_seeds_and_images():
    """Against the mean squares of a two-way table, computed in loops."""
    table = spread(np.random.default_rng(1), 40, 3, 0.1)
    found = compare(table, "a", "b")
    wide = table.pivot(index="replication", columns=["condition", "stimulus"], values="correct").astype(float)
    d = (wide["a"] - wide["b"]).to_numpy()
    num_seeds, num_images = d.shape
    by_seed, by_image = d.mean(1), d.mean(0)
    between_seeds = num_images * sum((m - d.mean()) ** 2 for m in by_seed) / (num_seeds - 1)
    between_images = num_seeds * sum((m - d.mean()) ** 2 for m in by_image) / (num_images - 1)
    rest = sum(
        (d[s, i] - by_seed[s] - by_image[i] + d.mean()) ** 2 for s in range(num_seeds) for i in range(num_images)
    ) / ((num_seeds - 1) * (num_images - 1))
    of_seeds, of_images = between_seeds / d.size, max(between_images - rest, 0) / d.size
    assert of_images > 0
    half = (t.ppf(0.975, 2) ** 2 * of_seeds + t.ppf(0.975, 39) ** 2 * of_images) ** 0.5
    assert (found.low, found.high) == pytest.approx((d.mean() - half, d.mean() + half))
    assert found.standard_error == pytest.approx((of_seeds + of_images) ** 0.5)
    over_seeds = t.ppf(0.975, 2) * by_seed.std(ddof=1) / 3**0.5
    assert found.over_units == pytest.approx((d.mean() - over_seeds, d.mean() + over_seeds))
    assert found.over_images[1] - found.over_images[0] < found.high - found.low


def test_other_images_in_each_replication_make_it_a_t_interval_over_replications():
    table = spread(np.random.default_rng(0), 60, 5, 0.2, nested=True)
    found = compare(table, "a", "b")
    means = table.groupby(["condition", "replication"])["correct"].mean()
    d = (means["a"] - means["b"]).to_numpy()
    expected = t.interval(0.95, 4, d.mean(), d.std(ddof=1) / 5**0.5)
    assert (found.low, found.high) == pytest.approx(expected)
    assert found.num_images == 300


def test_the_interval_is_of_all_replications():
    table = outcomes({"a": 0.5, "b": 0.5})
    second = table["replication"] == 1
    table["correct"] = second & (table["condition"] == "a") & (table["stimulus"] % 2 == 0)
    found = compare(table, "a", "b")
    assert found.difference == 0.25  # 0 in the first replication, 0.5 in the second
    assert found.low < 0 < 0.5 < found.high
    assert found.outcome == "undecided"


def test_seeds_that_agree_by_chance_leave_the_interval_over_images():
    table = spread(np.random.default_rng(0), 100, 1, 0.0)
    again = pd.concat([table, table.assign(replication=1)])
    single, double = compare(table, "a", "b"), compare(again, "a", "b")
    assert double.over_units[0] == double.over_units[1]  # two replications with one difference
    assert double.high - double.low >= double.over_images[1] - double.over_images[0] > 0.9 * (single.high - single.low)


def test_one_replication_decides_nothing_and_says_so():
    found = compare(outcomes({"a": 0.9, "b": 0.1}, replications=1), "a", "b", equivalence=1.0)
    assert (found.outcome, found.decides, found.equivalent) == ("undecided", False, False)
    assert str(found).endswith("over 200 images of one replication")
    assert found.over_units is None
    assert found.over_images == (found.low, found.high)


def test_subjects_are_the_unit_where_there_are_several():
    rng = np.random.default_rng(0)
    parts = [spread(rng, 50, 3, 0.05, difference=0.3).assign(subject=s) for s in range(4)]
    table = pd.concat(parts, ignore_index=True)
    found = compare(table, "a", "b")
    assert (found.unit, found.num_units, found.num_subjects, found.num_replications, found.df) == (
        "subject",
        4,
        4,
        3,
        3,
    )
    means = table.groupby(["condition", "subject"])["correct"].mean()
    d = (means["a"] - means["b"]).to_numpy()
    assert found.difference == pytest.approx(d.mean())
    assert found.high - found.difference >= t.ppf(0.975, 3) * d.std(ddof=1) / 2 - 1e-12
    assert str(found).endswith("over 4 subjects, 3 replications and 50 images, higher in 4 of 4 subjects")
    # One training of each is no evidence on others, in however many subjects.
    first = compare(table[table["replication"] == 0], "a", "b")
    assert (first.outcome, first.interval_over) == ("undecided", "4 subjects and 50 images of one replication")
    own = table.assign(replication=10 * table["subject"] + table["replication"])
    assert compare(own[own["replication"] % 10 == 0], "a", "b").num_replications == 4


def test_replications_that_do_not_belong_together():
    table = spread(np.random.default_rng(0), 100, 3, 0.1, difference=0.2)
    apart = table.assign(replication=table["replication"] + 10 * (table["condition"] == "b"))
    with pytest.raises(ValueError, match=r"different replications.*paired_replications=False"):
        compare(apart, "a", "b")
    found = compare(apart, "a", "b", paired_replications=False)
    assert found.difference == pytest.approx(compare(table, "a", "b").difference)
    means = table.groupby(["condition", "replication"])["correct"].mean().unstack()
    half = t.ppf(0.975, 2) * (means.var(axis=1, ddof=1) / 3).sum() ** 0.5
    assert found.over_units[1] == pytest.approx(found.difference + half)
    assert found.high >= found.over_units[1]
    assert found.num_positive is None and "higher in" not in str(found)
    assert found.table["only_first"].isna().all()
    with pytest.raises(ValueError, match="tables of one subject"):
        compare(pd.concat([table.assign(subject=s) for s in range(2)]), "a", "b", paired_replications=False)


def test_clean_accuracy_does_not_enter():
    table = outcomes({"a": 0.6, "b": 0.6})
    table.loc[(table["condition"] == "a") & (table["eps"] == 0), "correct"] = True
    found = compare(table, "a", "b")
    assert abs(found.difference) < 0.08
    assert found.table["difference"].tolist()[0] > 0.3  # but it stands in the table
    assert set(mean_over_eps(table).columns) == {"condition", "replication", "accuracy"}


def test_conditions_keep_their_order():
    table = mean_over_eps(outcomes({"b": 0.6, "c": 0.6, "a": 0.6}, replications=1))
    assert table["condition"].tolist() == ["b", "c", "a"]


def test_identical_conditions_keep_an_interval():
    table = outcomes({"a": 0.5, "b": 0.5})
    table.loc[table["condition"] == "b", "correct"] = table.loc[table["condition"] == "a", "correct"].to_numpy()
    same = compare(table, "a", "b")
    assert (same.difference, same.outcome) == (0, "undecided")
    assert same.low == -same.high < 0
    assert (same.table["low"] < 0).all() and (same.table["high"] > 0).all()


def test_equality_to_within_a_bound_is_two_one_sided_tests():
    table = spread(np.random.default_rng(0), 400, 8, 0.0)
    found = compare(table, "a", "b", equivalence=0.05)
    assert -0.05 < found.within[0] < found.within[1] < 0.05
    assert (found.equivalent, found.outcome) == (True, "equivalent")
    assert found.within == pytest.approx((lambda c: (c.low, c.high))(compare(table, "a", "b", confidence=0.90)))
    tight = compare(table, "a", "b", equivalence=0.001)
    assert (tight.equivalent, tight.outcome) == (False, "undecided")
    assert compare(table, "a", "b").equivalent is None
    assert found.low < found.within[0] and found.within[1] < found.high


def test_two_tables_or_one_give_the_same():
    table = outcomes({"a": 0.8, "b": 0.5}, replications=3)
    a, b = (table[table["condition"] == c] for c in "ab")
    assert compare(a, b) == compare(table, "a", "b")
    assert compare(a.drop(columns="condition"), b.drop(columns="condition")).treatment == "first"
    assert str(compare(a, b, names=("V4", "none"))).startswith("V4 - none: ")
    with pytest.raises(ValueError, match="several conditions"):
        compare(table, b)
    with pytest.raises(ValueError, match="two tables have none"):
        compare(a, b, "b")
    with pytest.raises(ValueError, match="compared with what"):
        compare(table, "a")
    with pytest.raises(ValueError, match="a column 'condition'"):
        compare(a.drop(columns="condition"), "a", "b")


def test_exact_mcnemar_by_hand():
    a = np.array([[1, 1]] * 9 + [[0, 0]] * 3)
    b = np.array([[1, 0]] * 5 + [[0, 0]] * 4 + [[1, 1]] * 1 + [[0, 0]] * 2)
    found = compare(one(a), one(b)).table
    assert found[["only_first", "only_second"]].values.tolist() == [[4, 1], [9, 1]]
    assert found["p_value"][0] == pytest.approx(2 * binom.cdf(1, 5, 0.5))
    assert found["p_value"][1] == pytest.approx(2 * binom.cdf(1, 10, 0.5))
    assert found["difference"].tolist() == pytest.approx([3 / 12, 8 / 12])


def test_mcnemar_is_for_one_replication():
    found = compare(outcomes({"a": 0.8, "b": 0.5}), "a", "b").table
    assert found["p_value"].isna().all()
    assert (found["only_first"] > found["only_second"]).all()
    assert (found["num_replications"] == 2).all()


def test_of_one_budget_the_tables_interval_is_that_over_all():
    rng = np.random.default_rng(0)
    found = compare(one(rng.random((60, 1)) < 0.8, [0.1]), one(rng.random((60, 1)) < 0.5, [0.1]))
    assert found.table[["low", "high"]].values.tolist() == [[found.low, found.high]]
    assert found.low < found.difference < found.high


def test_the_interval_of_few_images_covers_near_1():
    """The bootstrap held .98 - .93 in 58 % of such sets of 10 images: it is a point where no image tells them apart."""
    rng = np.random.default_rng(0)
    covered = []
    for _ in range(60):
        ease = rng.normal(size=(10, 1))
        a, b = (
            0.7**0.5 * ease + 0.3**0.5 * rng.normal(size=(10, 1)) < norm.ppf(rates)
            for rates in ([[0.99, 0.98, 0.97]], [[0.95, 0.93, 0.91]])
        )
        found = compare(one(a, (0.1, 0.2, 0.3)), one(b, (0.1, 0.2, 0.3)))
        covered.append(found.low <= 0.05 <= found.high)
        assert found.low < found.high
    assert np.mean(covered) >= 0.93


def test_classes_take_the_differences_between_classes_out():
    classes = pd.Series(np.repeat([0, 1], 50))
    a = np.repeat([[1], [0]], 50, axis=0)  # one network is right on class 0 alone
    b = np.zeros((100, 1))
    plain = compare(one(a, [0.1]), one(b, [0.1]))
    within = compare(one(a, [0.1]), one(b, [0.1]), labels=classes)
    assert plain.low < 0.45 < 0.55 < plain.high
    assert 0.45 < within.low < within.difference == 0.5 < within.high < 0.55


def test_perturbations_without_a_budget_take_part():
    a = one(np.ones((5, 1)), [np.nan], "fog-3")
    b = one(np.zeros((5, 1)), [np.nan], "fog-3")
    found = compare(a, b)
    assert found.table["eps"].isna().all()
    assert found.difference == 1


def test_refusals():
    table = outcomes({"a": 0.5, "b": 0.5})
    with pytest.raises(ValueError, match="no condition 'c'; there are"):
        compare(table, "a", "c")
    with pytest.raises(ValueError, match="tested on different images"):
        compare(table[~((table["condition"] == "b") & (table["stimulus"] == 3))], "a", "b")
    for confidence in (0.5, 1.0, 95):
        with pytest.raises(ValueError, match=r"such as 0\.95"):
            compare(table, "a", "b", confidence=confidence)
    for equivalence in (0, -0.01, float("nan")):
        with pytest.raises(ValueError, match="largest difference that counts as equal"):
            compare(table, "a", "b", equivalence=equivalence)
    with pytest.warns(DeprecationWarning, match="seed isn't used"):
        compare(table, "a", "b", seed=1)


def test_refusals_of_tables():
    a = one(np.ones((5, 2)))
    with pytest.raises(ValueError, match="different images"):
        compare(a, one(np.ones((4, 2))))
    with pytest.raises(ValueError, match="different perturbations or budgets"):
        compare(a, one(np.ones((5, 2)), eps=(0.1, 0.3)))
    with pytest.raises(ValueError, match="don't shuffle the loader"):
        compare(a.assign(label=a["stimulus"]), a.assign(label=4 - a["stimulus"]))
    with pytest.raises(ValueError, match="correct is missing"):
        compare(a.drop(columns="correct"), a)
    with pytest.raises(ValueError, match="occurs twice"):
        compare(pd.concat([a, a]), a)
    with pytest.raises(ValueError, match="not every image"):
        compare(a.iloc[:-1], a)
    with pytest.raises(ValueError, match="no class for stimulus 3"):
        compare(a, a, labels=pd.Series([0, 1, 1]))
    for wrong in (np.nan, 0.5, 2):
        with pytest.raises(ValueError, match="must be 0 or 1"):
            compare(a.assign(correct=wrong), a)
    with pytest.raises(ValueError, match="no rows"):
        compare(a.iloc[:0], a)
    with pytest.raises(ValueError, match="'subject' is missing in 10 rows"):
        compare(a.assign(subject=np.nan), a)


def test_an_interval_that_touches_zero_decides_nothing():
    assert Comparison("T", "x", 0.1, 0.0, 0.2, 2, 2, 100).outcome == "undecided"
    assert Comparison("T", "x", -0.1, -0.2, 0.0, 0, 2, 100).outcome == "undecided"


def test_tables():
    table = outcomes({"a": 0.8, "b": 0.5})
    accuracy = accuracy_by_condition(table)
    assert len(accuracy) == 2 * 2 * 3
    assert (accuracy["num_images"] == 200).all()
    summary = summary_table(accuracy)
    assert summary.columns.tolist() == ["clean", "ε 0.1", "ε 0.2", "mean"]
    per_replication = table[(table["condition"] == "a") & (table["eps"] > 0)].groupby("replication")["correct"].mean()
    assert summary.loc["a", "mean"] == f"{per_replication.mean():.3f} ± {per_replication.std():.3f}"


def test_the_former_name_still_works():
    rng = np.random.default_rng(0)
    a, b = (
        pd.DataFrame({"perturbation": "pgd", "eps": 0.1, "stimulus": range(30), "correct": rng.random(30) < rate})
        for rate in (0.8, 0.4)
    )
    with pytest.warns(DeprecationWarning, match="compare_paired is compare"):
        found = compare_paired(a, b, num_resamples=10, seed=1)
    assert found == compare(a, b)
    assert isinstance(found, PairedComparison)
    assert found.mean_difference == found.difference
    assert found.table.equals(compare(a, b).table)


def seeds_and_images(difference=0.03, replications=4, seed=0):
    return spread(np.random.default_rng(seed), 300, replications, 0.03, difference=difference)


@pytest.mark.parametrize("replications", [2, 4])
@pytest.mark.parametrize("difference", [0.0, 0.03, 0.2])
def test_p_is_where_the_interval_just_touches_0(difference, replications):
    table = seeds_and_images(difference, replications)
    found = compare(table, "a", "b")
    touching = compare(table, "a", "b", confidence=1 - found.p_value) if found.p_value < 0.5 else None
    if touching is not None:
        assert min(abs(touching.low), abs(touching.high)) == pytest.approx(0, abs=1e-9)
    assert (found.p_value < 0.05) == found.excludes_zero
    assert 0 < found.p_value <= 1
    assert compare(table, "b", "a").p_value == pytest.approx(found.p_value)


def test_p_and_interval_agree_whatever_the_difference():
    rng = np.random.default_rng(0)
    found = [compare(spread(rng, 60, 3, 0.05, difference=d), "a", "b") for d in np.linspace(-0.4, 0.4, 40)]
    assert [c.p_value < 0.05 for c in found] == [c.low > 0 or c.high < 0 for c in found]
    assert 5 < sum(c.p_value < 0.05 for c in found) < 35
    bounds = [compare(spread(rng, 60, 4, 0.02), "a", "b", equivalence=e) for e in np.linspace(0.01, 0.3, 40)]
    assert [c.p_equivalence < 0.05 for c in bounds] == [c.equivalent for c in bounds]
    assert 5 < sum(c.equivalent for c in bounds) < 39


def test_with_other_images_in_each_replication_p_is_that_of_a_t_test():
    table = spread(np.random.default_rng(0), 60, 5, 0.2, nested=True)
    means = table.groupby(["condition", "replication"])["correct"].mean()
    assert compare(table, "a", "b").p_value == pytest.approx(ttest_rel(means["a"], means["b"]).pvalue)


def test_a_difference_of_0_has_p_1_and_a_difference_at_the_bound_half():
    table = outcomes({"a": 0.5, "b": 0.5}, replications=3)
    table.loc[table["condition"] == "b", "correct"] = table.loc[table["condition"] == "a", "correct"].to_numpy()
    assert compare(table, "a", "b").p_value == 1
    found = compare(seeds_and_images(0.1), "a", "b", equivalence=0.05)
    at_the_bound = compare(seeds_and_images(0.1), "a", "b", equivalence=abs(found.difference))
    assert at_the_bound.p_equivalence == pytest.approx(0.5)
    assert found.p_equivalence > 0.5 and not found.equivalent


def test_one_replication_has_no_p():
    found = compare(outcomes({"a": 0.9, "b": 0.1}, replications=1), "a", "b", equivalence=0.05)
    assert np.isnan(found.p_value) and np.isnan(found.p_equivalence)
    assert found.test == "none: one replication decides nothing"
    assert compare(seeds_and_images(), "a", "b").p_equivalence is None


def test_the_test_in_words():
    found = compare(seeds_and_images(), "a", "b", equivalence=0.1)
    assert found.test == (
        "two-sided t test over 4 replications and 300 images, a quantile for each variance component; two one-sided tests of "
        "equivalence"
    )
