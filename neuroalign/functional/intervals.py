"""The interval of one accuracy."""

from __future__ import annotations


def wilson(num_correct: int, total: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of a share; unlike mean +- 1.96 sd it is sensible at 0 and 1.

    Args:
        num_correct: Successes.
        total: Of how many.
        confidence: Of the interval.

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
