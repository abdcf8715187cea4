"""Objects that keep their constructor arguments, and their description in plain values."""

from __future__ import annotations

import copy
import functools
import inspect
import numbers
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, is_dataclass
from typing import Any

from neuroalign.config.markers import marker_of
from neuroalign.config.reasons import reason_undescribed
from neuroalign.config.records import RECORD, Record, path_of, recorded

__all__ = ["Described", "description_of", "saved_description_of"]

_UNKNOWN = object()
_RECORDING: weakref.WeakSet[Any] = weakref.WeakSet()  # the constructors that record_arguments has wrapped


class NotPlain(Exception):
    """A value can't be expressed in plain values; the message says why."""


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
        if state is None or state.get(RECORD, _UNKNOWN) is None or not _is_outermost(self, __init__):
            made(self, *args, **kwargs)
            return
        state[RECORD] = None  # being made: constructors called inside this one record nothing
        try:
            arguments = _by_name(signature, self, args, kwargs)
            made(self, *args, **kwargs)
            record = _record_of(self, cls, arguments)
        except BaseException:
            state.pop(RECORD, None)
            raise
        self.__dict__[RECORD] = record

    _RECORDING.add(__init__)
    cls.__init__ = __init__  # type: ignore[misc]


def _is_outermost(self: Any, init: Callable[..., None]) -> bool:
    """Whether a constructor is that of the object's own class, even if a user's decorator is around it."""
    return inspect.unwrap(type(self).__init__, stop=lambda function: function is init) is init


def _record_of(self: Any, cls: type, arguments: dict[str, Any]) -> Record:
    constructor: str | None = None
    changed: dict[str, Any] | None = arguments
    if isinstance(self, Described):
        owner = next(base for base in type(self).__mro__ if "_described" in vars(base))
        if issubclass(owner, cls):  # else _described takes a parent's arguments
            changed, constructor = self._described(arguments), vars(owner).get("_rebuilt_by")
    if changed is None:
        return Record(type(self), None, "its values are kept in no file")
    try:
        return Record(type(self), plain(changed), "", constructor)
    except NotPlain as lacking:
        saved: dict[str, Any] | str
        try:
            saved = plain(changed, own=True)
        except NotPlain as why:
            saved = str(why)
        return Record(type(self), None, str(lacking), constructor, saved)


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


def plain(value: Any, *, own: bool = False) -> Any:
    """A value as strings, numbers, booleans, None, lists and dicts.

    Args:
        value: The value.
        own: Whether the names of its class stand for a module that has no description, which can't be built from them alone.

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
        return [plain(v, own=own) for v in value]
    if isinstance(value, Mapping):
        return {str(k): plain(v, own=own) for k, v in value.items()}
    config = saved_description_of(value) if own else description_of(value)
    if config is not None:
        return config
    if is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value), own=own)
    marker = marker_of(value) if own and path_of(type(value)) is None else None
    if marker is not None:
        return marker
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
    return _description(value, lambda record: record.arguments)


def saved_description_of(value: Any) -> dict[str, Any] | None:
    """The description for a file: as :func:`description_of`, but with the names of their classes for modules that have none.

    Example:
        >>> from neuroalign.models import Frozen
        >>> description_of(Frozen(nn.Flatten())) is None
        True
        >>> saved_description_of(Frozen(nn.Flatten()))["init_args"]
        {'module': {'own_module': {'module': 'torch.nn.modules.flatten', 'class': 'Flatten'}}}
    """
    return _description(value, lambda record: record.saved if record.arguments is None else record.arguments)


def _description(value: Any, of: Callable[[Record], dict[str, Any] | str | None]) -> dict[str, Any] | None:
    value = getattr(value, "_orig_mod", value)  # the module inside torch.compile's wrapper
    path, record = path_of(type(value)), recorded(value)
    arguments = None if path is None or record is None else of(record)
    if record is None or not isinstance(arguments, dict):
        return None
    path = path if record.constructor is None else f"{path}.{record.constructor}"
    return {"class_path": path, "init_args": copy.deepcopy(arguments)}
