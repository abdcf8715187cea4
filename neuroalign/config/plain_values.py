"""An object as plain values: its description, from the arguments that its constructor recorded, or why it has none."""

from __future__ import annotations

import copy
import inspect
import numbers
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, is_dataclass
from typing import Any

from neuroalign.config.markers import marker_of

__all__ = ["description_of", "reason_undescribed", "reason_unsaved", "saved_description_of"]

REGISTERED: dict[str, type] = {}
"""Users' classes by their name in descriptions; filled by :func:`neuroalign.config.register`."""

RECORD = "_neuroalign_record"
"""Attribute of an object that keeps how it was made."""

UNKNOWN = object()
"""Stands for an argument whose name or value can't be kept."""


class NotPlain(Exception):
    """A value can't be expressed in plain values; the message says why."""


@dataclass(frozen=True)
class Record:
    """How an object was made: its class, its arguments in plain values or why they are not plain, and its classmethod.

    ``saved`` are the arguments for a file that names the classes of a user's own modules, or why there are none.
    """

    made: type
    arguments: dict[str, Any] | None
    lacking: str = ""
    constructor: str | None = None
    saved: dict[str, Any] | str = ""


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
    if value is UNKNOWN:
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


def recorded(value: Any) -> Record | None:
    """How an object was made; None if that is not known."""
    record = getattr(value, "__dict__", {}).get(RECORD)
    if isinstance(record, Record):
        return record if record.made is type(value) else None
    kind: Any = type(value)  # Any, so that type checkers accept the next line
    takes_none = kind.__init__ is object.__init__ and kind.__new__ is object.__new__
    return Record(type(value), {}) if takes_none else None


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
    record = recorded(value)
    if record is None or not record.lacking:
        return f"{cls.__name__} keeps no arguments that it was made with: was it made before it was registered?"
    return f"{cls.__name__} can't be described: {record.lacking}"


def reason_unsaved(value: Any) -> str:
    """The reason why no file can describe an object, for an error message.

    Example:
        >>> from neuroalign.models import GuidedNetwork
        >>> head = (None, 2, lambda feature_shape, num_outputs: nn.LazyLinear(num_outputs))
        >>> reason_unsaved(GuidedNetwork(nn.Flatten(), None, {"V4": head}, image_shape=(3, 2, 2)))
        "GuidedNetwork can't be described: <lambda> is a function or class, which no file can hold"
    """
    record = recorded(getattr(value, "_orig_mod", value))
    if record is not None and isinstance(record.saved, str) and record.saved:
        return f"{type(value).__name__} can't be described: {record.saved}"
    return reason_undescribed(value)


def path_of(cls: type) -> str | None:
    """The name of a class in descriptions: its public name in neuroalign, or its registered name; None if it has neither.

    Example:
        >>> from neuroalign.models import NeuralPredictor
        >>> path_of(NeuralPredictor), path_of(dict)
        ('neuroalign.models.NeuralPredictor', None)
    """
    own = getattr(sys.modules.get(cls.__module__), cls.__qualname__, None)  # None for a nested class
    # Only Described has a _rebuilt_by; it can't be named here, since it records its arguments with the functions above.
    if cls.__module__.startswith("neuroalign.") and own is cls and hasattr(cls, "_rebuilt_by"):
        room = cls.__module__.split(".")[1]
        return None if cls.__name__.startswith("_") else f"neuroalign.{room}.{cls.__name__}"
    return next((name for name, found in reversed(REGISTERED.items()) if found is cls), None)
