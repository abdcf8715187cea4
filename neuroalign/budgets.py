"""Budgets of perturbations as people write them: a number, or a fraction such as "8/255"."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, SupportsFloat, TypeAlias

__all__: list[str] = []

Budget: TypeAlias = float | str
"""A budget: a number in pixel units of [0, 1], or a text with a number or a fraction, such as "8/255"."""

Budgets: TypeAlias = Budget | Iterable[Budget] | Mapping[str, Budget | Iterable[Budget]]
"""One budget or several, for all perturbations or by a perturbation's name."""

_NUMBER = r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?"
_FRACTION = re.compile(rf"\s*({_NUMBER})\s*(?:/\s*({_NUMBER})\s*)?")


def as_number(eps: object) -> float:
    """A budget as a number, whatever its sign and size; a text may hold a fraction.

    Args:
        eps: A number, an array or tensor of one number, or a text such as "0.03" or "8/255".

    Raises:
        ValueError: If a text is neither a number nor a fraction, or divides by 0.
        TypeError: If it is nothing of this kind.

    Example:
        >>> as_number("8/255") == 8 / 255, as_number("0.5"), as_number(2)
        (True, 0.5, 2.0)
    """
    if isinstance(eps, str):
        match = _FRACTION.fullmatch(eps)
        if match is None or (match[2] is not None and float(match[2]) == 0):
            raise ValueError(f"a budget eps is a number or a fraction, such as 0.03 or '8/255'; got {eps[:50]!r}")
        return float(match[1]) / float(match[2] or 1)
    if isinstance(eps, bool) or not isinstance(eps, SupportsFloat):
        raise TypeError(f"a budget eps is a number or a fraction, such as 0.03 or '8/255'; got {eps!r}")
    return float(eps)


def as_budget(eps: object, norm: str | None = None) -> float:
    """A budget as a number, checked.

    Args:
        eps: As in :func:`as_number`.
        norm: Norm of the budget; the largest budget of "linf" is 1, the range of a pixel. None checks no upper limit.

    Raises:
        ValueError: If it can't be read, is negative or NaN, or is too large for its norm.
        TypeError: If it is neither a number nor a text.

    Example:
        >>> as_budget("8", "linf")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ValueError: eps is in pixel units of [0, 1], where 1 is the largest possible change;
        got 8: divide by 255? ...
    """
    value = as_number(eps)
    if not value >= 0:  # also catches NaN
        raise ValueError(f"eps must not be negative or NaN; got {eps}")
    check_largest(value, norm)
    return value


def check_largest(eps: float, norm: str | None) -> None:
    """Refuse a budget of "linf" above 1, the range of a pixel.

    Raises:
        ValueError: If it is larger.
    """
    if norm == "linf" and eps > 1:
        raise ValueError(
            f"eps is in pixel units of [0, 1], where 1 is the largest possible change; got {eps:g}: divide by 255? In a text "
            f"or a configuration, '{eps:g}/255' is understood as well"
        )


def with_numbers(eps: Any) -> Any:
    """Budgets for a tensor: a text, or each text in a list, becomes its number; everything else stays as it is.

    Example:
        >>> with_numbers("1/4"), with_numbers(["1/4", 0.5]), with_numbers(None)
        (0.25, [0.25, 0.5], None)
    """
    if isinstance(eps, str):
        return as_number(eps)
    if isinstance(eps, (list, tuple)):
        return [as_number(each) if isinstance(each, str) else each for each in eps]
    return eps


def eps_text(eps: float, norm: str | None) -> str:
    """A budget in the usual notation: "8/255" for Linf, a number for L2.

    Example:
        >>> eps_text(8 / 255, "linf"), eps_text(0.5, "l2")
        ('8/255', '0.5')
    """
    return f"{eps * 255:.4g}/255" if norm == "linf" else f"{eps:.4g}"
