"""Whether a measure of geometry predicts robustness across networks once clean accuracy is given."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from neuroalign.evaluation.condition_regression import Regression, residuals, rests_on, vanishes
from neuroalign.evaluation.multiple_comparisons import corrected_p

__all__ = ["regress_on_geometry"]

EXPECTED = {
    "capacity": "+",
    "radius": "-",
    "dimension": "-",
    "rms_radius": "-",
    "participation_ratio": "-",
    "separability": "+",
}
"""The sign that the manifold hypothesis expects: robust networks have small, low-dimensional, separable manifolds."""

ALL, BETWEEN, WITHIN = "all networks", "between conditions", "within conditions"
_IDENTITY = ("condition", "seed", "subject", "robustness", "clean")
_TESTS = {
    ALL: "linear regression on clean accuracy and seed; t test, standard error from leaving out one condition at a time",
    BETWEEN: "linear regression of the conditions' means on clean accuracy; t test",
    WITHIN: "linear regression on clean accuracy, condition and seed; t test, standard error from leaving out one condition "
    "at a time",
}
_FEWEST = 5  # conditions, below which no scope has the degrees of freedom for an interval of a partial correlation


def regress_on_geometry(
    networks: pd.DataFrame, measures: Sequence[str] | None = None, *, confidence: float = 0.95
) -> pd.DataFrame:
    """Regress robustness on each measure of geometry, given clean accuracy, over networks and over conditions.

    Networks of one condition resemble one another, so a hundred networks of seventeen conditions are far fewer than a hundred
    independent ones. Three scopes answer three questions:

    - ``all networks``: do networks with more of the measure have more robustness, whatever the reason? Seeds (and subjects)
      are fixed effects, because the networks of one seed share their initial weights. The standard error comes from leaving
      out one condition at a time; t has conditions - 1 degrees of freedom.
    - ``between conditions``: the same for the means of conditions; n is the number of conditions. **This scope decides
      whether geometry goes with robustness across kinds of training**: its test is exact for normal errors.
    - ``within conditions``: do networks of one condition, which differ by chance alone, show the same relation? Condition and
      seed are fixed effects. **This scope decides whether geometry predicts more than which condition a network is from.**

    The usual standard error for clusters isn't used, because it calls unrelated measures related too often: in 7 to 16 % of
    simulated studies with 17 conditions of 6 seeds, and in 14 % with 6 conditions. In 2,000 simulated studies all three tests
    stayed at 3 to 6 %, and 95 % intervals held the true value in 94 to 97 %. Two things break this. If the networks of a few
    conditions vary four times as much as others, the test within conditions errs in 10 %. And if conditions are of one kind,
    such as three with adversarial training, what this kind does to geometry and robustness counts three times: the first two
    scopes then err in 40 %. Leave such a kind out and look again.

    None of this shows a cause: conditions were chosen, not drawn, and each changes more than geometry.

    Args:
        networks: One row per network: ``condition``, ``seed``, optionally ``subject``, ``robustness`` (accuracy averaged over
            attack budgets above 0, 0 to 1), ``clean`` (accuracy without attack, 0 to 1), and a column per measure.
        measures: Names of the measures' columns; None takes all other columns that hold numbers.
        confidence: Confidence of the intervals, above 0.5 and below 1.

    Returns:
        A row per measure and scope: ``measure``, ``expected`` (the sign by the manifold hypothesis, ``"+"`` or ``"-"``; empty
        for other measures), ``scope``, ``n``, ``unit`` (what ``n`` counts), ``conditions`` (their number), ``df``, ``slope``
        (change of robustness per standard deviation of the measure, both as the scope sees them), its interval ``low`` and
        ``high``, ``p`` (two-sided), ``p_holm`` (Holm's correction over the rows of one scope), ``partial_r`` (correlation
        given clean accuracy and the fixed effects) with ``partial_low`` and ``partial_high``, ``r`` (without clean accuracy),
        ``test`` (in words) and ``note``: why a row has no numbers, what was left out, and which condition alone makes the
        difference between p below and above 0.05.

    Raises:
        ValueError: If columns are missing or hold no numbers, a network occurs twice, or accuracy is missing or not finite.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> clean, capacity = rng.uniform(0.6, 0.9, 24), rng.uniform(0.1, 0.3, 24)
        >>> networks = pd.DataFrame(
        ...     {
        ...         "condition": np.repeat(list("abcdefgh"), 3),
        ...         "seed": [0, 1, 2] * 8,
        ...         "clean": clean,
        ...         "capacity": capacity,
        ...         "robustness": clean / 2 + capacity + rng.normal(0, 0.01, 24),
        ...     }
        ... )
        >>> found = regress_on_geometry(networks)
        >>> found[["scope", "n", "df"]].values.tolist()
        [['all networks', 24, 7], ['between conditions', 8, 5], ['within conditions', 24, 7]]
        >>> bool((found["partial_r"] > 0.9).all())
        True

    Source:
        Standard error without one condition (CV3): Bell & McCaffrey 2002, Survey Methodology 28:169-181; MacKinnon, Nielsen
        & Webb 2023, Journal of Econometrics 232:272-299. Interval of a partial correlation: Fisher 1924, Metron 3:329-332.
        Holm 1979, Scandinavian Journal of Statistics 6:65-70.
    """
    if not 0.5 < confidence < 1:
        raise ValueError(f"confidence must be above 0.5 and below 1, such as 0.95; got {confidence}")
    return with_holm(regressions(networks, measures, confidence))


def regressions(networks: pd.DataFrame, measures: Sequence[str] | None, confidence: float) -> pd.DataFrame:
    """The rows of :func:`regress_on_geometry` without ``p_holm``, so that tables of several layers are corrected as one."""
    rows, names = _checked(networks, measures)
    found = [_row(rows, name, scope, confidence) for name in names for scope in _TESTS]
    columns = [
        "measure", "expected", "scope", "n", "unit", "conditions", "df", "slope", "low", "high", "p", "p_holm", "partial_r",
        "partial_low", "partial_high", "r", "test", "note",
    ]  # fmt: skip
    return pd.DataFrame(found, columns=columns)


def with_holm(table: pd.DataFrame) -> pd.DataFrame:
    """The same rows with ``p_holm``: Holm's correction over all rows of one scope that have a p value."""
    found = table.assign(p_holm=np.nan)
    for _, group in table[table["p"].notna()].groupby("scope", sort=False):
        found.loc[group.index, "p_holm"] = corrected_p(group["p"].to_numpy(float))
    return found


def _row(rows: pd.DataFrame, measure: str, scope: str, confidence: float) -> dict[str, Any]:
    there = rows[np.isfinite(rows[measure])]
    notes = [f"{len(rows) - len(there)} networks without this measure are left out"] if len(there) < len(rows) else []
    if scope == BETWEEN:
        there = there.groupby("condition", sort=False)[["robustness", "clean", measure]].mean().reset_index()
    number = there["condition"].nunique()
    row: dict[str, Any] = {"measure": measure, "expected": EXPECTED.get(measure, ""), "scope": scope, "n": len(there),
           "unit": "condition" if scope == BETWEEN else "network", "conditions": number, "test": _TESTS[scope]}  # fmt: skip
    if number < _FEWEST:
        return row | {"note": "; ".join([*notes, f"not computed: {number} conditions, at least {_FEWEST} are needed"])}
    design = _design(there, measure, scope)
    if problem := _problem(design, scope):
        return row | {"note": "; ".join([*notes, f"not computed: {problem}"])}
    numbers = design.by_means(confidence) if scope == BETWEEN else design.by_leaving_out(confidence)
    if numbers is None:
        return row | {"note": "; ".join([*notes, "not computed: the measure varies in one condition alone"])}
    if design.given.shape == design.fixed.shape:
        notes.append("clean accuracy is constant, so it explains nothing")
    if scope == BETWEEN:
        notes += rests_on(design, float(numbers["p"]))
    return {**row, **numbers, "r": design.without_clean(), "note": "; ".join(notes)}


def _design(rows: pd.DataFrame, measure: str, scope: str) -> Regression:
    effects = {ALL: ["seed", "subject"], BETWEEN: [], WITHIN: ["condition", "seed", "subject"]}[scope]
    dummies = [pd.get_dummies(rows[name], dtype=float, drop_first=True).to_numpy() for name in effects]
    x, y, clean = (rows[name].to_numpy(float) for name in (measure, "robustness", "clean"))
    return Regression(x, y, clean, np.column_stack([np.ones(len(rows)), *dummies]), rows["condition"].to_numpy())


def _problem(design: Regression, scope: str) -> str:
    where = {ALL: "over the networks", BETWEEN: "between conditions", WITHIN: "within conditions"}[scope]
    if vanishes(residuals(design.x, design.fixed), design.x):
        return f"the measure is constant {where}"
    if vanishes(residuals(design.y, design.fixed), design.y):
        return f"robustness is constant {where}"
    if vanishes(residuals(design.x, design.given), design.x):
        return "the measure is a linear function of clean accuracy"
    if vanishes(residuals(design.y, design.given), design.y):
        return "robustness is a linear function of clean accuracy"
    columns = np.linalg.matrix_rank(np.column_stack([design.given, design.x]))
    return "" if len(design.x) - columns >= 2 else f"{len(design.x)} rows are too few for {columns} coefficients"


def _checked(networks: pd.DataFrame, measures: Sequence[str] | None) -> tuple[pd.DataFrame, list[str]]:
    needed = ["condition", "seed", "robustness", "clean"]
    if missing := [name for name in [*needed, *(measures or ())] if name not in networks]:
        raise ValueError(f"one row per network is needed, with {', '.join(needed)} and a column per measure; "
                         f"{', '.join(map(repr, missing))} is missing")  # fmt: skip
    if measures is None:
        others = networks.drop(columns=[name for name in _IDENTITY if name in networks])
        measures = [str(name) for name in others.select_dtypes("number")]
    if not measures:
        raise ValueError("there is no measure of geometry: add a column of numbers for each")
    rows = networks.reset_index(drop=True)
    rows = rows.assign(subject=rows["subject"].fillna("").astype(str) if "subject" in rows else "")
    if rows["condition"].isna().any() or rows["seed"].isna().any():
        raise ValueError("condition and seed must be given in every row")
    if (twice := rows.duplicated(["condition", "subject", "seed"])).any():
        first = rows[twice].iloc[0]
        raise ValueError(
            f"condition '{first['condition']}', seed {first['seed']} occurs twice: give one row per network"
        )
    for name in ("robustness", "clean", *measures):
        try:
            rows[name] = rows[name].astype(float)
        except (TypeError, ValueError):
            raise ValueError(f"{name!r} must hold numbers") from None
    for name in ("robustness", "clean"):
        if not np.isfinite(rows[name]).all():
            raise ValueError(f"{name!r} is missing or not finite in {int((~np.isfinite(rows[name])).sum())} rows")
    return rows, list(measures)
