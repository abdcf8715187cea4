"""Objects that keep their constructor arguments, and their description in plain values."""

from __future__ import annotations

import copy
import functools
import inspect
import numbers
import sys
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, is_dataclass
from typing import Any

__all__ = ["Described", "description_of", "reason_undescribed"]

REGISTERED: dict[str, type] = {}
"""Users' classes by their name in descriptions; filled by :func:`neuroalign.config.register`."""

_RECORD = "_neuroalign_record"
_UNKNOWN = object()
_RECORDING: weakref.WeakSet[Any] = weakref.WeakSet()  # the constructors that record_arguments has wrapped


class NotPlain(Exception):
    """A value can't be expressed in plain values; the message says why."""


@dataclass(frozen=True)
class _Record:
    """How an object was made: its class, its arguments in plain values or why they are not plain, and its classmethod."""

    made: type
    arguments: dict[str, Any] | None
    lacking: str = ""
    constructor: str | None = None


class _Config:
    """``.config``: the description of an object. Not a property, so that an attribute of this name hides it."""

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        return self if instance is None else description_of(instance)


class Described:
    """A class whose objects keep their constructor arguments, so that they can be rebuilt from a file.

    ``.config`` is then ``{"class_path": ..., "init_args": {...}}``, or None if an argument can't be expressed in plain values
    or the class is neither defined in neuroalign nor registered. The arguments are those of the outermost constructor, as
    they were before it ran, and not those that a subclass passes to its parent. ``.config`` can't be set: another attribute
    of this name hides it, and is never written to a file.

    A subclass needs no code for this. If other arguments than the given ones rebuild the object, it overrides
    ``_described``.

    Example:
        >>> from neuroalign.losses import MMCRLoss
        >>> MMCRLoss(local_weight=0.5).config["init_args"]
        {'centroid_weight': 1.0, 'local_weight': 0.5, 'distributed': True}
    """

    config: Any = _Config()
    _rebuilt_by: str | None = None
    """Name of the classmethod that takes the arguments of ``_described``; None for the class itself."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "__init__" in vars(cls):
            record_arguments(cls)

    def _described(self, arguments: dict[str, Any]) -> dict[str, Any] | None:
        """The arguments that rebuild the object; None if there are none.

        Called once, after the object is made. It belongs to the constructor of the same class: a subclass with its own
        constructor doesn't inherit it, since that constructor takes other arguments.

        Args:
            arguments: Arguments of the constructor call by name, with defaults, as they were before it ran.
        """
        return arguments


def record_arguments(cls: type) -> None:
    """Wrap the constructor of a class, unless it is wrapped already, so that its objects keep their arguments.

    If constructors are nested, only the outermost records its arguments: the ``__init__`` of the object's own class. The
    signature, the name and the docstring of the constructor stay as they are.
    """
    made = cls.__init__  # type: ignore[misc]
    if made is object.__init__ or made in _RECORDING:
        return
    signature = inspect.signature(made)

    @functools.wraps(made)
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        state = getattr(self, "__dict__", None)
        if state is None or state.get(_RECORD, _UNKNOWN) is None or not _is_outermost(self, __init__):
            made(self, *args, **kwargs)
            return
        state[_RECORD] = None  # being made: constructors called inside this one record nothing
        try:
            arguments = _by_name(signature, self, args, kwargs)
            made(self, *args, **kwargs)
            record = _record_of(self, cls, arguments)
        except BaseException:
            state.pop(_RECORD, None)
            raise
        self.__dict__[_RECORD] = record

    _RECORDING.add(__init__)
    cls.__init__ = __init__  # type: ignore[misc]


def _is_outermost(self: Any, init: Callable[..., None]) -> bool:
    """Whether a constructor is that of the object's own class, even if a user's decorator is around it."""
    return inspect.unwrap(type(self).__init__, stop=lambda function: function is init) is init


def _record_of(self: Any, cls: type, arguments: dict[str, Any]) -> _Record:
    constructor: str | None = None
    changed: dict[str, Any] | None = arguments
    if isinstance(self, Described):
        owner = next(base for base in type(self).__mro__ if "_described" in vars(base))
        if issubclass(owner, cls):  # else _described takes a parent's arguments
            changed, constructor = self._described(arguments), vars(owner).get("_rebuilt_by")
    if changed is None:
        return _Record(type(self), None, "its values are kept in no file")
    try:
        return _Record(type(self), plain(changed), "", constructor)
    except NotPlain as lacking:
        return _Record(type(self), None, str(lacking))


def _by_name(signature: inspect.Signature, self: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """Arguments of a constructor call by name; a value that is not plain stands for arguments without a name."""
    try:
        bound = signature.bind(self, *args, **kwargs)
    except TypeError:  # the constructor will raise this error itself
        return {"arguments": _UNKNOWN}
    given = set(bound.arguments)
    bound.apply_defaults()
    found: dict[str, Any] = {}
    for key, value in list(bound.arguments.items())[1:]:
        kind = signature.parameters[key].kind
        if kind is inspect.Parameter.VAR_KEYWORD:
            found.update(value)
        elif kind in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.POSITIONAL_ONLY):
            found.update({key: _UNKNOWN} if value else {})
        elif key in given or _is_plain(value):  # a default that is not plain is left out
            found[key] = value
    try:
        return {key: _copied(value) for key, value in found.items()}
    except RecursionError:  # a list or dict that holds itself
        return dict.fromkeys(found, _UNKNOWN)


def _is_plain(value: Any) -> bool:
    try:
        plain(value)
    except NotPlain:
        return False
    return True


def _copied(value: Any) -> Any:
    """Copies of lists and dicts, so that the constructor can't change the record; other values are not copied."""
    if isinstance(value, Mapping):
        return {k: _copied(v) for k, v in value.items()}
    if type(value) in (list, tuple):
        return type(value)(_copied(v) for v in value)
    return value


def plain(value: Any) -> Any:
    """A value as strings, numbers, booleans, None, lists and dicts.

    Raises:
        NotPlain: If the value holds anything that is neither such a value nor an object with a description.

    Example:
        >>> plain({"sizes": (1, 2), "name": "V4"})
        {'sizes': [1, 2], 'name': 'V4'}
    """
    if value is _UNKNOWN:
        raise NotPlain("an argument was not given by name")
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, numbers.Integral):  # numpy's integers too
        return int(value)
    if isinstance(value, numbers.Real):
        return float(value)
    if isinstance(value, Sequence) and not isinstance(value, (bytes, bytearray, memoryview)):
        return [plain(v) for v in value]
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    config = description_of(value)
    if config is not None:
        return config
    if is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value))
    raise NotPlain(reason_undescribed(value))


def description_of(value: Any) -> dict[str, Any] | None:
    """The description that rebuilds an object; None if it has none.

    Uses only arguments that the object's own constructor recorded, and only for classes of neuroalign or registered classes,
    since other libraries store other things in ``.config``.

    Example:
        >>> from neuroalign.losses import MMCRLoss
        >>> description_of(MMCRLoss())["class_path"]
        'neuroalign.losses.MMCRLoss'
        >>> class Mine(MMCRLoss):
        ...     pass
        >>> description_of(Mine()) is None
        True
    """
    value = getattr(value, "_orig_mod", value)  # the module inside torch.compile's wrapper
    path, record = path_of(type(value)), _recorded(value)
    if path is None or record is None or record.arguments is None:
        return None
    path = path if record.constructor is None else f"{path}.{record.constructor}"
    return {"class_path": path, "init_args": copy.deepcopy(record.arguments)}


def _recorded(value: Any) -> _Record | None:
    record = getattr(value, "__dict__", {}).get(_RECORD)
    if isinstance(record, _Record):
        return record if record.made is type(value) else None
    kind: Any = type(value)  # Any, so that type checkers accept the next line
    takes_none = kind.__init__ is object.__init__ and kind.__new__ is object.__new__
    return _Record(type(value), {}) if takes_none else None


def reason_undescribed(value: Any) -> str:
    """The reason why an object has no description, for an error message; with a remedy if there is one.

    Example:
        >>> class Mine:
        ...     pass
        >>> reason_undescribed(Mine())
        'Mine is no class of neuroalign; your own are described if neuroalign.register was called on them before'
    """
    value = getattr(value, "_orig_mod", value)
    cls = type(value)
    if inspect.isroutine(value) or isinstance(value, type):
        return f"{getattr(value, '__name__', cls.__name__)} is a function or class, which no file can hold"
    if hasattr(value, "shape"):
        return f"a {cls.__name__} is no plain value"
    if path_of(cls) is None:
        return (
            f"{cls.__name__} is no class of neuroalign; your own are described if neuroalign.register was called on them "
            "before"
        )
    record = _recorded(value)
    if record is None or not record.lacking:
        return f"{cls.__name__} keeps no arguments that it was made with: was it made before it was registered?"
    return f"{cls.__name__} can't be described: {record.lacking}"


def path_of(cls: type) -> str | None:
    """The name of a class in descriptions: its public name in neuroalign, or its registered name; None if it has neither.

    Example:
        >>> from neuroalign.models import NeuralPredictor
        >>> path_of(NeuralPredictor), path_of(dict)
        ('neuroalign.models.NeuralPredictor', None)
    """
    own = getattr(sys.modules.get(cls.__module__), cls.__qualname__, None)  # None for a nested class
    if cls.__module__.startswith("neuroalign.") and own is cls and issubclass(cls, Described):
        room = cls.__module__.split(".")[1]
        return None if cls.__name__.startswith("_") else f"neuroalign.{room}.{cls.__name__}"
    return next((name for name, found in reversed(REGISTERED.items()) if found is cls), None)
