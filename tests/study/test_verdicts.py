"""Sentences made of comparisons."""

import pytest

from neuroalign.evaluation import Comparison
from neuroalign.study import verdict
from neuroalign.study.verdicts import interval_meaning


def case(control, difference, outcome, replications=4, **options):
    low, high = {"higher": (0.01, 0.2), "lower": (-0.2, -0.01), "undecided": (-0.1, 0.12)}[outcome]
    options.setdefault("within", (-0.005, 0.009))
    return Comparison("T", control, difference, low, high, 2, replications, 100, **options)


@pytest.mark.parametrize(
    ("cases", "sentence"),
    [
        ([case("x", 0.1, "higher")], "T raised accuracy under attack above x (+0.100 [+0.010, +0.200])."),
        ([case("x", -0.1, "lower")], "T lowered accuracy under attack below x (-0.100 [-0.200, -0.010])."),
        (
            [case("x", 0.01, "undecided")],
            "T shows no clear difference from x (+0.010; up to +0.120 is not excluded).",
        ),
        (
            [
                case("x", 0.1, "higher"),
                case("y", 0.2, "higher"),
                case("z", -0.1, "lower"),
                case("w", 0.01, "undecided"),
            ],
            "T raised accuracy under attack above x (+0.100 [+0.010, +0.200]) and y (+0.200 [+0.010, +0.200]); it lowered it "
            "below z (-0.100 [-0.200, -0.010]); it shows no clear difference from w (+0.010; up to +0.120 is not excluded).",
        ),
        (
            [case("x", 0.1, "higher", replications=1), case("y", 0.0, "undecided", replications=1)],
            "T is undecided against x (+0.100 [+0.010, +0.200]) and y (+0.000 [-0.100, +0.120]), since the intervals are "
            "over 100 images of one replication: they say nothing about other seeds.",
        ),
    ],
)
def test_the_verdict_follows_the_numbers(cases, sentence):
    assert verdict(cases, "T") == sentence


def test_equality_is_said_only_where_it_is_shown():
    equal, wide = case("x", 0.002, "undecided"), case("y", 0.002, "undecided", within=(-0.08, 0.1))
    small = case("z", 0.005, "higher", within=(0.001, 0.009))
    assert verdict([equal, wide, small], "T", equivalence=0.01) == (
        "T raised accuracy under attack above z (+0.005 [+0.010, +0.200], less than 0.01); it is equal to within 0.01 to "
        "x (+0.002); it shows no clear difference from y (+0.002; up to +0.120 is not excluded, so not shown to be equal to "
        "within 0.01)."
    )
    assert "equal" not in verdict([equal, wide, small], "T")


def test_equality_needs_its_own_interval():
    with pytest.raises(ValueError, match="which compare computes"):
        verdict([Comparison("T", "x", 0.0, -0.1, 0.1, 1, 2, 100)], "T", equivalence=0.01)


def test_the_largest_difference_is_the_end_further_from_0():
    assert Comparison("T", "x", -0.05, -0.2, 0.1, 1, 2, 100).largest == -0.2


def test_the_meaning_of_the_interval():
    assert interval_meaning(case("x", 0.1, "higher", df=3)) == (
        "The intervals are over 4 replications and 100 images: where the difference lies if others of both are drawn."
    )
    assert interval_meaning(case("x", 0.1, "higher", replications=2, df=1)).endswith(
        "With 2 replications they are long."
    )
    assert "nothing is decided" in interval_meaning(case("x", 0.1, "higher", replications=1))


def test_a_corrected_p_decides_and_is_said():
    kept = case("x", 0.1, "higher", p_holm=0.003, num_tests=9)
    lost = case("y", 0.03, "higher", p_holm=0.2, num_tests=9)
    assert verdict([kept, lost], "T") == (
        "T raised accuracy under attack above x (+0.100 [+0.010, +0.200], corrected p = 0.003); it shows a difference from y "
        "(+0.030 [+0.010, +0.200], corrected p = 0.2) that is not significant after Holm's correction over 9 comparisons."
    )
    assert "not significant" not in verdict([kept], "T")


def test_equality_follows_the_corrected_p():
    shown = case("x", 0.002, "undecided", equivalence=0.01, p_equivalence_holm=0.04, num_equivalence_tests=3)
    not_shown = case("y", 0.002, "undecided", equivalence=0.01, p_equivalence_holm=0.06, num_equivalence_tests=3)
    assert verdict([shown, not_shown], "T") == (
        "T is equal to within 0.01 to x (+0.002, corrected p = 0.04); it shows no clear difference from y (+0.002; up to "
        "+0.120 is not excluded, so not shown to be equal to within 0.01)."
    )
    other_bound = verdict([not_shown], "T", equivalence=0.02)  # whose p value was not corrected
    assert other_bound == "T is equal to within 0.02 to y (+0.002)."
