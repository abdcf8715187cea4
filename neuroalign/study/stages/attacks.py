"""The attack of a study's settings: by its short name, or by its description."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from neuroalign import perturbations
from neuroalign.config import build
from neuroalign.perturbations.attacks.base import Attack
from neuroalign.plugins import load
from neuroalign.study.settings.evaluations import ATTACKS

__all__: list[str] = []


def attack_of(attack: str | Mapping[str, Any], norm: str, steps: int | None) -> Attack:
    """The attack that a study asks for.

    Args:
        attack: Its short name, one that another installed package publishes, or its description.
        norm: Norm of the budgets, for an attack by name.
        steps: Steps of an attack that has steps; None takes its own number.

    Raises:
        ImportError: If the package that publishes the attack can't be used.
        ValueError: If the attack has another norm than the budgets, or name or description is none of an attack.

    Example:
        >>> attack_of("pgd", "l2", 7).norm, attack_of("deepfool", "l2", None).name
        ('l2', 'deepfool-l2')
    """
    if not isinstance(attack, str):
        made = build(attack, Attack)
    else:
        maker = getattr(perturbations, ATTACKS[attack]) if attack in ATTACKS else load("perturbations", attack)
        given = {"norm": norm, **({} if steps is None else {"steps": steps})}
        made = maker
        if isinstance(maker, type):
            known = inspect.signature(maker).parameters
            made = maker(**{name: value for name, value in given.items() if name in known})
        if not isinstance(made, Attack):
            raise ValueError(f"a study's attack is a subclass of Attack with a norm; {attack!r} is none")
    if made.norm != norm:
        raise ValueError(f"{made.name} has budgets in the norm {made.norm!r}, and the study's are in {norm!r}")
    return made
