"""What a comparison of two conditions found: the difference, its interval, its tests, and what follows from them."""

from __future__ import annotations

from dataclasses import dataclass, field

import pandas as pd

from neuroalign.evaluation.variance_components import MeanVariance

__all__ = ["Comparison"]


@dataclass(frozen=True)
class Comparison:
    """The difference in accuracy between two conditions, averaged over budgets, replications and subjects.

    A replication is one training of each condition (a seed, with all that is drawn from it). The *unit* is what the
    conclusion generalises over: subjects if there are several, else replications. With one replication nothing is decided:
    the interval is then over images alone (and subjects, if there are several), and says nothing about other seeds.

    p values and intervals are of this comparison alone; :func:`neuroalign.evaluation.holm` corrects the p values of several.

    Attributes:
        treatment: Name of the condition.
        control: Name of the other condition.
        difference: Mean accuracy of the treatment minus that of the control, -1 to 1.
        low: Lower end of its interval: over other units and other images, or over other images alone if there is one unit.
        high: Upper end of its interval.
        num_positive: Number of units in which the treatment was higher; None if the units of the two are not paired.
        num_replications: Number of distinct replications; of the condition with fewer, if the two have different ones.
        num_images: Number of distinct images.
        num_subjects: Number of distinct subjects.
        confidence: Confidence of the intervals.
        standard_error: Standard error of the difference, over the same units and images as the interval.
        df: Degrees of freedom: units - 1, or those of images if there is one unit. The interval isn't the standard error
            times one quantile, but adds each part's variance times its own squared quantile.
        over_units: (low, high) over other units with the same images; None if there is one unit.
        over_images: (low, high) over other images with the same units.
        within: (low, high) at confidence 1 - 2 (1 - ``confidence``), which the test of equivalence uses: 90 % for 95 %.
        equivalence: Largest difference that counts as equal; None if none was given.
        p_holm: ``p_value`` after Holm's correction; None before it, and where one replication decides nothing.
        num_tests: Number of comparisons that were corrected together; None before the correction.
        p_equivalence_holm: ``p_equivalence`` after the correction over the tests of equivalence, a family of their own.
        num_equivalence_tests: Number of tests of equivalence that were corrected together.
        variance: Variance of the difference, in parts; None if only its numbers were given; it then has no p value.
        table: One row per perturbation and budget: ``perturbation``, ``eps``, ``difference``, its interval ``low`` and
            ``high``, ``p_value`` (exact McNemar test if there is one replication, else NaN; not corrected for the number of
            rows), ``accuracy``, ``other_accuracy``, ``only_first`` and ``only_second`` (images that one network alone gets
            right, summed over replications), ``num_images``, ``num_replications``.
    """

    treatment: str
    control: str
    difference: float
    low: float
    high: float
    num_positive: int | None
    num_replications: int
    num_images: int
    num_subjects: int = 1
    confidence: float = 0.95
    standard_error: float = float("nan")
    df: float = float("nan")
    over_units: tuple[float, float] | None = None
    over_images: tuple[float, float] | None = None
    within: tuple[float, float] | None = None
    equivalence: float | None = None
    table: pd.DataFrame = field(default_factory=pd.DataFrame, repr=False, compare=False)
    p_holm: float | None = None
    num_tests: int | None = None
    p_equivalence_holm: float | None = None
    num_equivalence_tests: int | None = None
    variance: MeanVariance | None = field(default=None, repr=False, compare=False)

    @property
    def unit(self) -> str:
        """The unit that the conclusion generalises over: "subject" if there are several, else "replication"."""
        return "subject" if self.num_subjects > 1 else "replication"

    @property
    def num_units(self) -> int:
        """Number of units: of subjects, or of replications."""
        return self.num_subjects if self.num_subjects > 1 else self.num_replications

    @property
    def interval_over(self) -> str:
        """A text of what the interval is over: "4 replications and 1000 images", or "1000 images of one replication"."""
        several = self.num_subjects > 1
        images = f"{self.num_images} image{'s' if self.num_images != 1 else ''}"
        if self.num_replications < 2:
            return f"{f'{self.num_subjects} subjects and ' if several else ''}{images} of one replication"
        return (
            f"{f'{self.num_subjects} subjects, ' if several else ''}{self.num_replications} replications and {images}"
        )

    @property
    def decides(self) -> bool:
        """Whether there are several replications: one says nothing about others, however many subjects it has."""
        return self.num_replications > 1

    @property
    def p_value(self) -> float:
        """Two-sided p of no difference over other units and images: below .05 exactly where the 95 % interval excludes 0.

        NaN with one replication, which decides nothing.
        """
        if not self.decides or self.variance is None:
            return float("nan")
        return self.variance.p_value(self.difference)

    @property
    def p_equivalence(self) -> float | None:
        """The larger p of two one-sided tests of a difference of at least ``equivalence``; None if that is not given.

        Below .05 exactly where the 90 % interval ``within`` lies inside the bound. NaN with one replication.
        """
        if self.equivalence is None:
            return None
        if not self.decides or self.variance is None:
            return float("nan")
        inside = self.equivalence - abs(self.difference)
        one_sided = self.variance.p_value(inside) / 2
        return one_sided if inside > 0 else 1 - one_sided

    @property
    def equivalent(self) -> bool | None:
        """Whether the two differ by less than ``equivalence`` (two one-sided tests); None if that is not given.

        Where the p values were corrected for the number of comparisons, the corrected one decides.
        """
        if self.equivalence is None:
            return None
        if self.p_equivalence_holm is not None:
            return self.decides and self.p_equivalence_holm < 1 - self.confidence
        if self.within is None:
            raise ValueError("equivalence needs the interval `within`, which compare computes")
        return self.decides and -self.equivalence < self.within[0] and self.within[1] < self.equivalence

    @property
    def excludes_zero(self) -> bool:
        """Whether the interval excludes 0, which is the test before any correction; False with one replication."""
        return self.decides and (self.low > 0 or self.high < 0)

    @property
    def lost_to_correction(self) -> bool:
        """Whether the interval excludes 0, but the p value after Holm's correction isn't below 1 - ``confidence``."""
        return self.excludes_zero and self.p_holm is not None and not self.p_holm < 1 - self.confidence

    @property
    def test(self) -> str:
        """The test in words: which, and over what."""
        if not self.decides:
            return "none: one replication decides nothing"
        bound = "" if self.equivalence is None else "; two one-sided tests of equivalence"
        return f"two-sided t test over {self.interval_over}, a quantile for each variance component{bound}"

    @property
    def largest(self) -> float:
        """The largest difference that isn't excluded: the end of the interval further from 0."""
        return max(self.low, self.high, key=abs)

    @property
    def outcome(self) -> str:
        """The result: "higher" or "lower" if the test shows it, "equivalent" if its test shows it, else "undecided".

        The test is the interval, or Holm's corrected p value where there is one. One replication is always "undecided".
        """
        if self.excludes_zero and not self.lost_to_correction:
            return "higher" if self.low > 0 else "lower"
        return "equivalent" if self.decides and self.equivalent else "undecided"

    @property
    def mean_difference(self) -> float:
        """The difference, under its former name in ``PairedComparison``."""
        return self.difference

    def __str__(self) -> str:
        text = (
            f"{self.treatment} - {self.control}: {self.difference:+.3f} [{self.low:+.3f}, {self.high:+.3f}] over "
            f"{self.interval_over}"
        )
        if self.num_positive is not None and self.decides:
            subjects = " subjects" if self.num_subjects > 1 else ""
            text += f", higher in {self.num_positive} of {self.num_units}{subjects}"
        if self.p_holm is None:
            return text
        lost = "not significant " if self.lost_to_correction else ""
        return (
            f"{text}, p = {self.p_value:.2g}, {lost}after Holm's correction over {self.num_tests} comparisons "
            f"{self.p_holm:.2g}"
        )
