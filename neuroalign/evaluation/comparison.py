"""The difference between two conditions from per-image outcomes, with an interval over seeds, subjects and images."""

from __future__ import annotations

import warnings
from typing import overload

import numpy as np
import pandas as pd

from neuroalign.evaluation.comparison_result import Comparison
from neuroalign.evaluation.curve import RobustnessCurve
from neuroalign.evaluation.difference import around, comparison_table, interval_of, mean_difference, num_positive
from neuroalign.evaluation.paired_outcomes import class_of, paired_outcomes

__all__ = ["PairedComparison", "compare", "compare_paired", "mean_over_eps"]


def mean_over_eps(images: pd.DataFrame) -> pd.DataFrame:
    """Robust accuracy averaged over budgets above 0, one row per condition and replication.

    Args:
        images: One row per image and budget: ``condition``, ``replication``, ``eps``, ``stimulus``, ``correct``.
    """
    attacked = images[images["eps"] > 0]
    return attacked.groupby(["condition", "replication"], sort=False)["correct"].mean().rename("accuracy").reset_index()


@overload
def compare(
    images: pd.DataFrame, treatment: str, /, control: str, *, equivalence: float | None = None, confidence: float = 0.95,
    paired_replications: bool = True, labels: pd.Series | None = None, seed: int | None = None,
) -> Comparison: ...  # fmt: skip
@overload
def compare(
    first: pd.DataFrame | RobustnessCurve, second: pd.DataFrame | RobustnessCurve, /, *,
    names: tuple[str, str] | None = None, equivalence: float | None = None, confidence: float = 0.95,
    paired_replications: bool = True, labels: pd.Series | None = None, seed: int | None = None,
) -> Comparison: ...  # fmt: skip
def compare(
    first: pd.DataFrame | RobustnessCurve,
    second: str | pd.DataFrame | RobustnessCurve,
    /,
    control: str | None = None,
    *,
    names: tuple[str, str] | None = None,
    equivalence: float | None = None,
    confidence: float = 0.95,
    paired_replications: bool = True,
    labels: pd.Series | None = None,
    seed: int | None = None,
) -> Comparison:
    """Compare two conditions: the mean difference over attacks and budgets, and a table with each of them.

    Call it as ``compare(images, "treatment", "control")`` with one table of all conditions, or as ``compare(first, second)``
    with a curve or table per network. Images are paired by ``stimulus``, trainings by ``replication`` and ``subject``.

    The interval is over other trainings **and** other images. Its squared half length is the sum of two variances, each
    times the square of its own quantile of Student's t: the variance of the replications' means divided by their number
    (replications - 1 degrees of freedom), and the variance that comes from their common images (images - 1). It holds if all
    replications share their images, if each has other images, and in between. With several subjects, the first variance is
    that of the subjects' means, and replications that subjects share (for example one control for all) count like common
    images. The interval is never shorter than the interval over images alone. With two replications it is long: the quantile
    is then 12.7. The p value is the dual of the interval: 1 - the confidence at which it just touches 0.

    With one replication (or curve) the interval is over images alone, and nothing is decided. For one budget it is then
    Tango's score interval; for a mean over budgets it is a t interval with two more images, one in favour of each network,
    so that its length isn't 0 if the two are right on the same images.

    Args:
        first: A table with one row per image, as from :func:`per_image_robustness`: ``eps``, ``stimulus``, ``correct`` (0 or
            1), and, if there are several, ``perturbation``, ``condition``, ``replication``, ``subject``. Or a curve. A
            perturbation without a budget has eps NaN.
        second: Name of the treatment in ``condition``, or the table or curve of the network that is subtracted.
        control: Name of the control in ``condition``; None with two tables.
        names: Names of the two networks if two tables or curves are given; None means their ``condition``, or "first" and
            "second".
        equivalence: Largest difference that counts as equal, above 0: see :attr:`Comparison.equivalent`.
        confidence: Confidence of the intervals, above 0.5 and below 1.
        paired_replications: Whether replications of the same number belong together (the same split, predictor or initial
            weights). False: the two conditions' replications are independent samples, perhaps of different size.
        labels: Class of each stimulus (the index): images are then a sample within each class. None ignores classes.
        seed: Not used any more, because nothing is drawn.

    Raises:
        ValueError: If a column or condition is missing, or the two hold different images, replications, perturbations or
            budgets.

    Example:
        >>> table = pd.DataFrame(
        ...     {
        ...         "condition": ["a"] * 6 + ["b"] * 6,
        ...         "replication": [0, 0, 0, 1, 1, 1] * 2,
        ...         "eps": 0.1,
        ...         "stimulus": [0, 1, 2] * 4,
        ...         "correct": [1, 1, 1, 1, 1, 0, 1, 0, 0, 1, 0, 0],
        ...     }
        ... )
        >>> found = compare(table, "a", "b")
        >>> found.difference, found.unit, found.df, found.outcome
        (0.5, 'replication', 1, 'undecided')
        >>> once = table[table["replication"] == 0]
        >>> a, b = (once[once["condition"] == condition] for condition in "ab")
        >>> compare(a, b).table[["only_first", "only_second", "p_value"]].values.tolist()
        [[2.0, 0.0, 0.5]]

    Source:
        Obuchowski & Rockette 1995, Communications in Statistics 24:285-308; Banerjee 1960, Sankhya 22; Tango 1998,
        Statistics in Medicine 17:891-908; McNemar 1947, Psychometrika 12:153-157; Schuirmann 1987, J. Pharmacokinetics and
        Biopharmaceutics 15:657-680.
    """
    if seed is not None:
        warnings.warn("seed isn't used any more: intervals are computed, not drawn", DeprecationWarning, stacklevel=2)
    if not 0.5 < confidence < 1:
        raise ValueError(f"confidence must be above 0.5 and below 1, such as 0.95; got {confidence}")
    if equivalence is not None and not equivalence > 0:
        raise ValueError(f"equivalence must be the largest difference that counts as equal, above 0; got {equivalence}")
    outcomes = paired_outcomes(first, second, control, names=names, paired_replications=paired_replications)
    classes = None if labels is None else class_of(labels, outcomes.stimuli)
    attacked = outcomes.attacked
    a, b = outcomes.first[:, :, attacked].mean(2), outcomes.second[:, :, attacked].mean(2)
    binary = int(attacked.sum()) == 1
    difference, variance = mean_difference(a, b, outcomes, classes)
    low, high = interval_of(a, b, difference, variance, confidence, binary and labels is None)
    return Comparison(
        *outcomes.names,
        difference,
        low,
        high,
        num_positive=num_positive(a, b, outcomes),
        num_replications=outcomes.num_replications,
        num_images=len(outcomes.stimuli),
        num_subjects=1 if outcomes.subjects is None else len(np.unique(outcomes.subjects)),
        confidence=confidence,
        standard_error=variance.total**0.5,
        df=variance.df,
        over_units=around(difference, variance.half_width_over_units(confidence)) if variance.units else None,
        over_images=around(difference, variance.half_width_over_images(confidence)) if variance.units else (low, high),
        within=interval_of(a, b, difference, variance, 2 * confidence - 1, binary and labels is None),
        equivalence=equivalence,
        variance=variance,
        table=comparison_table(outcomes, classes, confidence),
    )


PairedComparison = Comparison
"""The former name of :class:`Comparison`."""


def compare_paired(
    first: pd.DataFrame | RobustnessCurve,
    second: pd.DataFrame | RobustnessCurve,
    *,
    labels: pd.Series | None = None,
    num_resamples: int | None = None,
    seed: int | None = None,
) -> Comparison:
    """``compare(first, second, labels=labels)``, with a warning; ``num_resamples`` and ``seed`` are not used any more."""
    warnings.warn(
        "compare_paired is compare(first, second) now: its intervals are computed, not drawn",
        DeprecationWarning,
        stacklevel=2,
    )
    return compare(first, second, labels=labels)
