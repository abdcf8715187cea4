"""Plain-value descriptions of modules, so that a checkpoint can rebuild what it holds.

A description has the form that LightningCLI writes, ``{"class_path": ..., "init_args": {...}}``, and holds only
strings, numbers, booleans, None, lists and dicts. A module of ours keeps the description of its own constructor call
in ``.config``, or None where an argument (someone's ``nn.Module``, a function) can't be said in plain values.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from importlib import import_module
from typing import Any

_PLAIN = (str, int, float, bool, type(None))


class _NotPlain(Exception):
    """Some argument has no plain description."""


def _plain(value: Any) -> Any:
    if isinstance(value, bool) or type(value) in _PLAIN:
        return value
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if is_dataclass(value) and not isinstance(value, type):
        return _plain(asdict(value))
    config = getattr(value, "config", None)
    if isinstance(config, Mapping):
        return _plain(config)
    raise _NotPlain(type(value).__name__)


def describe(class_path: str, **init_args: Any) -> dict[str, Any] | None:
    """The description of a constructor call, or None if an argument can't be put in plain values.

    Args:
        class_path: Dotted path of a class (or classmethod) inside ``neuroalign``.
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


def is_description(value: Any) -> bool:
    """Whether a value is a description of a module."""
    return isinstance(value, Mapping) and "class_path" in value


def build(value: Any) -> Any:
    """Build what a description describes; anything else comes back as it is.

    Only names inside ``neuroalign`` are built: a checkpoint must not be able to call arbitrary code.

    Raises:
        ValueError: If the description names something outside ``neuroalign``.
    """
    if is_description(value):
        path = value["class_path"]
        parts = path.split(".")
        if parts[0] != "neuroalign" or len(parts) < 2:
            raise ValueError(
                f"only modules of neuroalign are built from a description, not {path!r}: pass the object itself"
            )
        found: Any = import_module("neuroalign")
        for depth, part in enumerate(parts[1:], start=2):
            if part.startswith("_"):
                raise ValueError(f"{path!r} is not a public name of neuroalign")
            try:
                found = getattr(found, part)
            except AttributeError:
                found = import_module(".".join(parts[:depth]))
        return found(**{k: build(v) for k, v in (value.get("init_args") or {}).items()})
    if isinstance(value, Mapping):
        return {k: build(v) for k, v in value.items()}
    if isinstance(value, list):
        return [build(v) for v in value]
    return value
