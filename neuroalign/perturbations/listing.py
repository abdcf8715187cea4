"""The listing of attacks by name."""

from __future__ import annotations

from fnmatch import fnmatchcase

from neuroalign.perturbations.attacks.apgd import APGD
from neuroalign.perturbations.attacks.base import Attack
from neuroalign.perturbations.attacks.delegated import AutoAttack, BrendelBethge
from neuroalign.perturbations.attacks.gradient import FGSM, PGD
from neuroalign.perturbations.attacks.minimal import FMN, CarliniWagner, DeepFool
from neuroalign.perturbations.attacks.square import SquareAttack

__all__ = ["list_attacks"]

ATTACKS: tuple[type[Attack], ...] = (
    APGD, AutoAttack, BrendelBethge, CarliniWagner, DeepFool, FGSM, FMN, PGD, SquareAttack,
)  # fmt: skip


def list_attacks(filter: str = "*") -> list[str]:
    """Names of the attack classes in ``neuroalign.perturbations``, in alphabetical order.

    Args:
        filter: Pattern that a name must match, with the wildcards of a shell, in upper or lower case.

    Example:
        >>> list_attacks("*pgd")
        ['APGD', 'PGD']
    """
    names = sorted((attack.__name__ for attack in ATTACKS), key=str.lower)
    return [name for name in names if fnmatchcase(name.lower(), filter.lower())]
