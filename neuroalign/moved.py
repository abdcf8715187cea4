"""Names that are found where they were before they moved or were renamed."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable, Mapping


def former_names(
    module: str, moved: Mapping[str, str], renamed: Mapping[str, str] | None = None
) -> Callable[[str], object]:
    """A module's ``__getattr__`` (PEP 562) for names that live elsewhere now; nothing is loaded before one is asked for.

    Args:
        module: Dotted name of the module.
        moved: Names that stay valid here, and the module in which each is defined.
        renamed: Former names, and the dotted path of what each is now; using one warns.

    Example:
        >>> find = former_names("neuroalign.old", {"pearson": "neuroalign.functional"})
        >>> find("pearson").__module__
        'neuroalign.functional.correlation'
    """
    renamed = renamed or {}

    def __getattr__(name: str) -> object:
        if name in moved:
            return getattr(importlib.import_module(moved[name]), name)
        if name in renamed:
            place, _, now = renamed[name].rpartition(".")
            warnings.warn(f"{module}.{name} is {renamed[name]} now", DeprecationWarning, stacklevel=2)
            return getattr(importlib.import_module(place), now)
        raise AttributeError(f"module {module!r} has no attribute {name!r}")

    return __getattr__
