"""How many seeds, subjects and images are needed to find a difference between two conditions."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np

from neuroalign.evaluation.spread import Spread

__all__ = ["images_needed", "power", "seeds_needed", "subjects_needed"]

_POINTS = 1024  # of the quasi-random integration over estimated variances
_MANY = 1_000_000  # seeds or subjects that stand for any number of them
_CONSTANT = 10_000_000  # degrees of freedom from which an estimated variance is the true one
_MOST_IMAGES = 100_000_000


def power(
    spread: Spread, difference: float, *, seeds: int, images: int, subjects: int = 1, confidence: float = 0.95
) -> float:
    """Probability that the interval of :func:`neuroalign.evaluation.compare` lies wholly on the side of a true difference.

    ``compare`` estimates each part's variance and multiplies it by the squared quantile of its own degrees of freedom. For
    normal parts the estimates are multiples of chi-squares; the probability is integrated over them, and needs no simulation
    of outcomes. All subjects have the same seeds, and all seeds the same images.

    Args:
        spread: Standard deviations of the difference's parts.
        difference: True difference in accuracy, above 0 to 1 (its sign makes no difference); 0 gives half the error of the
            first kind, the share on one side.
        seeds: Number of seeds per subject, at least 2.
        images: Number of test images, at least 2.
        subjects: Number of subjects.
        confidence: Confidence of the interval: 0.95, or for the strictest step of Holm's correction over m comparisons
            1 - 0.05 / m.

    Returns:
        The probability, 0 to 1.

    Raises:
        ValueError: If a number is out of its range.

    Example:
        >>> spread = Spread(seed=0.012, image=0.3, rest=0.3)
        >>> [round(power(spread, 0.05, seeds=seeds, images=1000), 2) for seeds in (2, 3, 4)]
        [0.26, 0.72, 0.92]

    Source:
        The test: Obuchowski & Rockette 1995, Communications in Statistics 24:285-308, and Banerjee 1960, Sankhya 22.
        Independence of the mean squares: Searle, Casella & McCulloch 1992, Variance Components, chapter 4.
    """
    _check(difference, confidence, seeds=(seeds, 2), images=(images, 2), subjects=(subjects, 1))
    from scipy.stats import norm

    half = _half_widths(spread, abs(difference), seeds, images, subjects, confidence)
    sd = max(spread.variance(seeds=seeds, images=images, subjects=subjects) ** 0.5, 1e-12)
    # Cut at 1, which the mean exceeds by its last digits.
    return min(float(norm.sf((half - abs(difference)) / sd).mean()), 1.0)


def seeds_needed(
    spread: Spread, difference: float, *, images: int, subjects: int = 1, power: float = 0.8, confidence: float = 0.95,
    most: int = 200,
) -> int | None:  # fmt: skip
    """The fewest seeds (per subject) that find a difference with a given probability; None if ``most`` don't.

    Args:
        spread: Standard deviations of the difference's parts.
        difference: True difference in accuracy, above 0 to 1.
        images: Number of test images.
        subjects: Number of subjects.
        power: Wanted probability, between 0 and 1.
        confidence: Confidence of the interval; see :func:`power`.
        most: Largest number of seeds.

    Raises:
        ValueError: If a number is out of its range.

    Example:
        >>> spread = Spread(seed=0.012, image=0.3, rest=0.3)
        >>> [seeds_needed(spread, difference, images=1000) for difference in (0.05, 0.03, 0.02)]
        [4, 12, None]
    """
    _check_wanted(difference, power)
    return _fewest(lambda n: _power(spread, difference, n, images, subjects, confidence), power, 2, most)


def subjects_needed(
    spread: Spread, difference: float, *, seeds: int, images: int, power: float = 0.8, confidence: float = 0.95,
    most: int = 200,
) -> int | None:  # fmt: skip
    """The fewest subjects (at least 2) that find a difference with a given probability; None if ``most`` don't.

    Args:
        spread: Standard deviations of the difference's parts.
        difference: True difference in accuracy, above 0 to 1.
        seeds: Number of seeds per subject.
        images: Number of test images.
        power: Wanted probability, between 0 and 1.
        confidence: Confidence of the interval; see :func:`power`.
        most: Largest number of subjects.

    Raises:
        ValueError: If a number is out of its range.

    Example:
        >>> spread = Spread(seed=0.01, image=0.2, rest=0.3, subject=0.02)
        >>> subjects_needed(spread, 0.03, seeds=4, images=1000)
        9
    """
    _check_wanted(difference, power)
    return _fewest(lambda n: _power(spread, difference, seeds, images, n, confidence), power, 2, most)


def images_needed(spread: Spread, difference: float, *, power: float = 0.8, confidence: float = 0.95) -> int | None:
    """The fewest images below which no number of seeds and subjects finds a difference; None if 100 million don't.

    Args:
        spread: Standard deviations of the difference's parts.
        difference: True difference in accuracy, above 0 to 1.
        power: Wanted probability, between 0 and 1.
        confidence: Confidence of the interval; see :func:`power`.

    Raises:
        ValueError: If a number is out of its range.

    Example:
        >>> images_needed(Spread(seed=0.012, image=0.3, rest=0.3), 0.02)
        1781
    """
    _check_wanted(difference, power)
    subjects = _MANY if spread.subject else 1
    return _fewest(lambda n: _power(spread, difference, _MANY, n, subjects, confidence), power, 2, _MOST_IMAGES)


def _power(spread: Spread, difference: float, seeds: int, images: int, subjects: int, confidence: float) -> float:
    """:func:`power`, whose name is an argument of the functions that call this."""
    return power(spread, difference, seeds=seeds, images=images, subjects=subjects, confidence=confidence)


def _half_widths(
    spread: Spread, difference: float, seeds: int, images: int, subjects: int, confidence: float
) -> np.ndarray:
    """Half lengths of the interval over draws of its estimated variances: (draw,)."""
    from scipy.stats import t

    def squared_quantile(df: int) -> float:
        return float(t.ppf((1 + confidence) / 2, df)) ** 2

    rows = seeds * subjects
    own = spread.seed**2 + spread.rest**2 / images  # variance of a row's mean that no other row shares
    draws = _chi_squares((subjects if subjects > 1 else seeds) - 1, images - 1,
                         (rows - 1) * (images - 1), seeds - 1, (subjects - 1) * (seeds - 1))  # fmt: skip
    of_units, of_images, of_rest, of_common, of_own = draws
    by_image = (rows * spread.image**2 + spread.rest**2) * of_images  # mean squares of a two-way analysis of variance
    shared = np.maximum(by_image - spread.rest**2 * of_rest, 0.0) / (rows * images)
    squared = squared_quantile(images - 1) * shared
    if subjects == 1:
        squared = squared + squared_quantile(seeds - 1) * own / seeds * of_units
    else:
        squared = squared + squared_quantile(subjects - 1) * (spread.subject**2 + own / seeds) / subjects * of_units
        by_seed = (subjects * spread.common**2 + own) * of_common
        squared = squared + squared_quantile(seeds - 1) * np.maximum(by_seed - own * of_own, 0.0) / rows
    # The interval over images alone, with two images more: one for either condition.
    squares = (images - 1) * by_image / rows + 2 + 2 * images * difference**2 / (images + 2)
    alone = squared_quantile(images + 1) * squares / ((images + 1) * (images + 2))
    return np.maximum(squared, alone) ** 0.5


@lru_cache(maxsize=256)
def _chi_squares(*dfs: int) -> np.ndarray:
    """Independent chi-squares divided by their degrees of freedom, of mean 1: (df, draw); 1 where df is 0 or very large."""
    from scipy.stats import chi2, qmc

    uniform = qmc.Sobol(len(dfs), rng=np.random.default_rng(0)).random(_POINTS).T
    return np.stack([chi2.ppf(u, df) / df if 0 < df < _CONSTANT else np.ones(_POINTS) for u, df in zip(uniform, dfs)])


def _fewest(found: Callable[[int], float], wanted: float, low: int, high: int) -> int | None:
    """The smallest number whose power is at least what is wanted, by bisection; None if the largest isn't enough."""
    if found(high) < wanted:
        return None
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if found(middle) >= wanted else (middle + 1, high)
    return low


def _check(difference: float, confidence: float, **numbers: tuple[int, int]) -> None:
    if not -1 <= difference <= 1:
        raise ValueError(f"difference must be a difference of accuracies, -1 to 1; got {difference}")
    if not 0.5 < confidence < 1:
        raise ValueError(f"confidence must be above 0.5 and below 1, such as 0.95; got {confidence}")
    for name, (value, least) in numbers.items():
        if value < least:
            raise ValueError(f"{name} must be at least {least}; got {value}")


def _check_wanted(difference: float, wanted: float) -> None:
    if not 0 < abs(difference) <= 1:
        raise ValueError(f"difference must be above 0, to 1: nothing finds a difference of {difference}")
    if not 0 < wanted < 1:
        raise ValueError(f"power must be between 0 and 1, such as 0.8; got {wanted}")
