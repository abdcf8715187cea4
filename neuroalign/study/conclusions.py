"""What a study says at the top of its report and at the end of its run: no more than its comparisons show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from neuroalign.study.budgets import budget_texts
from neuroalign.study.comparing import Compared
from neuroalign.study.methods import by_whom
from neuroalign.study.study import Study
from neuroalign.study.trend_sentences import trend_sentences
from neuroalign.study.verdicts import interval_meaning, verdict

if TYPE_CHECKING:
    import pandas as pd

__all__: list[str] = []

FAST = "A fast run trains too little for its numbers to mean anything, so there is no verdict."


def conclusions(
    study: Study,
    compared: Sequence[Compared],
    missing: Mapping[str, str],
    *,
    fast: bool,
    trend: pd.DataFrame | None = None,
) -> list[str]:
    """A verdict per treatment, its trend along the study's hierarchy, what limits them, and the study's own note.

    Args:
        study: The study.
        compared: Its comparisons.
        missing: Why each stage that isn't finished isn't, by its name.
        fast: Whether it was a fast run, which has no verdict.
        trend: From :func:`~neuroalign.study.trends.trend_table`; None says nothing of trends.
    """
    trends = [] if trend is None else trend_sentences(trend, study)
    sentences = [FAST] if fast else [*_verdicts(study, compared), *trends]
    if missing:
        sentences.append(
            f"This study isn't complete: {len(missing)} of its stages are missing; the report lists them, and no table has "
            "rows of them."
        )
    return [*sentences, *([study.note.strip()] if study.note.strip() else [])]


def meanings(compared: Sequence[Compared]) -> str:
    """Sentences on what the intervals are over; one for all, if they are over the same."""
    return " ".join(dict.fromkeys(interval_meaning(each.comparison) for each in compared))


def none_shown(compared: Compared) -> str:
    """A sentence on the budgets at which a comparison shows no difference; empty if it shows one at every budget."""
    c = compared.comparison
    if not c.decides:
        return f"{c.treatment} - {c.control}: one replication decides nothing."
    hidden = c.table[(c.table["low"] <= 0) & (c.table["high"] >= 0)]
    if hidden.empty:
        return ""
    if len(hidden) == len(c.table):
        return f"{c.treatment} - {c.control}: no difference shown at any budget."
    clean = ["on clean images"] if (hidden["eps"] == 0).any() else []
    texts = budget_texts(c.table["eps"])
    budgets = ", ".join(texts[float(eps)] for eps in hidden["eps"] if eps > 0)
    places = " and ".join([*clean, *([f"at ε {budgets}"] if budgets else [])])
    return f"{c.treatment} - {c.control}: no difference shown {places}."


def _verdicts(study: Study, compared: Sequence[Compared]) -> list[str]:
    if not compared:
        asked = "None that was asked for could be made" if study.comparisons else "The study asks for none"
        return [f"Nothing was compared, so there is no verdict. {asked}."]
    by_treatment: dict[tuple[str, str], list[Compared]] = {}
    for each in compared:
        by_treatment.setdefault((each.comparison.treatment, each.measure), []).append(each)
    first = next(iter(study.evaluations.robustness))
    source = by_whom(study)
    sentences = []
    for (treatment, measure), group in by_treatment.items():
        under = "" if measure == first else f", under {measure},"
        subject = f"{treatment[0].upper()}{treatment[1:]}{source}{under}"
        sentences.append(verdict([each.comparison for each in group], subject))
    fewest = min(each.comparison.num_replications for each in compared)
    if fewest < 2:
        sentences.insert(0, "One replication decides nothing.")
    elif fewest < 4 and any(each.comparison.outcome == "undecided" for each in compared):
        sentences.append(
            f"With {fewest} seeds most differences can't be separated from chance: 8 seeds make the intervals several times "
            "shorter."
        )
    return sentences
