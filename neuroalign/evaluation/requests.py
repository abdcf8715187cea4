"""Perturbations and budgets as users give them, converted to perturbations by name and lists of budgets."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, cast

from torch import Tensor

from neuroalign.budgets import Budget as Budget
from neuroalign.budgets import Budgets as Budgets
from neuroalign.budgets import as_budget, check_largest
from neuroalign.perturbations.attacks.base import Attack
from neuroalign.perturbations.base import Perturbation
from neuroalign.perturbations.classifier import Classifier
from neuroalign.perturbations.listing import perturbation_of
from neuroalign.types import unknown

__all__ = ["perturbation_name"]

PerturbationLike = Perturbation | Callable[..., Tensor] | str
Perturbations = PerturbationLike | Sequence[PerturbationLike] | Mapping[str, PerturbationLike]


class CallablePerturbation(Perturbation):
    """A user's callable, as a perturbation.

    It is called as ``function(model, images, labels, eps)``, or as ``function(images)`` if its ``needs_model`` is False;
    ``index=`` is added if its signature has this argument.

    Args:
        function: The callable. Its attributes ``name``, ``norm``, ``has_budget``, ``needs_model``, ``kind`` and
            ``strength``, if it has them, are read here, once; ``ran`` is read when a table is made.

    Example:
        >>> def darker(model, images, labels, eps):
        ...     return (images - eps).clamp(0, 1)
        >>> CallablePerturbation(darker).name, CallablePerturbation(darker).is_nested
        ('darker', False)
    """

    def __init__(self, function: Callable[..., Tensor]) -> None:
        self.function = function
        self._name = perturbation_name(function)
        for attribute in ("norm", "has_budget", "needs_model", "kind", "strength"):
            setattr(self, attribute, getattr(function, attribute, getattr(Perturbation, attribute)))
        parameters = inspect.signature(function).parameters
        self._takes_index = "index" in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())

    @property
    def name(self) -> str:
        """The callable's own name."""
        return self._name

    @property
    def ran(self) -> str | None:  # type: ignore[override]
        """Description of what ran, if the callable has one."""
        return getattr(self.function, "ran", None)

    def apply(self, classifier: Classifier, images: Tensor, labels: Tensor, eps: float, *, index: Tensor) -> Tensor:
        """The images that the callable returns."""
        keywords = {"index": index.to(images.device)} if self._takes_index else {}
        if self.needs_model:
            return self.function(classifier.model, images, labels, eps, **keywords)
        return self.function(images, **keywords)

    def __repr__(self) -> str:
        return repr(self.function)


def as_perturbation(perturbation: PerturbationLike, name: str | None = None) -> Perturbation:
    """A perturbation unchanged, any other callable wrapped.

    Args:
        perturbation: Perturbation, callable, or a name of :func:`neuroalign.list_attacks`.
        name: Its name in messages; None means its own name.

    Raises:
        ImportError: If another package publishes it and can't be used.
        TypeError: If it is a class, or can't be called.
        ValueError: If there is none of this name.
    """
    if isinstance(perturbation, str):
        perturbation = perturbation_of(perturbation)
    if isinstance(perturbation, Perturbation):
        return perturbation
    name = perturbation_name(perturbation) if name is None else name
    if isinstance(perturbation, type):
        raise TypeError(f"perturbation {name!r} is a class: make an object of it, {perturbation.__name__}()")
    if not callable(perturbation):
        raise TypeError(f"perturbation {name!r} can't be called: {perturbation!r}")
    return CallablePerturbation(perturbation)


def perturbation_name(perturbation: object) -> str:
    """Short name of a perturbation: its ``name``, or that of its function or class."""
    for candidate in (getattr(perturbation, "name", None), getattr(perturbation, "__name__", None)):
        if isinstance(candidate, str):
            return candidate
    return type(perturbation).__name__


def settings_of(perturbation: Perturbation) -> str:
    """A perturbation's own description, with what ran if that is known."""
    return repr(perturbation) + (f", which ran {perturbation.ran}" if perturbation.ran else "")


def named(perturbations: Perturbations) -> dict[str, Perturbation]:
    """Perturbations by name, with callables wrapped.

    Raises:
        ValueError: If two have the same name, or there is none of a name.
        TypeError: If one can't be called.
    """
    if isinstance(perturbations, Mapping):
        return {name: as_perturbation(p, name) for name, p in perturbations.items()}
    alone = isinstance(perturbations, Perturbation | str) or callable(perturbations)
    result: dict[str, Perturbation] = {}
    items: list[Any] = [perturbations] if alone else list(cast(Iterable[Any], perturbations))
    for p in items:
        p = as_perturbation(p)
        name = perturbation_name(p)
        if name in result:
            raise ValueError(f"two perturbations are named {name!r}: give a dict, with your own name for each")
        result[name] = p
    return result


def eps_values(eps: Budget | Iterable[Budget]) -> list[float]:
    """Budgets as a list of plain numbers, in the given order; a text such as "8/255" is read as its number.

    Raises:
        ValueError: If there is no budget, or one is negative or can't be read.
        TypeError: If one is neither a number nor a text.
    """
    several = isinstance(eps, Iterable) and not isinstance(eps, str) and getattr(eps, "ndim", 1) != 0
    values = [as_budget(each) for each in (cast(Iterable[Budget], eps) if several else [eps])]
    if not values:
        raise ValueError("eps must hold at least one budget, in pixel units of [0, 1]; got []")
    return values


def budgets_of(eps: Budgets | None, perturbations: Mapping[str, Perturbation]) -> dict[str, list[float]]:
    """Budgets of every perturbation that takes one, in the order given: the same for all, or given by name.

    Raises:
        ValueError: If a budget is negative, or a name is missing or unknown.
    """
    names = [name for name, p in perturbations.items() if p.has_budget]
    if eps is None:
        if names:
            raise ValueError(f"eps is missing: {', '.join(names)} need budgets")
        return {}
    if not isinstance(eps, Mapping):
        return dict.fromkeys(names, eps_values(eps))
    for name in eps:
        if name not in names:
            raise ValueError(unknown("perturbation in eps", name, names))
    missing = [n for n in names if n not in eps]
    if missing:
        raise ValueError(f"eps has no budgets for {', '.join(missing)}")
    return {name: eps_values(eps[name]) for name in names}


def check_budgets(perturbation: Perturbation, eps: list[float]) -> None:
    """Refuse budgets that are larger than the range of a pixel.

    Raises:
        ValueError: If a budget of a "linf" perturbation is above 1.
    """
    check_largest(max(eps), perturbation.norm)


def check_attack(attack: Any, eps: Budget | None) -> float | None:
    """The budget as a number; refuses an object that is not an attack, and an attack without a budget.

    Raises:
        TypeError: If it is not an :class:`Attack`.
        ValueError: If its budget is missing, or none of the attack's norm.
    """
    if attack is None:
        return None
    if isinstance(attack, type):
        raise TypeError(f"the attack is a class: make an object of it, {attack.__name__}()")
    if not isinstance(attack, Attack):
        raise TypeError(f"the attack must be an Attack, such as PGD(); got {attack!r}")
    if eps is None:
        raise ValueError(f"eps is missing: {attack.name} needs a budget")
    return as_budget(eps, attack.norm)
