"""What a user hands in as perturbations and budgets, by name and in order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

from neuroalign.types import Perturbation

Perturbations = Perturbation | Sequence[Perturbation] | Mapping[str, Perturbation]


def perturbation_name(perturbation: Perturbation) -> str:
    """Short name of a perturbation: its ``name``, or that of its function or class."""
    for candidate in (getattr(perturbation, "name", None), getattr(perturbation, "__name__", None)):
        if isinstance(candidate, str):
            return candidate
    return type(perturbation).__name__


def settings_of(perturbation: Perturbation) -> str:
    """A perturbation's own description, with what ran where it tells."""
    ran = getattr(perturbation, "ran", None)
    return repr(perturbation) + (f", which ran {ran}" if ran else "")


def named(perturbations: Perturbations) -> dict[str, Perturbation]:
    """Perturbations by name.

    Raises:
        ValueError: If two have one name.
        TypeError: If one can't be called.
    """
    if isinstance(perturbations, Mapping):
        result = dict(perturbations)
    else:
        alone = callable(perturbations) or isinstance(perturbations, str)
        items: list[Any] = [perturbations] if alone else list(cast(Iterable[Any], perturbations))
        result = {}
        for p in items:
            name = perturbation_name(p)
            if name in result:
                raise ValueError(f"two perturbations are named {name!r}: give a dict, with a name of your own for each")
            result[name] = p
    for name, p in result.items():
        if isinstance(p, type):
            raise TypeError(f"perturbation {name!r} is a class: make an object of it, {p.__name__}()")
        if not callable(p):
            raise TypeError(f"perturbation {name!r} can't be called: {p!r}")
    return result


def eps_values(eps: float | Iterable[float]) -> list[float]:
    """Budgets as a list of plain numbers, in the given order.

    Raises:
        ValueError: If there is none or one is negative.
    """
    values = (
        [float(e) for e in eps] if getattr(eps, "ndim", 1) and isinstance(eps, Iterable) else [float(cast(float, eps))]
    )
    if not values or not all(v >= 0 for v in values):  # also catches NaN
        raise ValueError(f"eps must be non-negative budgets, in pixel units of [0, 1]; got {values}")
    return values
