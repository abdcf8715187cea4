"""Sentences on what comparisons show, and no more than they show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from neuroalign.evaluation.comparison_result import Comparison

__all__ = ["interval_meaning", "verdict"]


def verdict(comparisons: Sequence[Comparison], subject: str, *, equivalence: float | None = None) -> str:
    """A sentence on what comparisons of one treatment show, whatever the result.

    "No clear difference" isn't equality: the sentence gives the largest difference that the interval doesn't exclude. With
    ``equivalence`` it also says which controls the treatment is shown to equal within that bound, and which not.

    Comparisons that were corrected for their number (:func:`neuroalign.evaluation.holm`) are judged by the corrected p value,
    which is given; where an interval excludes 0 and the correction takes that back, the sentence says so.

    Args:
        comparisons: Comparisons of one treatment with several controls.
        subject: Grammatical subject of the sentence, such as "TO guidance of this simulated subject".
        equivalence: Largest difference that counts as equal; None takes each comparison's own.

    Example:
        >>> verdict([Comparison("TO", "none", 0.1, 0.05, 0.15, 4, 4, 300)], "TO guidance")
        'TO guidance raised accuracy under attack above none (+0.100 [+0.050, +0.150]).'
        >>> verdict([Comparison("TO", "V1", 0.01, -0.02, 0.04, 3, 4, 300)], "TO guidance")
        'TO guidance shows no clear difference from V1 (+0.010; up to +0.040 is not excluded).'
    """
    if equivalence is not None:
        comparisons = [_with_bound(c, equivalence) for c in comparisons]
    by_outcome: dict[str, list[Comparison]] = {}
    for c in comparisons:
        by_outcome.setdefault(_group(c), []).append(c)
    clauses = []
    if higher := by_outcome.get("higher"):
        clauses.append(f"raised accuracy under attack above {_listed(higher)}")
    if lower := by_outcome.get("lower"):
        clauses.append(f"lowered {'it' if clauses else 'accuracy under attack'} below {_listed(lower)}")
    for bound in dict.fromkeys(c.equivalence for c in by_outcome.get("equivalent", [])):
        equal = [c for c in by_outcome["equivalent"] if c.equivalence == bound]
        clauses.append(f"is equal to within {bound:g} to {_listed(equal)}")
    if lost := by_outcome.get("lost"):
        clauses.append(
            f"shows a difference from {_listed(lost)} that is not significant after Holm's correction over "
            f"{lost[0].num_tests} comparisons"
        )
    if undecided := by_outcome.get("undecided"):
        clauses.append(f"shows no clear difference from {_listed(undecided)}")
    if one := by_outcome.get("one replication"):
        clauses.append(
            f"is undecided against {_listed(one)}, since the intervals are over {one[0].interval_over}: they say nothing "
            "about other seeds"
        )
    return f"{subject} {'; it '.join(clauses)}."


def interval_meaning(comparison: Comparison) -> str:
    """A sentence on what an interval says and what it doesn't say.

    Args:
        comparison: One comparison of a study; the others have the same replications and images.

    Example:
        >>> print(interval_meaning(Comparison("TO", "none", 0.1, 0.05, 0.15, 1, 1, 300)))
        The intervals are over 300 images of one replication: they say nothing about other
        seeds, so nothing is decided.
    """
    over = comparison.interval_over
    if not comparison.decides:
        return f"The intervals are over {over}: they say nothing about other seeds, so nothing is decided."
    quantile = "" if comparison.df > 2 else f" With {comparison.num_units} {comparison.unit}s they are long."
    return f"The intervals are over {over}: where the difference lies if others of both are drawn.{quantile}"


def _with_bound(comparison: Comparison, equivalence: float) -> Comparison:
    """The comparison with another bound, whose p value was corrected for nothing, unless the bound is its own."""
    if comparison.equivalence == equivalence:
        return comparison
    return replace(comparison, equivalence=equivalence, p_equivalence_holm=None, num_equivalence_tests=None)


def _group(comparison: Comparison) -> str:
    if not comparison.decides:
        return "one replication"
    outcome = comparison.outcome
    return "lost" if outcome == "undecided" and comparison.lost_to_correction else outcome


def _listed(comparisons: Sequence[Comparison]) -> str:
    parts = [f"{c.control} ({_numbers(c)})" for c in comparisons]
    return parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]


def _numbers(comparison: Comparison) -> str:
    text = f"{comparison.difference:+.3f}"
    if comparison.decides and comparison.outcome == "undecided" and not comparison.lost_to_correction:
        text += f"; up to {comparison.largest:+.3f} is not excluded"
        if comparison.equivalence is not None:
            text += f", so not shown to be equal to within {comparison.equivalence:g}"
        return text
    if comparison.outcome != "equivalent":  # whose test has an interval of its own, the shorter `within`
        text += f" [{comparison.low:+.3f}, {comparison.high:+.3f}]"
    if comparison.outcome in ("higher", "lower") and comparison.equivalent:
        text += f", less than {comparison.equivalence:g}"
    tested = comparison.p_equivalence_holm if comparison.outcome == "equivalent" else comparison.p_holm
    return text if tested is None or not comparison.decides else f"{text}, corrected p = {tested:.2g}"
