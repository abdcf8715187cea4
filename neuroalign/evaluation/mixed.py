"""A mixed model of accuracy along regions, with subjects as random effects."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from math import nan
from typing import Any

import numpy as np
import pandas as pd

__all__ = ["MixedTrend", "mixed_trend"]


@dataclass(frozen=True)
class MixedTrend:
    """Accuracy per step of the regions, over a population of subjects.

    Attributes:
        effect: Accuracy per step: the fixed slope.
        low: Lower end of its interval over other subjects, by t with subjects - 1 degrees of freedom.
        high: Upper end.
        p_value: Two-sided p of no slope, by the same t.
        num_subjects: Number of subjects.
        note: What the fit has to be read with, such as that it is singular; empty if nothing.
        confidence: Confidence of the interval.
    """

    effect: float
    low: float
    high: float
    p_value: float
    num_subjects: int
    note: str = ""
    confidence: float = 0.95


def mixed_trend(table: pd.DataFrame, *, confidence: float = 0.95) -> MixedTrend:
    """Fit accuracy ~ step + seed by restricted maximum likelihood, with a random intercept and step by subject.

    Wald's z takes the variance between subjects as known, and is far too liberal with few of them. So the interval and p are
    by Student's t with subjects - 1 degrees of freedom, which is exact for a balanced table whose variances lie above 0.
    Images are no part of the model: it says nothing about other images.

    A fit in which a variance between subjects ends at 0 (singular) is common with few subjects. It is said in ``note``, and
    the interval is then longer than that of the subjects' own slopes. If the slope's variance can't be separated from 0 at
    all, the random slope is left out, which is said too.

    Args:
        table: One row per network, as the ``table`` of :class:`neuroalign.evaluation.Trend`: ``subject``, ``replication``,
            ``step``, ``accuracy``.
        confidence: Confidence of the interval, above 0 and below 1.

    Raises:
        ValueError: If a column is missing, or there are fewer than two subjects or steps, or rows without an accuracy.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> lines = rng.normal([0.3, 0.05], [0.05, 0.02], (6, 2))
        >>> rows = [
        ...     (subject, replication, step, level + slope * step + rng.normal(0, 0.01))
        ...     for subject, (level, slope) in enumerate(lines)
        ...     for replication in range(3)
        ...     for step in (1, 2, 3)
        ... ]
        >>> columns = ["subject", "replication", "step", "accuracy"]
        >>> found = mixed_trend(pd.DataFrame(rows, columns=columns))
        >>> round(found.effect, 2), found.p_value < 0.05, found.num_subjects, found.note
        (0.05, True, 6, '')

    Source:
        Laird & Ware 1982, Biometrics 38:963-974; degrees of freedom as in Pinheiro & Bates 2000, Mixed-Effects Models in S
        and S-PLUS, section 2.4.
    """
    from scipy.stats import t

    _check(table, confidence)
    accuracy = table["accuracy"].to_numpy(float)
    num_subjects = int(table["subject"].nunique())
    # Variances of accuracies are near 1e-4, where the optimiser takes every fit for one at the boundary.
    scale = float(accuracy.std()) or 1.0
    slope, error, note = _fit(table, accuracy / scale)
    df = num_subjects - 1
    half_width = float(t.ppf((1 + confidence) / 2, df)) * error * scale
    effect = slope * scale
    p = float(2 * t.sf(abs(slope / error), df)) if error > 0 else nan
    return MixedTrend(effect, effect - half_width, effect + half_width, p, num_subjects, note, confidence)


def _check(table: pd.DataFrame, confidence: float) -> None:
    missing = {"subject", "replication", "step", "accuracy"} - set(table)
    if missing:
        raise ValueError(f"one row per network is needed, as in Trend.table; {', '.join(sorted(missing))} is missing")
    for column, what in (("subject", "subjects"), ("step", "steps")):
        if table[column].nunique() < 2:
            raise ValueError(
                f"a mixed model over subjects needs at least two {what}; got {list(table[column].unique())}"
            )
    if table["accuracy"].isna().any():
        raise ValueError(f"'accuracy' is missing in {int(table['accuracy'].isna().sum())} rows")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must be above 0 and below 1, such as 0.95; got {confidence}")


def _fit(table: pd.DataFrame, values: np.ndarray) -> tuple[float, float, str]:
    """Slope on step, its standard error, and a note; without a random slope if its variance is exactly 0."""
    step = table["step"].to_numpy(float)
    step -= step.mean()
    seeds = pd.get_dummies(table["replication"].astype(str), drop_first=True).to_numpy(float)
    fixed = np.column_stack([np.ones(len(step)), step, seeds])
    intercept = np.ones((len(step), 1))
    note = ""
    for random in (np.column_stack([intercept, step]), intercept):
        try:
            slope, error, warned = _reml(values, fixed, table["subject"].astype(str).to_numpy(), random)
        except np.linalg.LinAlgError as failure:
            slope, error, warned = nan, nan, str(failure)
        if np.isfinite(error) and error > 0:
            return slope, error, "; ".join(each for each in (note, warned) if each)
        note = "singular fit: no slope's variance between subjects was found, so the random slope is left out"
    return slope, nan, f"the model could not be fitted ({warned})" if warned else "the model could not be fitted"


def _reml(values: np.ndarray, fixed: np.ndarray, subjects: np.ndarray, random: np.ndarray) -> tuple[float, float, str]:
    from statsmodels.regression.mixed_linear_model import MixedLM

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit = MixedLM(values, fixed, subjects, random).fit(reml=True, method=["lbfgs", "bfgs", "powell"])
        error = float(fit.bse_fe[1])
        smallest = float(np.linalg.eigvalsh(fit.cov_re).min() / fit.scale)
    return float(fit.fe_params[1]), error, _note(fit, smallest, (str(each.message) for each in caught))


def _note(fit: Any, smallest: float, messages: Iterable[str]) -> str:
    """What a fit has to be read with: its smallest variance between subjects, and what statsmodels warned of."""
    # Where another optimiser succeeded, the failure of the first says nothing about the fit.
    passing = (
        "Retrying",
        "Maximum Likelihood optimization failed",
        "MixedLM optimization failed",
        "Gradient optimization",
    )
    kept = [text for text in dict.fromkeys(messages) if not (fit.converged and text.startswith(passing))]
    parts = [] if fit.converged else ["the fit did not converge"]
    if smallest < 1e-3 or kept:
        parts.append("singular fit: a variance between subjects is at or near 0")
    return "; ".join([*parts, *(f"statsmodels: {text}" for text in kept)])
