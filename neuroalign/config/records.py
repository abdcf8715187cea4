"""What is kept of how an object was made, and the names of classes in descriptions."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

__all__: list[str] = []

REGISTERED: dict[str, type] = {}
"""Users' classes by their name in descriptions; filled by :func:`neuroalign.config.register`."""

RECORD = "_neuroalign_record"
"""The attribute that holds an object's record."""


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


def recorded(value: Any) -> Record | None:
    """How an object was made; None if that is not known."""
    record = getattr(value, "__dict__", {}).get(RECORD)
    if isinstance(record, Record):
        return record if record.made is type(value) else None
    kind: Any = type(value)  # Any, so that type checkers accept the next line
    takes_none = kind.__init__ is object.__init__ and kind.__new__ is object.__new__
    return Record(type(value), {}) if takes_none else None


def path_of(cls: type) -> str | None:
    """The name of a class in descriptions: its public name in neuroalign, or its registered name; None if it has neither.

    Example:
        >>> from neuroalign.models import NeuralPredictor
        >>> path_of(NeuralPredictor), path_of(dict)
        ('neuroalign.models.NeuralPredictor', None)
    """
    own = getattr(sys.modules.get(cls.__module__), cls.__qualname__, None)  # None for a nested class
    if cls.__module__.startswith("neuroalign.") and own is cls and hasattr(cls, "_rebuilt_by"):  # a Described
        room = cls.__module__.split(".")[1]
        return None if cls.__name__.startswith("_") else f"neuroalign.{room}.{cls.__name__}"
    return next((name for name, found in reversed(REGISTERED.items()) if found is cls), None)
