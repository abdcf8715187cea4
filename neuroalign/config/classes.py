"""The classes that a description may name, found without importing or calling anything else."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from neuroalign.config.described import Described
from neuroalign.config.records import REGISTERED

__all__ = ["DescriptionError"]

MAX_DEPTH = 100
"""Largest number of levels of a description; saved descriptions have about ten."""

MAX_VALUES = 2_000_000
"""Largest number of values in a description, including those in its lists and dicts."""

ROOMS = ("data", "guidance", "losses", "models", "perturbations", "tasks")

FORMER = {
    "neuroalign.Normalize": "neuroalign.models.Normalize",
    "neuroalign.Ramp": "neuroalign.guidance.Ramp",
    "neuroalign.RandomFourierFeatures": "neuroalign.losses.RandomFourierFeatures",
    "neuroalign.Square": "neuroalign.perturbations.SquareAttack",
    "neuroalign.perturbations.Square": "neuroalign.perturbations.SquareAttack",
    "neuroalign.perturbations.attacks.square.Square": "neuroalign.perturbations.SquareAttack",
}
"""Present names of classes by the former names in older files."""

_PUBLIC = re.compile(r"[A-Za-z][A-Za-z0-9_]*(\.[A-Za-z][A-Za-z0-9_]*)*", re.ASCII)
_SCALARS = (str, int, float, type(None))
_ALL = "which is all that a description may name"
_TRAINERS = ("lightning", "pytorch_lightning", "lightning_fabric")


class DescriptionError(ValueError):
    """A description names something that descriptions may not name, or doesn't fit the class that it names."""


class UnregisteredError(DescriptionError):
    """A description names a class that is none of neuroalign's, and not registered in this process."""

    def __init__(self, path: str) -> None:
        self.path = path
        shown = path if len(path) <= 80 else path[:77] + "..."
        super().__init__(
            f"{shown!r} is no class of neuroalign's, and not registered in this process: if it is yours, import it and call "
            "neuroalign.register on it before; anything else is never built from a file"
        )


def check_names(value: Any) -> list[tuple[str, tuple[str, ...]]]:
    """The class path and the argument names of every description in a value.

    Everything that can be checked without an import is checked.

    Raises:
        DescriptionError: If a path is neither in neuroalign nor registered, a description has another form, or the value is
            nested too deeply or too large.

    Example:
        >>> check_names(
        ...     [{"class_path": "neuroalign.losses.MMCRLoss", "init_args": {"weight": 1}}]
        ... )
        [('neuroalign.losses.MMCRLoss', ('weight',))]
    """
    found: list[tuple[str, tuple[str, ...]]] = []
    level, num_values = [value], 1
    for _ in range(MAX_DEPTH):
        following: list[Any] = []
        for item in level:  # level by level: recursion would overflow Python's stack
            children: Any = item
            if not isinstance(item, (list, tuple)):
                if not isinstance(item, Mapping):
                    continue
                if "class_path" in item:
                    path, item = _parts(item)
                    found.append((path, tuple(item)))
                children = item.values()
            following += [v for v in children if not isinstance(v, _SCALARS)]
            num_values += len(children)
            if num_values > MAX_VALUES:
                raise DescriptionError(f"the description holds more than {MAX_VALUES:,} values: it is no module's")
        if not following:
            return found
        level = following
    raise DescriptionError(f"the description is nested more than {MAX_DEPTH} levels deep: it is no module's")


def _parts(description: Mapping[Any, Any]) -> tuple[str, Mapping[str, Any]]:
    path, arguments = description["class_path"], description.get("init_args")
    if not isinstance(path, str):
        raise DescriptionError(f"class_path must be a string; got {type(path).__name__}")
    if registered(path) is None:
        _check_path(path)
    more = [str(k)[:40] for k in description if k not in ("class_path", "init_args")]
    if more:
        raise DescriptionError(f"the description of {path} has {more[0]!r} beside class_path and init_args")
    if arguments is not None and not (isinstance(arguments, Mapping) and all(isinstance(k, str) for k in arguments)):
        raise DescriptionError(f"init_args of {path} must hold the arguments by name; got {type(arguments).__name__}")
    return path, arguments or {}


def _check_path(path: str) -> None:
    shown = path if len(path) <= 80 else path[:77] + "..."
    parts = FORMER.get(path, path).split(".")
    if parts[0] != "neuroalign":
        raise UnregisteredError(path)
    if not _PUBLIC.fullmatch(path) or len(path) > 200:
        raise DescriptionError(f"{shown!r} is not a public name of neuroalign")
    from neuroalign import _ROOM_OF  # names only: nothing is loaded

    room = _ROOM_OF.get(parts[1], parts[1]) if len(parts) > 1 else None
    if room not in ROOMS:
        raise DescriptionError(
            f"{shown!r} is not the name of a module, attack or robust training of neuroalign, {_ALL}"
        )


def find_class(path: str) -> Callable[..., Any]:
    """The class, or constructing classmethod, of a path that :func:`check_names` accepts.

    Only classes defined in neuroalign's own modules are found, not names that these modules import from elsewhere.

    Raises:
        DescriptionError: If there is no such class, or it is not a kind of class that descriptions may build.

    Example:
        >>> find_class("neuroalign.losses.MMCRLoss").__name__
        'MMCRLoss'
    """
    own = registered(path)
    if own is not None:
        return own
    path = FORMER.get(path, path)
    *within, name = path.split(".")
    method = None
    module = _module(within)
    if module is None and len(within) > 1:  # <module>.<class>.<classmethod>
        *within, name, method = path.split(".")
        module = _module(within)
    found = None if module is None else _attribute(module, name)
    refused = f"{path!r} is not the name of a module, attack or robust training of neuroalign, {_ALL}"
    if not inspect.isclass(found) or not f"{found.__module__}.".startswith("neuroalign.") or not _is_kind(found):
        raise DescriptionError(refused)
    if method is None:
        return found
    if method != getattr(found, "_rebuilt_by", None):
        raise DescriptionError(refused)
    result: Callable[..., Any] = getattr(found, method)
    return result


def registered(path: str) -> Callable[..., Any] | None:
    """The registered class of a name, or the classmethod that rebuilds its objects; None if the name is not registered."""
    if path in REGISTERED:
        return REGISTERED[path]
    owner, _, method = path.rpartition(".")
    rebuilt_by = getattr(REGISTERED.get(owner), "_rebuilt_by", None)
    return getattr(REGISTERED[owner], method) if rebuilt_by is not None and method == rebuilt_by else None


def _module(parts: list[str]) -> Any:
    """A module of neuroalign by the parts of its name; None if there is none. Parent packages are imported first."""
    module = importlib.import_module("neuroalign")
    for depth in range(2, len(parts) + 1):
        name = ".".join(parts[:depth])
        if not hasattr(module, "__path__") or importlib.util.find_spec(name) is None:
            return None
        module = importlib.import_module(name)
    return module


def _attribute(module: Any, name: str) -> Any:
    if module.__name__ == "neuroalign":
        return getattr(module, name, None)  # loaded from its subpackage
    return vars(module).get(name)


def _is_kind(found: type) -> bool:
    """Whether descriptions may build a class: a concrete module or ``Described``, not derived from Lightning's classes."""
    from torch import nn

    if inspect.isabstract(found) or any(base.__module__.split(".")[0] in _TRAINERS for base in found.__mro__):
        return False
    return issubclass(found, (nn.Module, Described))


def check_arguments(maker: Callable[..., Any], path: str, names: Iterable[str]) -> None:
    """Raise an error if a class doesn't take one of the arguments, or if a required argument is missing.

    Raises:
        DescriptionError: If an argument is unknown or missing; the message names the class and its arguments.

    Example:
        >>> check_arguments(
        ...     find_class("neuroalign.models.Normalize"),
        ...     "neuroalign.models.Normalize",
        ...     ["mean", "std"],
        ... )
    """
    parameters = inspect.signature(maker).parameters
    names = set(names)
    if not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        more = sorted(names - parameters.keys())
        if more:
            takes = ", ".join(parameters) or "none"
            raise DescriptionError(f"{path} has no argument {more[0][:80]!r}; its arguments are: {takes}")
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    missing = [p.name for p in parameters.values() if p.kind in kinds and p.default is p.empty and p.name not in names]
    if missing:
        raise DescriptionError(f"the description of {path} lacks its argument {missing[0]!r}")
