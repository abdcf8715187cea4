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


def list_attacks(pattern: str = "*") -> list[str]:
    """Names of the attack classes in :mod:`neuroalign.perturbations`, in alphabetical order.

    Args:
        pattern: What the names match, with the wildcards of a shell: ``"*PGD"``.

    Example:
        >>> list_attacks("*PGD")
        ['APGD', 'PGD']
    """
    return sorted(attack.__name__ for attack in ATTACKS if fnmatchcase(attack.__name__, pattern))
