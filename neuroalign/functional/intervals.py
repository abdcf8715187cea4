"""Confidence intervals of an accuracy, and of the difference between two accuracies on the same images."""

from __future__ import annotations

__all__ = ["tango", "wilson"]


def wilson(num_correct: int, total: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of a share. Unlike mean +- 1.96 sd it also holds for shares of 0 and 1.

    Args:
        num_correct: Number of successes.
        total: Number of trials.
        confidence: Confidence of the interval, between 0 and 1.

    Example:
        >>> low, high = wilson(0, 10)
        >>> round(low, 3), round(high, 3)
        (0.0, 0.278)

    Source:
        Wilson 1927, J. Am. Stat. Assoc. 22, by ``scipy.stats.binomtest``.
    """
    from scipy.stats import binomtest

    interval = binomtest(num_correct, total).proportion_ci(confidence, method="wilson")
    return float(interval.low), float(interval.high)


def tango(only_first: int, only_second: int, total: int, confidence: float = 0.95) -> tuple[float, float]:
    """Tango's score interval of the difference between two shares of the same items.

    For two networks on the same images it depends on the images that one network alone gets right. It has a length even
    where the two networks agree on all images. With few images, or accuracies near 0 and 1, it keeps its coverage, where
    the bootstrap and the mean +- 1.96 sd of the differences are too short.

    Args:
        only_first: Number of items that the first alone gets right, 0 to ``total``.
        only_second: Number of items that the second alone gets right, 0 to ``total``.
        total: Number of all items, at least 1.
        confidence: Confidence of the interval, between 0 and 1.

    Returns:
        Lower and upper end of (first minus second), in -1 to 1.

    Raises:
        ValueError: If the counts are negative or exceed the total.

    Example:
        >>> low, high = tango(0, 0, 50)
        >>> round(low, 3), round(high, 3)
        (-0.071, 0.071)

    Source:
        Tango 1998, Statistics in Medicine 17:891-908.
    """
    from scipy.optimize import brentq
    from scipy.stats import norm

    if min(only_first, only_second) < 0 or only_first + only_second > total or total < 1:
        raise ValueError(f"{only_first} and {only_second} can't be counts of different items among {total}")
    quantile = float(norm.ppf((1 + confidence) / 2))

    def excess(difference: float, side: float) -> float:
        """Distance between observed and supposed difference, minus the quantile times its standard deviation."""
        # The share of ``only_second`` of the largest likelihood, given the difference: the root of a quadratic.
        b = -only_first - only_second + (2 * total - only_first + only_second) * difference
        root = max(b * b + 8 * total * only_second * difference * (1 - difference), 0.0) ** 0.5
        share = (root - b) / (4 * total)
        variance = max(total * (2 * share + difference * (1 - difference)), 0.0)
        result: float = only_first - only_second - total * difference - side * quantile * variance**0.5
        return result

    observed = (only_first - only_second) / total
    # Where its variance is 0 the observed difference is a root itself; the wanted root is another one.
    beside = 1e-12
    low = -1.0 if observed == -1 else brentq(excess, -1, observed - beside, args=(1,))
    high = 1.0 if observed == 1 else brentq(excess, observed + beside, 1, args=(-1,))
    return float(low), float(high)
