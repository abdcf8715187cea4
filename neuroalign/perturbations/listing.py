"""The listing of attacks by name, and the perturbation of a name."""

from __future__ import annotations

from collections.abc import Callable
from fnmatch import fnmatchcase
from typing import Any

from neuroalign import plugins
from neuroalign.perturbations.attacks.apgd import APGD
from neuroalign.perturbations.attacks.base import Attack
from neuroalign.perturbations.attacks.delegated import AutoAttack, BrendelBethge
from neuroalign.perturbations.attacks.gradient import FGSM, PGD
from neuroalign.perturbations.attacks.minimal import FMN, CarliniWagner, DeepFool
from neuroalign.perturbations.attacks.square import SquareAttack
from neuroalign.perturbations.base import Perturbation
from neuroalign.types import unknown

__all__ = ["list_attacks"]

ATTACKS: tuple[type[Attack], ...] = (
    APGD, AutoAttack, BrendelBethge, CarliniWagner, DeepFool, FGSM, FMN, PGD, SquareAttack,
)  # fmt: skip


def list_attacks(filter: str = "*") -> list[str]:
    """Names of the attack classes in ``neuroalign.perturbations``, in alphabetical order.

    What other installed packages publish as perturbations is among them; listing imports no package. Evaluations, callbacks
    and studies take each of these names, in upper or lower case, for the attack with its defaults.

    Args:
        filter: Pattern that a name must match, with the wildcards of a shell, in upper or lower case.

    Warns:
        UserWarning: If a package publishes the name of one of ours, which is used.

    Example:
        >>> list_attacks("*pgd")
        ['APGD', 'PGD']
    """
    ours = [attack.__name__ for attack in ATTACKS]
    plugins.warn_of_hidden("perturbations", ours)
    names = sorted({*ours, *plugins.installed("perturbations")}, key=str.lower)
    return [name for name in names if fnmatchcase(name.lower(), filter.lower())]


def perturbation_of(name: str, **options: Any) -> Perturbation | Callable[..., Any]:
    """The perturbation of a name: an attack of ours, or what another installed package publishes, which is imported then.

    Args:
        name: A name of :func:`list_attacks`, in upper or lower case.
        **options: Arguments of its class.

    Raises:
        ImportError: If the package that publishes it can't be used, or two do.
        TypeError: If its class doesn't take these arguments, or it is no class and takes none.
        ValueError: If there is none of this name.

    Example:
        >>> perturbation_of("fgsm").name
        'fgsm-linf'
    """
    ours = {attack.__name__.lower(): attack for attack in ATTACKS}
    if name.lower() in ours:
        plugins.warn_of_hidden("perturbations", [name])
        return ours[name.lower()](**options)
    theirs = {published.lower(): published for published in plugins.installed("perturbations")}
    if name.lower() not in theirs:
        raise ValueError(unknown("perturbation", name, [*(attack.__name__ for attack in ATTACKS), *theirs.values()]))
    published = theirs[name.lower()]
    found = plugins.load("perturbations", published)
    if not callable(found) and not isinstance(found, Perturbation):
        error = TypeError(f"it is neither a perturbation nor a function, but {type(found).__name__}")
        raise plugins.broken("perturbations", published, error)
    if isinstance(found, type):
        made: Perturbation | Callable[..., Any] = found(**options)
        return made
    if options:
        raise TypeError(f"the perturbation {published!r} is no class and takes no options; got {', '.join(options)}")
    return found
