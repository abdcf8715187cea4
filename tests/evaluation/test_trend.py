"""The trend of accuracy along regions: what it computes, what it refuses, and how often it is wrong."""

from itertools import permutations, product

import numpy as np
import pandas as pd
import pytest
from scipy.stats import page_trend_test, spearmanr

from neuroalign.evaluation import compare, trend_test

REGIONS = ("V1", "V4", "TO")


def table_of(correct, eps=(0.1,), subject=None):
    """The table of one region from its (replication, image, budget) outcomes."""
    replications, images, budgets = correct.shape
    found = pd.DataFrame({
        "replication": np.repeat(np.arange(replications), images * budgets),
        "stimulus": np.tile(np.repeat(np.arange(images), budgets), replications),
        "eps": np.tile(eps, replications * images),
        "correct": correct.ravel(),
    })  # fmt: skip
    return found if subject is None else found.assign(subject=subject)


def tables_of(rng, rates, regions=REGIONS, images=100, replications=4, budgets=(0.1, 0.2)):
    """Tables of regions whose images stay right with the given rates."""
    return {
        region: table_of((rng.random((replications, images, len(budgets))) < rate).astype(int), budgets)
        for region, rate in zip(regions, rates)
    }


def accuracies(tables, by="replication"):
    return np.column_stack([table.groupby(by)["correct"].mean() for table in tables.values()])


def test_it_is_pages_test_of_the_replications_accuracies():
    tables = tables_of(np.random.default_rng(0), (0.45, 0.5, 0.55))
    found = trend_test(tables)
    reference = page_trend_test(accuracies(tables))
    assert (found.statistic, found.p_value) == pytest.approx((reference.statistic, reference.pvalue))
    assert found.means == pytest.approx(accuracies(tables).mean(0))
    assert (found.unit, found.num_units, found.num_images, found.regions, found.exact) == (
        "replication", 4, 100, REGIONS, True,
    )  # fmt: skip
    assert found.test == "Page's test (exact), one-sided, over 4 replications"
    rho = [spearmanr(row, [1, 2, 3]).statistic for row in accuracies(tables)]
    assert found.rho == pytest.approx(np.mean(rho))


def test_the_effect_is_the_slope_of_the_means():
    tables = tables_of(np.random.default_rng(0), (0.3, 0.4, 0.7))
    found = trend_test(tables)
    slopes = [np.polyfit([1, 2, 3], row, 1)[0] for row in accuracies(tables)]
    assert found.effect == pytest.approx(np.mean(slopes)) and found.low < found.effect < found.high
    assert found.outcome == "rises" and found.p_value == pytest.approx(found.smallest_p) == 6.0**-4
    assert trend_test(dict(reversed(tables.items()))).outcome == "falls"
    assert str(found).startswith("V1 < V4 < TO: +0.")


def test_of_two_regions_it_is_their_comparison_and_a_sign_test():
    tables = tables_of(np.random.default_rng(1), (0.4, 0.6), ("V1", "V4"), replications=5)
    found, other = trend_test(tables), compare(tables["V4"], tables["V1"])
    assert (found.effect, found.low, found.high, found.effect_p) == pytest.approx(
        (other.difference, other.low, other.high, other.p_value)
    )
    assert other.num_positive == 5 and found.p_value == found.smallest_p == 0.5**5
    assert found.statistic == 5 * 5 and found.rho == 1 and found.test == "sign test, one-sided, over 5 replications"


def test_clean_accuracy_takes_no_part():
    rng = np.random.default_rng(0)
    tables = tables_of(rng, (0.3, 0.5, 0.7))
    clean = tables_of(rng, (0.9, 0.5, 0.1), budgets=(0.0,))
    both = {region: pd.concat([tables[region], clean[region]]) for region in REGIONS}
    assert trend_test(both) == trend_test(tables)


def test_a_control_is_subtracted_image_by_image():
    rng = np.random.default_rng(0)
    tables, control = tables_of(rng, (0.3, 0.5, 0.7)), tables_of(rng, (0.3, 0.3, 0.3))
    found = trend_test(tables, control)
    assert found.means == pytest.approx(accuracies(tables).mean(0) - accuracies(control).mean(0))
    assert found.subtracted and found.outcome == "rises"
    same = trend_test(tables, tables)
    assert (same.effect, same.rho, same.p_value > 0.4, same.outcome) == (0, 0, True, "undecided")
    assert same.low < 0 < same.high
    assert trend_test(tables, dict(reversed(control.items()))) == found  # by name, not by place


def test_one_replication_decides_nothing():
    found = trend_test(tables_of(np.random.default_rng(0), (0.1, 0.5, 0.9), replications=1))
    assert np.isnan(found.p_value) and np.isnan(found.effect_p) and np.isnan(found.smallest_p)
    assert (found.outcome, found.statistic, found.rho) == ("undecided", 14, 1)
    assert found.test == "none: one replication decides nothing" and found.low < found.effect < found.high


def test_subjects_are_the_unit_where_there_are_several():
    rng = np.random.default_rng(0)
    parts = [tables_of(rng, (0.4, 0.5, 0.6)) for _ in range(5)]
    tables = {r: pd.concat([part[r].assign(subject=f"s{i}") for i, part in enumerate(parts)]) for r in REGIONS}
    found = trend_test(tables)
    assert (found.unit, found.num_units, found.num_replications, found.num_subjects) == ("subject", 5, 4, 5)
    reference = page_trend_test(accuracies(tables, "subject"))
    assert (found.statistic, found.p_value) == pytest.approx((reference.statistic, reference.pvalue))
    assert len(found.table) == 5 * 4 * 3 and set(found.table["step"]) == {1, 2, 3}
    first = trend_test({r: table[table["replication"] == 0] for r, table in tables.items()})
    assert np.isnan(first.p_value) and first.outcome == "undecided"


def test_replications_without_a_region_are_left_out_and_counted():
    tables = tables_of(np.random.default_rng(0), (0.3, 0.5, 0.7))
    less = {**tables, "V4": tables["V4"][tables["V4"]["replication"] != 2]}
    found = trend_test(less)
    assert (found.num_units, found.left_out) == (3, 1)
    assert found.test.endswith("over 3 replications; 1 left out, where a region is missing")
    assert found.statistic == trend_test({r: t[t["replication"] != 2] for r, t in tables.items()}).statistic


def test_ties_share_their_rank():
    right = np.zeros((3, 10, 1), dtype=int)
    right[:, :5] = 1
    more = right.copy()
    more[:, 5] = 1
    tied = trend_test({"V1": table_of(right), "V4": table_of(right[:, ::-1]), "TO": table_of(more)})
    assert tied.statistic == 3 * (1.5 + 2 * 1.5 + 3 * 3)
    assert trend_test({"V1": table_of(right), "V4": table_of(right)}).p_value == 1


def test_refusals():
    tables = tables_of(np.random.default_rng(0), (0.3, 0.5, 0.7))
    with pytest.raises(ValueError, match=r"at least two regions.*got \['V1'\]"):
        trend_test({"V1": tables["V1"]})
    with pytest.raises(ValueError, match="the control has other regions"):
        trend_test(tables, {"V1": tables["V1"], "V4": tables["V4"]})
    with pytest.raises(ValueError, match=r"regions 'V1' and 'V4': .*correct is missing"):
        trend_test({**tables, "V4": tables["V4"].drop(columns="correct")})
    with pytest.raises(ValueError, match="no replication of a subject has all of V1, V4, TO"):
        trend_test({**tables, "TO": tables["TO"].assign(replication=tables["TO"]["replication"] + 10)})
    with pytest.raises(ValueError, match="'V1' and 'TO' were tested on different images"):
        trend_test({**tables, "TO": tables["TO"][tables["TO"]["stimulus"] != 3]})
    with pytest.raises(ValueError, match="different perturbations or budgets"):
        trend_test({**tables, "TO": tables["TO"][tables["TO"]["eps"] != 0.2]})
    with pytest.raises(ValueError, match=r"confidence.*such as 0\.95"):
        trend_test(tables, confidence=95)


def null_study(rng, regions, replications, steps=0.0, images=300, budgets=2, subjects=1, sd_subject=0.0):
    """Tables by region, of networks whose accuracies spread by .012 between seeds; ``steps`` is what a region adds."""
    shape = (len(regions), subjects, replications)
    slopes = steps + sd_subject * rng.normal(size=(1, subjects, 1))
    rate = 0.25 + slopes * np.arange(len(regions))[:, None, None] + rng.normal(0, 0.012, shape)
    ease, own = rng.random(images), rng.random((*shape, images))
    budget = np.linspace(1.2, 0.8, budgets)
    # Half of the images are decided by what is common to all networks, so that networks agree as trained ones do.
    score = np.where(rng.random((*shape, images)) < 0.5, ease, own)
    right = score[..., None] < rate[..., None, None] * budget
    frames = {}
    for region, correct in zip(regions, right):
        flat = table_of(correct.reshape(-1, images, budgets).astype(int), budget)
        row = flat["replication"].to_numpy()
        frames[region] = flat.assign(subject=row // replications, replication=row % replications)
    return frames


def at_most(share, number):
    """A share and twice the Monte-Carlo error of so many studies."""
    return share + 2 * (share * (1 - share) / number) ** 0.5


@pytest.mark.slow
def test_a_thousand_studies_without_a_trend_and_as_many_intervals():
    rng = np.random.default_rng(0)
    found = [trend_test(null_study(rng, REGIONS, 6)) for _ in range(1000)]
    false = np.mean([f.p_value < 0.05 for f in found])
    # L is discrete: of six units and three regions, the largest p below .05 has a chance of 0.029.
    size = 0.029
    assert size - 2 * (size * (1 - size) / 1000) ** 0.5 <= false <= at_most(0.05, 1000)
    assert np.mean([f.low <= 0 <= f.high for f in found]) >= 0.93
    assert np.mean([f.outcome == "rises" for f in found]) <= at_most(0.025, 1000)


@pytest.mark.slow
def test_two_regions_and_subjects_without_a_trend():
    rng = np.random.default_rng(1)
    two = [trend_test(null_study(rng, REGIONS[:2], 6)) for _ in range(300)]
    assert np.mean([f.p_value < 0.05 for f in two]) <= at_most(0.05, 300)
    several = [trend_test(null_study(rng, REGIONS, 3, subjects=4, sd_subject=0.01)) for _ in range(200)]
    assert np.mean([f.p_value < 0.05 for f in several]) <= at_most(0.05, 200)
    for found in (two, several):
        assert np.mean([f.low <= 0 <= f.high for f in found]) >= 0.93


@pytest.mark.slow
def test_a_planted_trend_is_found_and_covered():
    rng = np.random.default_rng(2)
    found = [trend_test(null_study(rng, REGIONS, 6, steps=0.03)) for _ in range(100)]
    assert np.mean([f.outcome == "rises" for f in found]) > 0.9
    assert np.mean([f.low <= 0.03 <= f.high for f in found]) >= 0.93


def test_with_ties_pages_exact_p_is_not_too_small():
    """Against all orders of accuracies that are often equal; SciPy's exact distribution knows no ties."""
    patterns = ((0, 0, 1), (0, 1, 1), (0, 1, 2), (0, 0, 1))
    studies = product(*(sorted(set(permutations(pattern))) for pattern in patterns))
    p = np.array([page_trend_test(np.array(study)).pvalue for study in studies])
    assert len(p) == 3 * 3 * 6 * 3 and (p < 0.05).mean() <= 0.05
