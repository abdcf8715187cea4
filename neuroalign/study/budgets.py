"""Budgets of attacks as people write them."""

from __future__ import annotations

from collections.abc import Iterable

from neuroalign.plot.styles import budget_labels

__all__: list[str] = []

_LARGEST = 32 / 255  # what is larger is a length in L2, of which some happen to be whole numbers of 1/255


def budget_texts(budgets: Iterable[float]) -> dict[float, str]:
    """Texts by budget: 0 is "clean", and budgets that are all small multiples of half of 1/255 are written in 1/255.

    Example:
        >>> budget_texts([0.0, 1 / 255, 2 / 255])
        {0.0: 'clean', 0.00392156862745098: '1/255', 0.00784313725490196: '2/255'}
        >>> list(budget_texts([0.01, 0.02]).values()), list(budget_texts([0.5, 1.0]).values())
        (['0.01', '0.02'], ['0.5', '1'])
    """
    found = sorted({float(eps) for eps in budgets})
    small = bool(found) and found[-1] <= _LARGEST
    return dict(zip(found, budget_labels(found, "linf" if small else None)))
