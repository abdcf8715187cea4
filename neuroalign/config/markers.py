"""What stands in a file for a module of a user's own class: the names of the class, and nothing that is built unasked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

__all__: list[str] = []

_KEY = "own_module"
_LONGEST = 300  # characters of a name


class OwnModule(NamedTuple):
    """The class of a module that a file doesn't describe: where it was defined, and its qualified name there."""

    module: str
    qualname: str

    @property
    def name(self) -> str:
        """The last part of the class's name."""
        return self.qualname.rpartition(".")[2]

    def __str__(self) -> str:
        return f"{self.module}.{self.qualname}"


def marker_of(value: Any) -> dict[str, Any] | None:
    """The plain values that stand for a module of a class of the user's own; None for anything else.

    Example:
        >>> marker_of(nn.Flatten())
        {'own_module': {'module': 'torch.nn.modules.flatten', 'class': 'Flatten'}}
    """
    from torch import nn

    if not isinstance(value, nn.Module):
        return None
    cls = type(value)
    return {_KEY: {"module": cls.__module__, "class": cls.__qualname__}}


def own_module(value: Any) -> OwnModule | None:
    """The class that a marker names; None for any other value.

    Example:
        >>> own_module({"own_module": {"module": "mylab.nets", "class": "MyNet"}})
        OwnModule(module='mylab.nets', qualname='MyNet')
        >>> own_module({"own_module": "mse"}) is None
        True
    """
    if not isinstance(value, Mapping) or list(value) != [_KEY]:
        return None
    names = value[_KEY]
    if not isinstance(names, Mapping) or sorted(map(str, names)) != ["class", "module"]:
        return None
    found = OwnModule(names["module"], names["class"])
    sound = all(isinstance(n, str) and 0 < len(n) <= _LONGEST and n.isprintable() for n in found)
    return found if sound else None


def own_modules(value: Any) -> Iterator[OwnModule]:
    """The markers in a description, in the order in which its arguments are built.

    Args:
        value: A description that :func:`neuroalign.config.classes.check_names` accepts, so that it ends somewhere.
    """
    found = own_module(value)
    if found is not None:
        yield found
    elif isinstance(value, (list, Mapping)):
        for item in value.values() if isinstance(value, Mapping) else value:
            if isinstance(item, (list, Mapping)):
                yield from own_modules(item)
