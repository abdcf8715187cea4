"""Suites, the parts of a whole evaluation of a network: attacks with their budgets, corruptions, filters."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from neuroalign.budgets import as_budget
from neuroalign.evaluation.requests import eps_values, named
from neuroalign.functional.checks import check_choice
from neuroalign.perturbations import (
    APGD,
    COMMON_CORRUPTIONS,
    EXTRA_CORRUPTIONS,
    FGSM,
    FMN,
    PGD,
    Attack,
    AutoAttack,
    BrendelBethge,
    CarliniWagner,
    Contrast,
    DeepFool,
    HighPass,
    LowPass,
    RotationTranslation,
    SquareAttack,
)
from neuroalign.perturbations.base import Perturbation

__all__ = ["Suite", "paper_grid", "robustness_suite"]

SuiteName = Literal["fast", "standard", "paper"]
_LINF = (0.25, 0.5, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0)  # in 1/255
_SMALLEST = 32  # pixels per side from which on corruptions have strengths


@dataclass(frozen=True)
class Suite:
    """The perturbations and budgets of an evaluation.

    Attributes:
        name: Name of the suite.
        attacks: Attacks, each with its increasing budgets, numbers in pixel units or texts such as "8/255", which become
            numbers. A plain callable is wrapped.
        corruptions: Names of corruptions.
        severities: Severities of each corruption.
        transforms: Perturbations without a budget: filters, contrasts, worst-case rotation.
        masking_eps: Budget of the masking report and of adversarial smoothness, Linf, in pixel units.
        masking_images: Maximum number of images for the masking report.
        exhaustive: Attack at every budget from scratch, as other libraries do, instead of all budgets in one pass.

    Raises:
        ValueError: If two attacks or two transforms have the same name, or a corruption occurs twice.
    """

    name: str
    attacks: tuple[tuple[Perturbation, tuple[Any, ...]], ...]
    corruptions: tuple[str, ...] = ()
    severities: tuple[int, ...] = ()
    transforms: tuple[Perturbation, ...] = ()
    masking_eps: Any = 2 / 255
    masking_images: int = 64
    exhaustive: bool = False

    def __post_init__(self) -> None:
        attacks = named([attack for attack, _ in self.attacks]).values()
        object.__setattr__(self, "attacks", tuple(zip(attacks, (tuple(eps_values(eps)) for _, eps in self.attacks))))
        object.__setattr__(self, "masking_eps", as_budget(self.masking_eps, "linf"))
        object.__setattr__(self, "transforms", tuple(named(list(self.transforms)).values()))
        for corruption in self.corruptions:
            if self.corruptions.count(corruption) > 1:
                raise ValueError(f"the corruption {corruption!r} is in the suite twice")


def paper_grid(norm: Literal["linf", "l2"], image_shape: Sequence[int]) -> tuple[float, ...]:
    """The paper's budgets in pixel units: 0.001 to 0.019 in steps of 0.002; for L2 times the root of an image's size.

    In the paper they are budgets of an attack on *normalised* images, so they differ by channel and from ours, which are in
    pixel units, as everywhere in this library.

    Args:
        norm: "linf" or "l2".
        image_shape: (channel, height, width).

    Example:
        >>> [round(e, 2) for e in paper_grid("l2", (3, 224, 224))[::9]]
        [0.39, 7.37]

    Source:
        Shao et al. 2024, arXiv 2405.02564.
    """
    scale = math.sqrt(math.prod(image_shape)) if norm == "l2" else 1.0
    return tuple((np.arange(0.001, 0.02, 0.002) * scale).tolist())


def robustness_suite(name: SuiteName, image_shape: Sequence[int], *, seed: int = 0, stronger: bool = False) -> Suite:
    """A suite by its name, for images of a given shape.

    "fast": PGD with two losses in both norms, every common corruption at severity 3, the masking report. "standard": also
    single steps, targeted APGD, AutoAttack at one budget, Square, the shortest perturbations, all severities, worst-case
    rotation and translation, low-pass, high-pass and contrast curves. Corruptions need images of at least 32 pixels per side,
    in colour or grey; their strengths are the published ones for squares of 32, 64 and 224 pixels, and interpolated
    otherwise (:class:`neuroalign.Corruption`).

    "paper": the attacks of the script released with the paper, with its settings, each budget from scratch: FGSM and PGD in
    Linf (40 steps of eps / 30 from a random point, cross-entropy), and in L2 the fast gradient method, Carlini & Wagner
    (10,000 steps), DeepFool (40 steps) and, if foolbox is installed, Brendel & Bethge. This PGD doesn't converge, and makes
    networks look more robust than they are. ``stronger`` uses our attacks at the same budgets. The budgets are in pixel units
    here; see :func:`paper_grid`.

    Args:
        name: "fast", "standard" or "paper".
        image_shape: (channel, height, width).
        seed: Seed of every attack.
        stronger: In the suite "paper", use PGD with two losses in both norms instead of the published PGD, and measure all
            budgets in one pass.

    Raises:
        ValueError: If the name is unknown, or ``stronger`` is given for another suite than "paper".

    Source:
        The code released with Shao et al. 2024, arXiv 2405.02564 ("paper").

    Example:
        >>> [attack.name for attack, _ in robustness_suite("fast", (3, 32, 32)).attacks]
        ['pgd20-linf-margin+ce-cosine', 'pgd20-l2-margin+ce-cosine']
    """
    check_choice("suite", name, ("fast", "standard", "paper"))
    if stronger and name != "paper":
        raise ValueError(f"stronger goes with the suite 'paper'; the attacks of {name!r} are the stronger ones already")
    channels, height, width = image_shape
    root = math.sqrt(math.prod(image_shape))
    linf = tuple(e / 255 for e in _LINF)
    l2 = tuple(e * root for e in linf)
    curves: list[tuple[Attack, tuple[float, ...]]] = [
        (PGD.two_losses("linf", seed=seed), linf),
        (PGD.two_losses("l2", seed=seed), l2),
    ]
    if name == "paper":
        linf, l2 = (paper_grid(norm, image_shape) for norm in ("linf", "l2"))
        attacks: list[tuple[Attack, tuple[float, ...]]] = [(FGSM("linf"), linf)]
        if stronger:
            attacks += [
                (PGD.two_losses("linf", steps=40, seed=seed), linf),
                (PGD.two_losses("l2", steps=40, seed=seed), l2),
            ]
        else:
            attacks += [(PGD("linf", steps=40, loss="ce", rel_step_size=1 / 30, random_start=True, seed=seed), linf)]
        attacks += [(FGSM("l2"), l2), (CarliniWagner(steps=10_000), l2), (DeepFool(steps=40), l2)]
        if _has_foolbox():
            attacks.append((BrendelBethge("l2", seed=seed), l2))
        name_of_it = "paper-stronger" if stronger else "paper"
        return Suite(name_of_it, tuple(attacks), masking_eps=linf[4], exhaustive=not stronger)
    corruptible = min(height, width) >= _SMALLEST and channels in (1, 3)
    common = COMMON_CORRUPTIONS if corruptible else ()
    if name == "fast":
        return Suite(name, tuple(curves), common, (3,) if corruptible else (), masking_images=32)
    middle = linf[3]
    more: list[tuple[Attack, tuple[float, ...]]] = [
        (FGSM("linf"), linf), (FGSM("l2"), l2),
        (APGD("linf", steps=50, loss="margin", seed=seed), linf),
        (SquareAttack("linf", num_queries=1000, seed=seed), linf[3:]),
        (AutoAttack("linf", seed=seed), (middle,)),
        (DeepFool(), l2), (FMN("l2"), l2), (CarliniWagner(steps=200), l2),
    ]  # fmt: skip
    cutoffs = [c for c in (1, 2, 4, 8, 16, 32, 64) if c <= min(height, width) / 2]
    transforms: tuple[Perturbation, ...] = (
        RotationTranslation(),
        *(LowPass(c) for c in cutoffs),
        *(HighPass(c) for c in cutoffs),
        *(Contrast(c) for c in (0.5, 0.3, 0.2, 0.1, 0.05, 0.03)),
    )
    extra = EXTRA_CORRUPTIONS if corruptible else ()
    return Suite(name, (*curves, *more), common + extra, (1, 2, 3, 4, 5) if corruptible else (), transforms)


def _has_foolbox() -> bool:
    from importlib.util import find_spec

    return find_spec("foolbox") is not None and find_spec("numba") is not None
