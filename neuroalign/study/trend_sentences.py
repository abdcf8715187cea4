"""Sentences on whether robustness rises along the regions of a study, and whether a control rises as well."""

from __future__ import annotations

from math import factorial
from typing import TYPE_CHECKING, Any

from neuroalign.study.methods import GUIDED, by_whom
from neuroalign.study.study import Study

if TYPE_CHECKING:
    import pandas as pd

__all__: list[str] = []

_ALPHA = 0.05


def trend_sentences(table: pd.DataFrame, study: Study) -> list[str]:
    """A sentence on the trend of each treatment, and one on each of its controls of the same regions.

    A rise is said where Page's test shows it after Holm's correction and the interval of the slope, over other units and
    images, lies above 0. A rise that a control shows too is said not to come from the responses.

    Args:
        table: From :func:`~neuroalign.study.trends.trend_table`.
        study: The study.
    """
    if table.empty:
        return []
    treatments = {wanted.treatment for wanted in study.comparisons}
    if not treatments:
        treatments = {name for name in study.conditions if study.kind_of(name) in GUIDED}
    first = next(iter(study.evaluations.robustness))
    sentences = []
    for _, row in table[(table["control"] == "") & table["condition"].isin(treatments)].iterrows():
        same = table[(table["measure"] == row["measure"]) & (table["condition"] == row["condition"])]
        under = "" if row["measure"] == first else f", under {row['measure']},"
        sentences.append(_trend(row, f"{row['condition']}{by_whom(study)}{under}"))
        pairs = same[same["control"] != ""]
        sentences += [s for _, pair in pairs.iterrows() if (s := _beside(row, pair, _alone(table, pair)))]
        if pairs.empty and _outcome(row) == "rises":
            sentences.append(
                "No control of the same regions was compared, so this rise isn't shown to come from the responses."
            )
    return sentences


def _trend(row: Any, name: str) -> str:
    along = f"along {row['hierarchy']}"
    start = f"{name[0].upper()}{name[1:]}"
    match _outcome(row):
        case "one seed":
            return (
                f"{start} is undecided {along} ({row['effect']:+.3f} of accuracy per step [{row['low']:+.3f}, "
                f"{row['high']:+.3f}]): one replication says nothing about others."
            )
        case "rises":
            return f"Accuracy under attack with {name} rises {along} ({_numbers(row)})."
        case "falls":
            return f"Accuracy under attack with {name} falls {along} ({_numbers(row)})."
    return f"{start} shows no clear trend {along} ({_numbers(row)}{_why(row)})."


def _why(row: Any) -> str:
    """What keeps a trend from being shown, where it isn't just small."""
    num_regions = len(row["hierarchy"].split(" < "))
    least = factorial(num_regions) ** -float(row["n"])
    if least >= _ALPHA:
        return f"; with {row['n']} {row['unit']}s of {num_regions} regions p can't be below {least:.2g}"
    if row["p"] < _ALPHA and row["low"] > 0:
        return "; not significant after the correction"
    if row["p_holm"] < _ALPHA:
        return "; the order holds on these images, but the interval over other images includes 0"
    return ""


def _beside(row: Any, pair: Any, alone: Any) -> str:
    """A sentence on a control of the same regions; empty where there is nothing to explain."""
    outcome, rises = _outcome(pair), _outcome(row) == "rises"
    if outcome == "one seed" or (not rises and outcome not in ("rises", "falls")):
        return ""
    name = pair["control"]
    own = "" if alone is None else f" ({alone['effect']:+.3f} per step with {name} itself)"
    if not rises:
        return f"Minus {name}, its control, it {outcome}: {_numbers(pair)}{own}."
    if outcome == "rises":
        return f"It rises beyond {name}, its control: the difference by {_numbers(pair)}{own}."
    if outcome == "falls":
        return f"It rises less than {name}, its control: the difference by {_numbers(pair)}{own}."
    as_large = alone is not None and alone["effect"] >= row["effect"]
    shown = f"It isn't shown to rise beyond {name}, its control"
    if as_large:
        shown = f"The rise with {name}, its control, is as large"
    return f"{shown}: the difference by {_numbers(pair)}{own}. So this rise isn't shown to come from the responses."


def _alone(table: pd.DataFrame, pair: Any) -> Any:
    """The row of a pair's control by itself, along the same regions; None if there is none."""
    rows = table[
        (table["condition"] == pair["control"])
        & (table["control"] == "")
        & (table["measure"] == pair["measure"])
        & (table["hierarchy"] == pair["hierarchy"])
    ]
    return None if rows.empty else rows.iloc[0]


def _outcome(row: Any) -> str:
    if row["p"] != row["p"]:
        return "one seed"
    if row["p_holm"] < _ALPHA and row["low"] > 0:
        return "rises"
    return "falls" if row["high"] < 0 else "undecided"


def _numbers(row: Any) -> str:
    test = row["test"].split(",")[0].split(" (")[0]  # its name alone
    return (
        f"{row['effect']:+.3f} per step [{row['low']:+.3f}, {row['high']:+.3f}], {test} over {row['n']} {row['unit']}s, "
        f"corrected p = {row['p_holm']:.2g}"
    )
