"""Names that still work where they were before they moved or were renamed."""

from __future__ import annotations

import functools
import importlib
import warnings
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, cast

__all__: list[str] = []

_F = TypeVar("_F", bound=Callable[..., Any])


def former_names(
    module: str, moved: Mapping[str, str], renamed: Mapping[str, str] | None = None, *, stacklevel: int = 2
) -> Callable[[str], object]:
    """A module's ``__getattr__`` (PEP 562) for names that are defined elsewhere now; modules are loaded on first use.

    Args:
        module: Dotted name of the module.
        moved: Names that stay valid here, each with the module that defines it.
        renamed: Former names, each with the dotted path of its present name; using one warns.
        stacklevel: Stack level of the warning; 3 where the module's own ``__getattr__`` calls this one.

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
            warnings.warn(f"{module}.{name} is {renamed[name]} now", DeprecationWarning, stacklevel=stacklevel)
            return getattr(importlib.import_module(place), now)
        raise AttributeError(f"module {module!r} has no attribute {name!r}")

    return __getattr__


def former_keywords(**renamed: str) -> Callable[[_F], _F]:
    """A decorator for a function whose arguments were renamed: the former names still work, and warn.

    Args:
        **renamed: Each former name, with the present name as its value.

    Raises:
        TypeError: If a call gives an argument by both names.

    Example:
        >>> @former_keywords(penalty="C")
        ... def fit(C=1.0):
        ...     return C
        >>> fit(C=2.0)
        2.0
    """

    def decorate(function: _F) -> _F:
        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            for former in renamed.keys() & kwargs.keys():
                now = renamed[former]
                if now in kwargs:
                    raise TypeError(f"{function.__qualname__}() got {now!r} and its former name {former!r}")
                message = f"{former!r} of {function.__qualname__}() is {now!r} now"
                warnings.warn(message, DeprecationWarning, stacklevel=2)
                kwargs[now] = kwargs.pop(former)
            return function(*args, **kwargs)

        return cast(_F, call)

    return decorate
