"""The difference between two conditions' outcomes, over budgets and at each budget, with its interval."""

from __future__ import annotations

import numpy as np
import pandas as pd

from neuroalign.evaluation.paired_outcomes import PairedOutcomes
from neuroalign.evaluation.result_table import result_table
from neuroalign.evaluation.variance_components import MeanVariance, mean_variance
from neuroalign.functional.intervals import tango

__all__: list[str] = []


def mean_difference(
    first: np.ndarray, second: np.ndarray, outcomes: PairedOutcomes, classes: np.ndarray | None
) -> tuple[float, MeanVariance]:
    """Mean over subjects of the mean over their replications of the mean over images, and its variance."""
    if not outcomes.paired:
        difference = float(np.nanmean(first, 1).mean() - np.nanmean(second, 1).mean())
        return difference, mean_variance(first, second, classes=classes)
    difference = float(by_unit(first - second, outcomes.subjects).mean())
    variance = mean_variance(
        first - second, subjects=outcomes.subjects, replications=outcomes.replications, classes=classes
    )
    return difference, variance


def interval_of(
    first: np.ndarray, second: np.ndarray, difference: float, variance: MeanVariance, confidence: float, binary: bool
) -> tuple[float, float]:
    """The interval over units and images; for one pair of networks and one budget (``binary``) the score interval."""
    if len(first) == len(second) == 1 and binary:
        return tango(*_discordant(first, second), first.shape[1], confidence)
    return around(difference, variance.half_width(confidence))


def around(difference: float, half_width: float) -> tuple[float, float]:
    """The interval around a difference of accuracies, cut at -1 and 1."""
    return float(max(difference - half_width, -1.0)), float(min(difference + half_width, 1.0))


def _discordant(first: np.ndarray, second: np.ndarray) -> tuple[int, int]:
    return int((first > second).sum()), int((first < second).sum())


def num_positive(first: np.ndarray, second: np.ndarray, outcomes: PairedOutcomes) -> int | None:
    """Number of units in which the first was higher; None if the units of the two are not paired."""
    if not outcomes.paired:
        return None
    return int((by_unit(first - second, outcomes.subjects) > 0).sum())


def comparison_table(outcomes: PairedOutcomes, classes: np.ndarray | None, confidence: float) -> pd.DataFrame:
    """One row per perturbation and budget; see the ``table`` of :class:`neuroalign.evaluation.Comparison`."""
    from scipy.stats import binomtest

    rows = []
    single = len(outcomes.first) == len(outcomes.second) == 1
    for k in range(len(outcomes.keys)):
        a, b = outcomes.first[:, :, k], outcomes.second[:, :, k]
        difference, variance = mean_difference(a, b, outcomes, classes)
        low, high = interval_of(a, b, difference, variance, confidence, classes is None)
        accuracy, other = (float(by_unit(x, outcomes.subjects).mean()) for x in (a, b))
        row = {"accuracy": accuracy, "other_accuracy": other, "difference": difference, "low": low, "high": high}
        if outcomes.paired or single:
            only_first, only_second = _discordant(a, b)
            discordant = only_first + only_second
            p_value = binomtest(only_first, discordant).pvalue if discordant else 1.0
            row |= {"only_first": only_first, "only_second": only_second, "p_value": p_value if single else np.nan}
        else:
            row |= {"only_first": np.nan, "only_second": np.nan, "p_value": np.nan}
        rows.append(row | {"num_images": len(outcomes.stimuli), "num_replications": outcomes.num_replications})
    first = [*map(str, outcomes.keys), "difference", "low", "high", "p_value"]
    return result_table(pd.concat([outcomes.keys, pd.DataFrame(rows)], axis=1), first)


def by_unit(values: np.ndarray, subjects: np.ndarray | None) -> np.ndarray:
    """Mean over images, and over the rows of a subject if there are subjects: (unit,)."""
    by_row = np.nanmean(values, axis=1)
    return by_row if subjects is None else np.array([by_row[subjects == s].mean() for s in np.unique(subjects)])
