"""Names of weights in checkpoints, with and without ``torch.compile``."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

__all__: list[str] = []


def renamed(state: Mapping[str, Any], name: Callable[[str], str | None]) -> OrderedDict[str, Any]:
    """A state dict with other names and with the modules' versions, which PyTorch stores as its ``_metadata``.

    Args:
        state: Tensors by name.
        name: The new name of a tensor or module; None leaves it out.

    Example:
        >>> from torch import nn
        >>> state = renamed(
        ...     nn.BatchNorm1d(2).state_dict(), lambda key: f"norm.{key}" if key else "norm"
        ... )
        >>> list(state)[0], state._metadata["norm"]
        ('norm.weight', {'version': 2})
    """
    out = OrderedDict((new, value) for key, value in state.items() if (new := name(key)) is not None)
    metadata = getattr(state, "_metadata", None)
    if metadata is not None:
        out._metadata = OrderedDict(  # type: ignore[attr-defined]  # where torch keeps the modules' versions
            (new, v) for key, v in metadata.items() if (new := name(key)) is not None
        )
    return out


def uncompiled(key: str) -> str:
    """The name of a weight without the parts that ``torch.compile`` adds.

    Example:
        >>> uncompiled("network._orig_mod.trunk.weight"), uncompiled("network._orig_mod")
        ('network.trunk.weight', 'network')
    """
    return ".".join(part for part in key.split(".") if part != "_orig_mod")


def as_in(state: Mapping[str, Any], own: Mapping[str, Any]) -> OrderedDict[str, Any]:
    """A state dict under the names of another one, for names that differ only by ``torch.compile``.

    Args:
        state: The state dict from a file.
        own: The state dict of the module that will load it.

    Example:
        >>> dict(as_in({"network._orig_mod.weight": 1, "extra": 2}, {"network.weight": 0}))
        {'network.weight': 1, 'extra': 2}
    """
    names = {uncompiled(key): key for key in (*getattr(own, "_metadata", ()), *own)}
    return renamed(state, lambda key: names.get(uncompiled(key), key))
