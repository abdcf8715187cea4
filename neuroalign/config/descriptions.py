"""What describes an object in plain values, and how a class of one's own comes to be described."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import asdict, is_dataclass
from typing import Any, TypeGuard, TypeVar, overload

from neuroalign.config.classes import REGISTERED

PLAIN = (str, int, float, bool, type(None))
_OWN = "_neuroalign_description"
_T = TypeVar("_T", bound=type)


class _NotPlain(Exception):
    """Some argument has no plain description."""


def _plain(value: Any) -> Any:
    if isinstance(value, bool) or type(value) in PLAIN:
        return value
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    config = description_of(value)
    if config is not None:
        return _plain(config)
    if is_dataclass(value) and not isinstance(value, type):
        return _plain(asdict(value))
    raise _NotPlain(type(value).__name__)


def describe(class_path: str, **init_args: Any) -> dict[str, Any] | None:
    """The description of a constructor call, or None if an argument can't be put in plain values.

    Args:
        class_path: Dotted path of a class (or classmethod) inside ``neuroalign``, or the name of a registered class.
        **init_args: The arguments; modules of ours are replaced by their own ``.config``.

    Example:
        >>> describe("neuroalign.models.Normalize", mean=(0.5,), std=(0.2,))
        {'class_path': 'neuroalign.models.Normalize', 'init_args': {'mean': [0.5], 'std': [0.2]}}
        >>> describe("neuroalign.models.Frozen", module=object()) is None
        True
    """
    try:
        return {"class_path": class_path, "init_args": _plain(init_args)}
    except _NotPlain:
        return None


def description_of(value: Any) -> dict[str, Any] | None:
    """The description that rebuilds an object, None if it has none.

    A ``.config`` counts only if it describes the object's own class: that of a subclass was written by its parent, and
    other libraries keep other things under this name.

    Example:
        >>> from neuroalign.losses import MMCRLoss
        >>> description_of(MMCRLoss())["class_path"]
        'neuroalign.losses.MMCRLoss'
        >>> class Mine(MMCRLoss):
        ...     pass
        >>> description_of(Mine()) is None
        True
    """
    value = getattr(value, "_orig_mod", value)  # what torch.compile wraps
    own = getattr(value, "__dict__", {}).get(_OWN)
    if own is not None:
        return own if REGISTERED.get(own["class_path"]) is type(value) else None
    config = getattr(value, "config", None)
    if not is_description(config) or not isinstance(config["class_path"], str):
        return None
    named = config["class_path"].split(".")
    if named[0] != "neuroalign":
        return dict(config) if REGISTERED.get(config["class_path"]) is type(value) else None
    is_ours = type(value).__module__.partition(".")[0] == "neuroalign" and type(value).__name__ in named[-2:]
    return dict(config) if is_ours else None


def is_description(value: Any) -> TypeGuard[dict[str, Any]]:
    """Whether a value is a description of a module.

    Example:
        >>> is_description({"class_path": "neuroalign.losses.MMCRLoss"}), is_description({"V4": "mse"})
        (True, False)
    """
    return isinstance(value, Mapping) and "class_path" in value


@overload
def register(cls: _T, /) -> _T: ...


@overload
def register(*, name: str | None = None) -> Callable[[_T], _T]: ...


def register(cls: Any = None, /, *, name: str | None = None) -> Any:
    """Let descriptions name a class of your own, so that files which hold one can be saved and loaded.

    Its objects then keep the arguments they were made with. Where all of these are plain values, or modules that have a
    description themselves, whatever holds such an object can be saved, and is rebuilt in any process that registered
    the class before. A file can name it and choose its arguments: register what may be built with any.

    Args:
        cls: The class. Its constructor takes its arguments by name, and no ``*args``.
        name: What files call it; default its module and name, ``"my_lab.Retina"``. It must stay the same as long as
            files are to be loaded.

    Returns:
        The class.

    Raises:
        TypeError: If it is no class.
        ValueError: If the name is taken by another class, or begins with ``neuroalign.``.

    Example:
        >>> from neuroalign import NeuralPredictor
        >>> @register(name="my_lab.Retina")
        ... class Retina(nn.Sequential):
        ...     def __init__(self, width):
        ...         super().__init__(nn.Flatten(), nn.Linear(192, width))
        >>> NeuralPredictor(Retina(4), 10, image_shape=(3, 8, 8)).config["init_args"]["backbone"]
        {'class_path': 'my_lab.Retina', 'init_args': {'width': 4}}
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
    if before not in (None, cls) and not same:  # a cell of a notebook is run again
        raise ValueError(
            f"{path!r} is registered already, as {before.__module__}.{before.__qualname__}: give another name"
        )
    REGISTERED[path] = cls
    made, signature = cls.__init__, inspect.signature(cls.__init__)

    @functools.wraps(made)
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        if type(self) is not cls:  # of a subclass the arguments are others
            made(self, *args, **kwargs)
            return
        config = describe(path, **_by_name(signature, self, args, kwargs))  # before the constructor changes them
        made(self, *args, **kwargs)
        self.__dict__[_OWN] = config

    if before is not cls:
        cls.__init__ = __init__  # type: ignore[method-assign]  # what a class decorator is for
    return cls


def _by_name(signature: inspect.Signature, self: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """Arguments of a constructor call by name; something that is no plain value where they can't be given so."""
    try:
        bound = signature.bind(self, *args, **kwargs)
    except TypeError:  # the constructor itself will say so
        return {}
    bound.apply_defaults()
    found: dict[str, Any] = {}
    for key, value in list(bound.arguments.items())[1:]:
        kind = signature.parameters[key].kind
        if kind is inspect.Parameter.VAR_KEYWORD:
            found.update(value)
        elif kind in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.POSITIONAL_ONLY):
            found.update({key: object()} if value else {})
        else:
            found[key] = value
    return found
