"""Whether the packages that neuroalign needs can be imported: one that is installed may still be broken."""

from __future__ import annotations

import contextlib
import importlib
import sys
import warnings
from collections.abc import Iterable, Iterator

__all__: list[str] = []

_MODULES = {"scikit-learn": "sklearn", "pyyaml": "yaml"}
"""Modules whose name is not that of their package."""


def broken_imports(packages: Iterable[str]) -> Iterator[str]:
    """A sentence for each package that can't be imported; nothing if torch can't, which most of the others import.

    Example:
        >>> list(broken_imports(["scikit-learn", "pyyaml"]))
        []
    """
    # What a package prints must not come between the lines of our JSON.
    with warnings.catch_warnings(), contextlib.redirect_stdout(sys.stderr):
        warnings.simplefilter("ignore")
        if _reason("torch") is not None:
            return
        for name in packages:
            if reason := _reason(_MODULES.get(name.lower(), name.lower().replace("-", "_"))):
                yield f"{name} can't be imported ({reason}): pip install --force-reinstall '{name}'"


def _reason(module: str) -> str | None:
    """Why a module can't be imported; None if it can."""
    try:
        importlib.import_module(module)
    except Exception as error:  # a broken installation fails in many ways
        return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
    return None
