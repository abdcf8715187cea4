"""Losses, perturbations and readers of other installed packages, found by the names under which they are published.

A package publishes them as entry points of the groups ``neuroalign.measures``, ``neuroalign.perturbations`` and
``neuroalign.readers``. Listing the names imports nothing; a package is imported when one of its names is asked for.
"""

from __future__ import annotations

import inspect
import sys
import warnings
from collections.abc import Iterable
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Literal

from neuroalign.callers import outside

__all__: list[str] = []

Kind = Literal["measures", "perturbations", "readers"]


class PluginError(ImportError):
    """A published name can't be loaded, or two packages publish it."""


def installed(kind: Kind) -> list[str]:
    """Names that other installed packages publish, sorted; nothing is imported.

    Args:
        kind: "measures", "perturbations" or "readers".

    Example:
        >>> installed("measures")
        []
    """
    return sorted(_published(kind))


def load(kind: Kind, name: str) -> Any:
    """Import what a package publishes under a name.

    Args:
        kind: "measures", "perturbations" or "readers".
        name: A name among those of :func:`installed`.

    Raises:
        PluginError: An ``ImportError``, if two packages publish the name, the package fails to import, or what it publishes
            is a class that lacks methods; the message names the packages.
        KeyError: If no package publishes it.
    """
    found = _published(kind)[name]
    if len(found) > 1:
        packages = " and ".join(packages_of(kind, name))
        raise PluginError(f"{packages} both publish {_described(kind, name)}: uninstall one of them")
    try:
        loaded = found[0].load()
    except Exception as error:  # a stranger's module may raise anything
        raise broken(kind, name, error) from error
    if inspect.isabstract(loaded):
        lacking = " and ".join(sorted(loaded.__abstractmethods__))
        raise broken(kind, name, TypeError(f"its class {loaded.__name__} doesn't define {lacking}"))
    return loaded


def packages_of(kind: Kind, name: str) -> list[str]:
    """The packages that publish a name, sorted; nothing is imported.

    Args:
        kind: "measures", "perturbations" or "readers".
        name: The name.

    Example:
        >>> packages_of("measures", "published by nobody")
        []
    """
    return sorted(_package(point) for point in _published(kind).get(name, ()))


def broken(kind: Kind, name: str, error: Exception) -> PluginError:
    """The error for what a package publishes and can't be used, in one sentence that names the package."""
    reason = " ".join(str(error).split()) or type(error).__name__
    packages = " and ".join(packages_of(kind, name))
    return PluginError(
        f"{_described(kind, name)} of the package {packages} can't be used: {type(error).__name__}: {reason}"
    )


def warn_of_hidden(kind: Kind, ours: Iterable[str]) -> None:
    """Warn of packages that publish a name which is neuroalign's own: ours is used.

    Args:
        kind: "measures", "perturbations" or "readers".
        ours: Names of neuroalign.
    """
    published = _published(kind)
    for name in sorted(set(ours) & set(published)):
        warnings.warn(hidden(kind, name), stacklevel=outside())


def hidden(kind: Kind, name: str) -> str:
    """The sentence for what a package publishes under a name of neuroalign's own."""
    packages = " and ".join(packages_of(kind, name))
    return (
        f"{_described(kind, name)} of the package {packages} is hidden by neuroalign's own of this name, which is used"
    )


def _published(kind: Kind) -> dict[str, tuple[EntryPoint, ...]]:
    return _found(kind, tuple(sys.path))


@lru_cache(maxsize=16)  # looking through all packages takes milliseconds, and a loss is made often
def _found(kind: str, path: tuple[str, ...]) -> dict[str, tuple[EntryPoint, ...]]:
    found: dict[str, dict[tuple[str, str], EntryPoint]] = {}
    for point in entry_points(group=f"neuroalign.{kind}"):
        # A package on the path twice (an editable installation beside a built one) is one package.
        found.setdefault(point.name, {}).setdefault((_package(point), point.value), point)
    return {name: tuple(points.values()) for name, points in found.items()}


def _package(point: EntryPoint) -> str:
    return point.value.split(":")[0] if point.dist is None else point.dist.name


def _described(kind: Kind, name: str) -> str:
    return f"the {kind.removesuffix('s')} {name!r}"
