"""Holm's correction of p values for their number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from neuroalign.evaluation.comparison_result import Comparison

__all__ = ["holm"]


def holm(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """Correct the p values of comparisons for their number, so that 5 % holds for the chance of any false one among them.

    The family is all comparisons given that decide (those of several replications); the others come back as they were. The
    tests of equivalence are a family of their own. Intervals stay what they are: each is of its comparison alone.

    Holm's correction holds whatever the dependence between comparisons, such as one treatment in all of them.

    Args:
        comparisons: From :func:`neuroalign.evaluation.compare`, all that are reported together.

    Returns:
        The same comparisons in their order, with ``Comparison.p_holm`` and ``Comparison.p_equivalence_holm``.

    Raises:
        ValueError: If a comparison has no p value, because it wasn't made by ``compare``.

    Example:
        >>> import pandas as pd
        >>> from neuroalign.evaluation import compare
        >>> rng = np.random.default_rng(1)
        >>> rates = {"V4": 0.8, "V1": 0.5, "none": 0.5}
        >>> table = pd.concat(
        ...     pd.DataFrame(
        ...         {
        ...             "condition": c,
        ...             "replication": r,
        ...             "eps": 0.1,
        ...             "stimulus": range(200),
        ...             "correct": rng.random(200) < p,
        ...         }
        ...     )
        ...     for c, p in rates.items()
        ...     for r in range(4)
        ... )
        >>> corrected = holm([compare(table, "V4", "none"), compare(table, "V1", "none")])
        >>> [each.outcome for each in corrected]
        ['higher', 'undecided']
        >>> corrected[0].p_holm == 2 * corrected[0].p_value
        True

    Source:
        Holm 1979, Scandinavian Journal of Statistics 6:65-70.
    """
    for each in comparisons:
        if each.decides and np.isnan(each.p_value):
            raise ValueError(
                f"{each.treatment} - {each.control} has no p value: make it with neuroalign.evaluation.compare"
            )
    differences = corrected_p([each.p_value for each in comparisons])
    equivalences = corrected_p([np.nan if each.p_equivalence is None else each.p_equivalence for each in comparisons])
    num_tests, num_equivalence = (int((~np.isnan(p)).sum()) for p in (differences, equivalences))
    corrected = []
    for each, p, p_equivalence in zip(comparisons, differences, equivalences):
        if not np.isnan(p):
            each = replace(each, p_holm=float(p), num_tests=num_tests)
        if not np.isnan(p_equivalence):
            each = replace(each, p_equivalence_holm=float(p_equivalence), num_equivalence_tests=num_equivalence)
        corrected.append(each)
    return corrected


def corrected_p(p_values: Sequence[float] | np.ndarray) -> np.ndarray:
    """The p values after Holm's correction: (test,); NaN is no test, stays NaN and doesn't count.

    Example:
        >>> corrected_p([0.01, float("nan"), 0.04, 0.03]).round(2).tolist()
        [0.03, nan, 0.06, 0.06]
    """
    from statsmodels.stats.multitest import multipletests

    p = np.asarray(p_values, dtype=float)
    tested = ~np.isnan(p)
    corrected = np.full(len(p), np.nan)
    if tested.any():
        corrected[tested] = multipletests(p[tested], method="holm")[1]
    return corrected
