"""Whether accuracy rises along an ordered list of regions: Page's test, and the slope with an interval."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import factorial, nan

import numpy as np
import pandas as pd

from neuroalign.evaluation.curve import RobustnessCurve
from neuroalign.evaluation.difference import by_unit
from neuroalign.evaluation.region_outcomes import RegionOutcomes, region_outcomes
from neuroalign.evaluation.variance_components import mean_variance

__all__ = ["Trend", "trend_test"]


@dataclass(frozen=True)
class Trend:
    """Accuracy along an ordered list of regions, averaged over budgets; one step leads from a region to the next.

    Page's test asks whether the order of accuracies follows the order of the regions in more units than chance gives, on the
    images that were tested. The interval of ``effect`` is over other units and other images.

    Attributes:
        regions: Names of the regions, in the order in which accuracy is expected to rise.
        means: Mean accuracy of each region, 0 to 1; minus that of the control, -1 to 1, if one was subtracted.
        statistic: Page's L: the sum over regions of place times sum of ranks.
        p_value: One-sided p of Page's test; with two regions, that of the sign test. NaN with one replication.
        rho: Mean over units of Spearman's correlation between accuracy and place, -1 to 1: linear in L.
        effect: Accuracy per step: the slope on place, averaged over units.
        low: Lower end of the interval of ``effect`` over other units and images; over images alone with one unit.
        high: Upper end.
        effect_p: Two-sided p of ``effect``, the dual of its interval. NaN with one replication.
        num_units: Number of subjects if there are several, else of replications.
        num_replications: Number of distinct replications.
        num_images: Number of distinct images.
        num_subjects: Number of distinct subjects.
        subtracted: Whether a control was subtracted, image by image.
        left_out: Number of (subject, replication) without some of the regions, which count in nothing.
        exact: Whether p is exact, as for few units; else from the normal approximation.
        confidence: Confidence of the interval.
        table: Accuracy of each network: ``subject``, ``replication``, ``region``, ``step`` (from 1), ``accuracy``.
    """

    regions: tuple[str, ...]
    means: tuple[float, ...]
    statistic: float
    p_value: float
    rho: float
    effect: float
    low: float
    high: float
    effect_p: float
    num_units: int
    num_replications: int
    num_images: int
    num_subjects: int = 1
    subtracted: bool = False
    left_out: int = 0
    exact: bool = True
    confidence: float = 0.95
    table: pd.DataFrame = field(default_factory=pd.DataFrame, repr=False, compare=False)

    @property
    def unit(self) -> str:
        """The unit that the conclusion generalises over: "subject" if there are several, else "replication"."""
        return "subject" if self.num_subjects > 1 else "replication"

    @property
    def decides(self) -> bool:
        """Whether there are several replications: one says nothing about others."""
        return self.num_replications > 1

    @property
    def smallest_p(self) -> float:
        """The p of units that all have the regions' order: no result of so few units can be below it."""
        return factorial(len(self.regions)) ** -float(self.num_units) if self.decides else nan

    @property
    def outcome(self) -> str:
        """The result: "rises" if Page's test and the interval show it, "falls" if the interval does, else "undecided".

        With one replication it is always "undecided".
        """
        if self.decides and self.p_value < 1 - self.confidence and self.low > 0:
            return "rises"
        return "falls" if self.decides and self.high < 0 else "undecided"

    @property
    def test(self) -> str:
        """The test in words: which, over what, and what was left out."""
        if not self.decides:
            return "none: one replication decides nothing"
        name = (
            "sign test"
            if len(self.regions) == 2
            else f"Page's test ({'exact' if self.exact else 'normal approximation'})"
        )
        text = f"{name}, one-sided, over {self.num_units} {self.unit}s"
        return f"{text}; {self.left_out} left out, where a region is missing" if self.left_out else text

    def __str__(self) -> str:
        text = f"{' < '.join(self.regions)}: {self.effect:+.3f} per step [{self.low:+.3f}, {self.high:+.3f}]"
        return f"{text}, L = {self.statistic:g}, p = {self.p_value:.2g} ({self.test})" if self.decides else text


def trend_test(
    regions: Mapping[str, pd.DataFrame | RobustnessCurve],
    /,
    control: Mapping[str, pd.DataFrame | RobustnessCurve] | None = None,
    *,
    confidence: float = 0.95,
) -> Trend:
    """Test whether accuracy rises along regions, in the order given.

    The unit is the subject if there are several, else the replication. Each unit ranks its regions by accuracy, averaged over
    images, budgets above 0 and (for subjects) replications; ties share their mean rank. Page's L weighs the ranks by the
    regions' places. Two regions leave a sign test, in which ties count as nothing. What every region gains alike, such as a
    lucky split, changes no rank.

    The slope of accuracy on place is a linear contrast of each image's outcomes, so its interval is that of
    :func:`neuroalign.evaluation.compare`: over units and images. With two regions it is the interval of their difference.

    Args:
        regions: By region, in the order of the hierarchy, a table as for :func:`neuroalign.evaluation.compare`: ``eps``,
            ``stimulus``, ``correct`` and, if there are several, ``perturbation``, ``replication``, ``subject``. Or a curve.
        control: The same for a control of the same regions, which is subtracted image by image; None subtracts nothing.
        confidence: Confidence of the interval, above 0.5 and below 1.

    Raises:
        ValueError: If there are fewer than two regions, control and treatment have different ones, no replication has all of
            them, or the tables don't fit each other.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> tables = {
        ...     region: pd.DataFrame(
        ...         {
        ...             "replication": np.repeat(range(4), 100),
        ...             "eps": 0.1,
        ...             "stimulus": np.tile(range(100), 4),
        ...             "correct": rng.random(400) < rate,
        ...         }
        ...     )
        ...     for region, rate in {"V1": 0.3, "V4": 0.5, "TO": 0.7}.items()
        ... }
        >>> found = trend_test(tables)
        >>> found.statistic, found.rho, found.outcome, found.p_value == found.smallest_p
        (56.0, 1.0, 'rises', True)

    Source:
        Page 1963, Journal of the American Statistical Association 58:216-230 (L, and rho as its linear function).
    """
    if not 0.5 < confidence < 1:
        raise ValueError(f"confidence must be above 0.5 and below 1, such as 0.95; got {confidence}")
    found = region_outcomes(regions, control)
    by_region = np.stack([by_unit(each, found.subjects) for each in found.outcomes], axis=1)
    num_replications = len(np.unique(found.replications))
    statistic, p, exact = _page(by_region)
    effect, half_width, effect_p = _slope(found, confidence)
    return Trend(
        regions=tuple(regions),
        means=tuple(float(mean) for mean in by_region.mean(0)),
        statistic=statistic,
        p_value=p if num_replications > 1 else nan,
        rho=_rho(statistic, *by_region.shape),
        effect=effect,
        low=effect - half_width,
        high=effect + half_width,
        effect_p=effect_p if num_replications > 1 else nan,
        num_units=len(by_region),
        num_replications=num_replications,
        num_images=found.outcomes.shape[2],
        num_subjects=1 if found.subjects is None else len(np.unique(found.subjects)),
        subtracted=control is not None,
        left_out=found.left_out,
        exact=exact,
        confidence=confidence,
        table=_accuracy_table(found, tuple(regions)),
    )


def _page(accuracy: np.ndarray) -> tuple[float, float, bool]:
    """Page's L of accuracies (unit, region), its one-sided p, and whether p is exact."""
    from scipy.stats import binomtest, page_trend_test, rankdata

    accuracy = accuracy.round(12)  # so that means of the same outcomes, added in another order, are ties
    ranks = rankdata(accuracy, axis=1)
    num_units, num_regions = ranks.shape
    statistic = float(ranks.sum(0) @ np.arange(1, num_regions + 1))
    if num_units < 2:
        return statistic, nan, True
    if num_regions == 2:
        steps = np.sign(accuracy[:, 1] - accuracy[:, 0])
        up, untied = int((steps > 0).sum()), int((steps != 0).sum())
        return statistic, float(binomtest(up, untied, alternative="greater").pvalue) if untied else 1.0, True
    result = page_trend_test(accuracy)
    return statistic, float(result.pvalue), result.method == "exact"


def _rho(statistic: float, num_units: int, num_regions: int) -> float:
    k = num_regions
    return 12 * statistic / (num_units * k * (k**2 - 1)) - 3 * (k + 1) / (k - 1)


def _slope(found: RegionOutcomes, confidence: float) -> tuple[float, float, float]:
    """Accuracy per step, half the length of its interval, and its p."""
    weights = np.arange(len(found.outcomes)) - (len(found.outcomes) - 1) / 2
    weights /= weights @ weights
    # Scaled to -1 to 1, the range of a difference: mean_variance adds an image at either end of it.
    largest = np.abs(weights).sum() / (1 if found.subtracted else 2)
    contrast = np.tensordot(weights, found.outcomes, axes=1) / largest
    variance = mean_variance(contrast, subjects=found.subjects, replications=found.replications)
    effect = float(by_unit(contrast, found.subjects).mean())
    return effect * largest, variance.half_width(confidence) * largest, variance.p_value(effect)


def _accuracy_table(found: RegionOutcomes, regions: tuple[str, ...]) -> pd.DataFrame:
    subjects = np.full(len(found.replications), "") if found.subjects is None else found.subjects
    parts = [
        pd.DataFrame({
            "subject": subjects, "replication": found.replications, "region": region, "step": step,
            "accuracy": np.nanmean(outcomes, axis=1),
        })
        for step, (region, outcomes) in enumerate(zip(regions, found.outcomes), start=1)
    ]  # fmt: skip
    return pd.concat(parts, ignore_index=True)
