"""Descriptions of constructor calls in plain values, and the registration of users' classes."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeGuard, TypeVar, overload

from neuroalign.config.described import NotPlain, plain, record_arguments
from neuroalign.config.records import REGISTERED

__all__ = ["describe", "is_description", "register"]

PLAIN = (str, int, float, bool, type(None))
_T = TypeVar("_T", bound=type)


def describe(class_path: str, **init_args: Any) -> dict[str, Any] | None:
    """The description of a constructor call; None if an argument can't be expressed in plain values.

    Args:
        class_path: Dotted path of a class (or classmethod) inside ``neuroalign``, or the name of a registered class.
        **init_args: The arguments; modules of neuroalign are replaced by their own ``.config``.

    Example:
        >>> describe("neuroalign.models.Normalize", mean=(0.5,), std=(0.2,))
        {'class_path': 'neuroalign.models.Normalize',
         'init_args': {'mean': [0.5], 'std': [0.2]}}
        >>> describe("neuroalign.models.Frozen", module=object()) is None
        True
    """
    try:
        return {"class_path": class_path, "init_args": plain(init_args)}
    except NotPlain:
        return None


def is_description(value: Any) -> TypeGuard[dict[str, Any]]:
    """Whether a value is a description of a module.

    Example:
        >>> (
        ...     is_description({"class_path": "neuroalign.losses.MMCRLoss"}),
        ...     is_description({"V4": "mse"}),
        ... )
        (True, False)
    """
    return isinstance(value, Mapping) and "class_path" in value


@overload
def register(cls: _T, /) -> _T: ...


@overload
def register(*, name: str | None = None) -> Callable[[_T], _T]: ...


def register(cls: Any = None, /, *, name: str | None = None) -> Any:
    """Allow descriptions to name your own class, so that files with its objects can be saved and loaded.

    Its objects then keep their constructor arguments. If all of these are plain values, or modules that have a description
    themselves, anything that holds such an object can be saved, and is rebuilt in any process that has registered the class.
    A file can then name the class and choose its arguments, so only register classes that are safe with any arguments.

    Args:
        cls: The class. Its constructor takes all arguments by name, and no ``*args``.
        name: Name of the class in files; None means its module and name, ``"my_lab.Fovea"``. It must stay the same as long as
            files are to be loaded.

    Returns:
        The class.

    Raises:
        TypeError: If it is not a class.
        ValueError: If the name is taken by another class, or begins with ``neuroalign.``.

    Example:
        >>> from neuroalign import NeuralPredictor
        >>> @register(name="my_lab.Fovea")
        ... class Fovea(nn.Sequential):
        ...     def __init__(self, width):
        ...         super().__init__(nn.Flatten(), nn.Linear(192, width))
        >>> NeuralPredictor(Fovea(4), 10, image_shape=(3, 8, 8)).config["init_args"]["backbone"]
        {'class_path': 'my_lab.Fovea', 'init_args': {'width': 4}}
    """
    if cls is None:
        return functools.partial(_register, name=name)
    return _register(cls, name=name)


def _register(cls: Any, *, name: str | None) -> Any:
    if not inspect.isclass(cls):
        raise TypeError(f"register takes a class; got {type(cls).__name__}")
    path = f"{cls.__module__}.{cls.__qualname__}" if name is None else name
    if path.partition(".")[0] == "neuroalign":
        raise ValueError(
            f"{path!r}: names in neuroalign are its own; give another, register(name='my_lab.{cls.__name__}')"
        )
    before = REGISTERED.get(path)
    same = before is not None and (before.__module__, before.__qualname__) == (cls.__module__, cls.__qualname__)
    if before not in (None, cls) and not same:  # the same class is fine: a notebook's cell was run again
        raise ValueError(
            f"{path!r} is registered already, as {before.__module__}.{before.__qualname__}: give another name"
        )
    REGISTERED[path] = cls
    record_arguments(cls)
    return cls
