"""Why an object has no description, in words for an error message."""

from __future__ import annotations

import inspect
from typing import Any

from neuroalign.config.records import path_of, recorded

__all__ = ["reason_undescribed", "reason_unsaved"]


def reason_undescribed(value: Any) -> str:
    """The reason why an object has no description, for an error message; with a remedy if there is one.

    Example:
        >>> class Mine:
        ...     pass
        >>> print(reason_undescribed(Mine()))
        Mine is no class of neuroalign; your own are described if neuroalign.register was
        called on them before
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
        >>> network = GuidedNetwork(nn.Flatten(), None, {"V4": head}, image_shape=(3, 2, 2))
        >>> print(reason_unsaved(network))
        GuidedNetwork can't be described: <lambda> is a function or class, which no file can
        hold
    """
    record = recorded(getattr(value, "_orig_mod", value))
    if record is not None and isinstance(record.saved, str) and record.saved:
        return f"{type(value).__name__} can't be described: {record.saved}"
    return reason_undescribed(value)
