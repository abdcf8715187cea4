"""Which ``class_path`` of a configuration may be imported and called."""

from __future__ import annotations

import inspect
import pydoc
from collections.abc import Iterator, Mapping
from typing import Any

from neuroalign.types import unknown

__all__: list[str] = []


def class_paths(value: Any) -> Iterator[str]:
    """Every ``class_path`` in a configuration of plain values."""
    if isinstance(value, (Mapping, list, tuple)):
        if isinstance(value, Mapping) and isinstance(value.get("class_path"), str):
            yield value["class_path"]
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from class_paths(item)


def check_class(path: str) -> None:
    """Refuse a path that is not a class: where an argument may be anything, the parser would call any function.

    A function with an annotated return type, such as torchvision's ``resnet18``, is accepted like a class.
    """
    found = pydoc.locate(path)
    ours = path.split(".")[0] == "neuroalign"
    if ours and found is None:
        module, _, name = path.rpartition(".")
        raise ValueError(
            unknown(f"class of {module}:", name, [n for n in dir(pydoc.locate(module)) if n[:1].isupper()])
        )
    if ours and str(getattr(found, "__module__", "")).split(".")[0] != "neuroalign":
        raise ValueError(f"class_path {path!r} is none of neuroalign's classes")
    if found is None or inspect.isclass(found):  # the parser reports an unknown path itself
        return
    if getattr(found, "__annotations__", {}).get("return") is None:
        raise ValueError(f"class_path {path!r} is no class, nor a function that says what it returns: it is not called")
