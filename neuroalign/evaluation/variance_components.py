"""Variance components of a mean difference: the parts that come from subjects, replications and images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

__all__: list[str] = []


@dataclass(frozen=True)
class MeanVariance:
    """Variance of a mean difference, in parts that were estimated with different degrees of freedom.

    Attributes:
        units: Variance over units (subjects, or replications if there are no subjects): (variance of the mean, degrees of
            freedom), one pair for each group of units that is sampled by itself; empty if a group has only one unit.
        crossed: Variance of what units share: the same images, and between subjects the same replications. Pairs as in
            ``units``.
        images: Variance over images, with the same units: one such pair.
    """

    units: tuple[tuple[float, int], ...]
    crossed: tuple[tuple[float, int], ...]
    images: tuple[float, int]

    @property
    def total(self) -> float:
        """Variance of the mean over units and images; over images alone if there is one unit."""
        return max(sum(v for v, _ in (*self.units, *self.crossed)) if self.units else 0.0, self.images[0])

    @property
    def df(self) -> int:
        """Degrees of freedom of the outermost part that is known: units, or images if there is one unit."""
        return min((df for _, df in self.units), default=self.images[1])

    def half_width(self, confidence: float) -> float:
        """Half the length of the interval over units and images; over images alone if there is one unit.

        Every part is multiplied by the squared quantile of its own degrees of freedom. The interval is never shorter than
        that over images alone, because the variance of few units may happen to be near 0.
        """
        alone = _half_width([self.images], confidence)
        return max(_half_width((*self.units, *self.crossed), confidence), alone) if self.units else alone

    def half_width_over_units(self, confidence: float) -> float:
        """Half the length of the interval over units, with the same images; NaN if there is one unit."""
        return _half_width(self.units, confidence) if self.units else float("nan")

    def half_width_over_images(self, confidence: float) -> float:
        """Half the length of the interval over images, with the same units."""
        return _half_width([self.images], confidence)

    def p_value(self, difference: float) -> float:
        """Two-sided p of a mean difference: 1 - the confidence at which :meth:`half_width` is as long as the difference.

        So p is below .05 exactly where the 95 % interval excludes 0.

        Args:
            difference: The mean difference from the value under test.
        """
        alone = _p_value([self.images], difference)
        return max(_p_value((*self.units, *self.crossed), difference), alone) if self.units else alone


def mean_variance(
    first: np.ndarray,
    second: np.ndarray | None = None,
    *,
    subjects: np.ndarray | None = None,
    replications: np.ndarray | None = None,
    classes: np.ndarray | None = None,
) -> MeanVariance:
    """Variance of a mean of means, estimated by moments, for any overlap of images between rows.

    A row's mean varies with its unit (its seed, split, subject) and with its images. The variance between the units' means
    holds the part that is each unit's own, including images that no other unit has. The part that all means have in common,
    from images that units share, is the rows' covariance over these images. If all rows have the same images, this is a
    two-way analysis of variance with random rows and columns; if each row has other images, a t interval over rows.

    Args:
        first: Values (row, image), NaN where a row wasn't measured on an image: paired differences, or with ``second`` the
            outcomes of one condition.
        second: Outcomes of the other condition (other row, image), if rows of the two are not paired; None otherwise.
        subjects: Subject of each row (row,): the unit is then the subject, and rows count through their subject's mean. None
            means that each row is a unit.
        replications: Replication of each row (row,), needed with ``subjects``, which may share replications.
        classes: Class of each image (image,), from 0: images are then a sample within each class. None ignores classes.

    Raises:
        ValueError: If there are subjects but no replications.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> found = mean_variance(rng.normal(size=(4, 1)) + rng.normal(size=(4, 100)))
        >>> [df for _, df in found.units], [df for _, df in found.crossed]
        ([3], [99])

    Source:
        Obuchowski & Rockette 1995, Communications in Statistics 24:285-308 (readers and cases, as seeds and images here);
        Banerjee 1960, Sankhya 22 (a quantile for each variance).
    """
    if subjects is not None and replications is None:
        raise ValueError("with subjects, give each row's replication: subjects that share one are not independent")
    rows = first if second is None else np.concatenate([first, second])
    present = ~np.isnan(rows)
    num_images, num_shared = int(present.any(0).sum()), int((present.sum(0) > 1).sum())
    classes = np.zeros(rows.shape[1], dtype=int) if classes is None else classes
    num_classes = len(np.unique(classes[present.any(0)]))
    residuals = _residuals(rows, present, classes)
    means = np.nanmean(rows, axis=1)
    shared = _shared_covariance(residuals, present, num_classes)

    crossed: list[tuple[float, int]] = []
    if second is not None:
        split = len(first)
        groups = [means[:split], means[split:]]
        weights = np.concatenate([np.full(split, 1 / split), np.full(len(second), -1 / len(second))])
        of_images = _mean_off_diagonal(shared[:split, :split]) + _mean_off_diagonal(shared[split:, split:])
        of_images -= 2 * float(shared[:split, split:].mean())
    elif subjects is not None and replications is not None:
        member = (np.unique(subjects)[:, None] == subjects[None]).astype(float)
        member /= member.sum(1, keepdims=True)
        groups = [member @ means]
        weights = member.mean(0)
        of_images = _mean_off_diagonal(member @ shared @ member.T)
        crossed += _shared_replications(means, subjects, replications)
    else:
        groups, weights = [means], np.full(len(means), 1 / len(means))
        of_images = _mean_off_diagonal(shared)
    crossed.append((max(of_images, 0.0), max(num_shared - num_classes, 1)))
    enough = all(len(g) > 1 for g in groups)
    units = tuple((float(g.var(ddof=1)) / len(g), len(g) - 1) for g in groups) if enough else ()
    difference = float(weights @ means)
    images = _over_images(residuals, present, weights, difference, num_images, num_classes)
    return MeanVariance(units, tuple(crossed), images)


def _half_width(parts: Sequence[tuple[float, int]], confidence: float) -> float:
    from scipy.special import stdtrit

    return float(sum(stdtrit(df, (1 + confidence) / 2) ** 2 * variance for variance, df in parts) ** 0.5)


def _p_value(parts: Sequence[tuple[float, int]], difference: float) -> float:
    """The p at which ``_half_width(parts, 1 - p)`` is the absolute difference."""
    from scipy.optimize import brentq
    from scipy.special import stdtr, stdtrit

    varying = [(variance, df) for variance, df in parts if variance > 0]
    if difference == 0:
        return 1.0
    # Each part alone gives a shorter interval than all together, so its p, in closed form, is a lower bound.
    least = max((float(2 * stdtr(df, -abs(difference) / variance**0.5)) for variance, df in varying), default=0.0)
    if len(varying) < 2 or least < 1e-300:
        return least

    def excess(log_p: float) -> float:
        squares = sum(stdtrit(df, np.exp(log_p) / 2) ** 2 * variance for variance, df in varying)
        return float(squares / difference**2) - 1

    if excess(np.log(least)) <= 0:  # one part holds all of the variance but a rounding error
        return least
    return float(np.exp(brentq(excess, np.log(least), 0.0, xtol=1e-12, rtol=1e-12)))


def _residuals(rows: np.ndarray, present: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Deviations from the row's mean within the image's class, 0 where not measured."""
    residuals = np.zeros_like(rows)
    for of_class in np.unique(classes):
        columns = classes == of_class
        there = present[:, columns]
        part = np.where(there, rows[:, columns], 0.0)
        mean = part.sum(1, keepdims=True) / np.maximum(there.sum(1, keepdims=True), 1)
        residuals[:, columns] = np.where(there, part - mean, 0.0)
    return residuals


def _shared_covariance(residuals: np.ndarray, present: np.ndarray, num_classes: int) -> np.ndarray:
    """Covariance (row, other row) of two rows' means from the items that both have; the diagonal has no meaning."""
    there = present.astype(float)
    counts = there @ there.T
    # Residuals are centred on all items of a row; subtracting the product of sums centres them on the shared items.
    sums = residuals @ there.T
    products = residuals @ residuals.T - sums * sums.T / np.maximum(counts, 1)
    df = counts - num_classes
    covariance = np.where(df > 0, products / np.maximum(df, 1), 0.0)
    own = counts.diagonal()
    return covariance * counts / (own[:, None] * own[None])


def _mean_off_diagonal(matrix: np.ndarray) -> float:
    n = len(matrix)
    return float(matrix.sum() - matrix.trace()) / (n * (n - 1)) if n > 1 else 0.0


def _shared_replications(means: np.ndarray, subjects: np.ndarray, replications: np.ndarray) -> list[tuple[float, int]]:
    """Variance from replications that subjects share (for example a common control, or a split); empty if they share none."""
    subject, replication = (np.unique(x, return_inverse=True)[1] for x in (subjects, replications))
    values = np.full((subject.max() + 1, replication.max() + 1), np.nan)
    values[subject, replication] = means
    present = ~np.isnan(values)
    num_shared = int((present.sum(0) > 1).sum())
    if num_shared < 2:
        return []
    residuals = _residuals(values, present, np.zeros(values.shape[1], dtype=int))
    return [(max(_mean_off_diagonal(_shared_covariance(residuals, present, 1)), 0.0), num_shared - 1)]


def _over_images(
    residuals: np.ndarray,
    present: np.ndarray,
    weights: np.ndarray,
    difference: float,
    num_images: int,
    num_classes: int,
) -> tuple[float, int]:
    """Variance of the mean over images, and its degrees of freedom, with two images added: one for, one against.

    The two, with differences of 1 and -1, keep the variance above 0 if no image distinguishes the conditions (Bonett & Price
    2012, Statistics in Medicine 31:2370-2381, for proportions); among a thousand images they have almost no effect.
    """
    n = num_images
    by_image = n * ((weights / present.sum(1)) @ residuals)
    squares = float(by_image @ by_image) + 2 + 2 * n * difference**2 / (n + 2)
    df = max(n + 2 - num_classes, 1)
    return squares / (df * (n + 2)), df
