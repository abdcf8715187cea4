"""Which attacks there are."""

from __future__ import annotations

import sys
from fnmatch import fnmatchcase

from neuroalign.perturbations.attacks.base import Attack

__all__ = ["list_attacks"]


def list_attacks(pattern: str = "*") -> list[str]:
    """Names of the attack classes in :mod:`neuroalign.perturbations`, in alphabetical order.

    Args:
        pattern: What the names match, with the wildcards of a shell: ``"*PGD"``.

    Example:
        >>> list_attacks("*PGD")
        ['APGD', 'PGD']
    """
    face = sys.modules["neuroalign.perturbations"]  # it imports this module, which can't import it too
    found = {name: getattr(face, name) for name in face.__all__}
    return sorted(
        name
        for name, value in found.items()
        if isinstance(value, type) and issubclass(value, Attack) and value is not Attack and fnmatchcase(name, pattern)
    )
