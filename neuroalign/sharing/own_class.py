"""How a model card tells a reader to make the backbone of a class that the folder doesn't hold."""

from __future__ import annotations

import inspect

__all__: list[str] = []


def own_class(cls: type, name: str) -> tuple[list[str], str]:
    """Lines that import a class, and the expression that makes its object for ``backbone=``.

    Arguments that the object was made with are known to nobody here: where the class takes any, the expression is a function
    with ``...`` in their place, and a comment lists their names.

    Args:
        cls: The class.
        name: Its name as the card shows it.

    Example:
        >>> own_class(nn.Flatten, "Flatten")[1]
        'lambda: Flatten(...)'
        >>> own_class(nn.Flatten, "Flatten")[0][0]
        'from torch.nn.modules.flatten import Flatten'
    """
    lines = [_import(cls, name)]
    names = _parameters(cls)
    if names == []:
        return lines, f"{name}()"
    told = "" if names is None else f": {', '.join(names)}"
    lines.append(f"# ... stands for the arguments that {name} was made with, which this folder doesn't hold{told}")
    return lines, f"lambda: {name}(...)"


def _import(cls: type, name: str) -> str:
    module = cls.__module__
    parts = module.split(".")
    importable = all(part.isidentifier() and part.isascii() for part in parts) and parts[0] != "__main__"
    if not importable or cls.__qualname__ != name:
        return f"# {name} is not defined in a module that others could import: ask the authors for it"
    return f"from {module} import {name}"


def _parameters(cls: type) -> list[str] | None:
    """Names of the arguments of a class, ASCII ones only; None if Python can't tell."""
    try:
        found = list(inspect.signature(cls).parameters)
    except (TypeError, ValueError):
        return None
    return found if all(name.isascii() for name in found) else None
