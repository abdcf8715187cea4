"""How many passes through networks a stage makes: what an estimate multiplies with measured seconds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__: list[str] = []

_STEPS = {"fgsm": 1, "pgd": 20, "apgd": 100, "deepfool": 50, "square": 0, "autoattack": 1900}
_QUERIES = {"square": 5000, "autoattack": 5000}
_NAMES = {"FGSM": "fgsm", "PGD": "pgd", "APGD": "apgd", "SquareAttack": "square", "AutoAttack": "autoattack",
          "DeepFool": "deepfool"}  # fmt: skip
_MASKING = 500  # steps of all attacks of the report on masked gradients, per image, about
_TRIALS = 6  # trainings that matching a smoothness takes, about


def attack_passes(settings: Mapping[str, Any]) -> tuple[float, float]:
    """Gradient steps and queries without gradient of an attack, per image, at all its budgets.

    It is an upper bound: attacks leave out images that were misclassified before. An attack of another package counts as PGD.

    Args:
        settings: Settings of the evaluation.

    Example:
        >>> attack_passes({"attack": "pgd", "steps": 10, "eps": [0.0, 0.01, 0.02]})
        (20, 0)
    """
    attack, given = settings["attack"], settings.get("steps")
    if isinstance(attack, Mapping):
        arguments = attack.get("init_args", {})
        given = given or arguments.get("steps")
        attack = _NAMES.get(str(attack.get("class_path")).rsplit(".", 1)[-1], "pgd")
    budgets = 1 if attack == "deepfool" else sum(1 for eps in settings["eps"] if eps > 0)
    return budgets * (given or _STEPS.get(attack, _STEPS["pgd"])), budgets * _QUERIES.get(attack, 0)


def robust_training_factor(description: Mapping[str, Any] | None) -> float:
    """How many times the passes of plain training a step of robust training takes.

    Example:
        >>> robust_training_factor(
        ...     {
        ...         "class_path": "neuroalign.tasks.AdversarialTraining",
        ...         "init_args": {"steps": 7},
        ...     }
        ... )
        8.0
    """
    if not description:
        return 1.0
    name, arguments = str(description.get("class_path")).rsplit(".", 1)[-1], description.get("init_args", {})
    steps = float(arguments.get("steps", 7))
    return {"AdversarialTraining": 1 + steps, "TRADES": 2 + steps, "GradientRegularization": 3.0}.get(name, 1.0)


def evaluation_passes(kind: str, settings: Mapping[str, Any], num_images: int) -> tuple[float, float, float]:
    """Images, gradient steps per image and forward passes per image of an evaluation.

    Args:
        kind: Kind of the stage.
        settings: Its settings.
        num_images: Number of test images.

    Example:
        >>> evaluation_passes(
        ...     "corruptions",
        ...     {"corruptions": None, "severities": [1, 3], "num_images": None},
        ...     100,
        ... )
        (100, 0, 30)
    """
    images = min(settings.get("num_images") or num_images, num_images)
    if kind == "robustness":
        steps, queries = attack_passes(settings)
        return images, steps, 1 + queries
    if kind == "corruptions":
        names = settings.get("corruptions")
        return images, 0, len(settings["severities"]) * (15 if names is None else len(names))
    if kind == "smoothness":
        return images, settings["steps"] + 2, 1
    if kind == "masking":
        return images, _MASKING, _MASKING
    return (1280, 0, 1) if kind == "shape_bias" else (images, 0, 1)


def trainings(kind: str) -> int:
    """How many trainings a condition takes: more than one if a setting is searched for.

    Example:
        >>> trainings("none")
        1
    """
    return _TRIALS if kind == "smoothness matched" else 1
