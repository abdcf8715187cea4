"""The versions of what computed a result."""

from __future__ import annotations

import platform
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version

__all__: list[str] = []

_PACKAGES = ("neuroalign", "torch", "lightning", "numpy")


@lru_cache(maxsize=1)
def versions() -> dict[str, str]:
    """Versions of Python and of the packages that results depend on; none is imported for it.

    Example:
        >>> sorted(versions())[:2]
        ['lightning', 'neuroalign']
    """
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
