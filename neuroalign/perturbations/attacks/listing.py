"""Which attacks there are, by name."""

from __future__ import annotations

from fnmatch import fnmatchcase

from neuroalign.perturbations.attacks.apgd import APGD
from neuroalign.perturbations.attacks.base import Attack
from neuroalign.perturbations.attacks.delegated import AutoAttack, BrendelBethge
from neuroalign.perturbations.attacks.gradient import FGSM, PGD
from neuroalign.perturbations.attacks.minimal import FMN, CarliniWagner, DeepFool
from neuroalign.perturbations.attacks.square import SquareAttack

ATTACKS: tuple[type[Attack], ...] = (
    APGD, AutoAttack, BrendelBethge, CarliniWagner, DeepFool, FGSM, FMN, PGD, SquareAttack,
)  # fmt: skip


def list_attacks(filter: str | None = None) -> list[str]:
    """Names of the attacks' classes in ``neuroalign.perturbations``, sorted.

    Args:
        filter: Shell-style pattern that a name must match, such as "*PGD"; upper and lower case are alike. None lists all.

    Example:
        >>> list_attacks("*pgd")
        ['APGD', 'PGD']
    """
    names = sorted((attack.__name__ for attack in ATTACKS), key=str.lower)
    return names if filter is None else [name for name in names if fnmatchcase(name.lower(), filter.lower())]
