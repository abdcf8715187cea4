"""When a formula may look at values: reading a number from a GPU makes the host wait, and no compiled graph can do it.

On the CPU a look is free, so there every call is checked in words. On another device a module looks at its first batch. From
then on, and in compiled graphs, a form without branches computes the same values, and what would have been refused becomes
NaN.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

__all__: list[str] = []


def readable(x: Tensor) -> bool:
    """Whether looking at values of ``x`` costs nothing: it is on the CPU, and no graph is being compiled.

    Example:
        >>> readable(torch.zeros(2))
        True
    """
    return x.device.type == "cpu" and not torch.compiler.is_compiling()


def without_autocast(x: Tensor) -> AbstractContextManager[object]:
    """A context in which the device of ``x`` computes in the dtypes of its tensors; nothing where it does so anyway.

    Example:
        >>> with torch.autocast("cpu"), without_autocast(torch.zeros(1)):
        ...     (torch.ones(2, 2) @ torch.ones(2, 2)).dtype
        torch.float32
    """
    kind = x.device.type
    if torch.compiler.is_compiling() or torch.is_autocast_enabled(kind):
        return torch.autocast(kind, enabled=False)
    return nullcontext()


class FirstBatch:
    """Whether a module looks at the values of this batch: at every batch on the CPU, else only at the first one.

    Example:
        >>> looks = FirstBatch()
        >>> looks(torch.zeros(2)), looks(torch.zeros(2))  # on the CPU
        (True, True)
    """

    def __init__(self) -> None:
        self._seen = False

    def __call__(self, x: Tensor) -> bool:
        """Whether to look at values now."""
        if readable(x):
            return True
        if self._seen or torch.compiler.is_compiling():
            return False
        self._seen = True
        return True


def spoil(value: Tensor, wrong: Tensor) -> Tensor:
    """The value, or NaN with NaN gradients if something is wrong: an error that a computation on a device can give.

    Args:
        value: Any shape.
        wrong: Scalar bool tensor on the same device.

    Example:
        >>> (
        ...     spoil(torch.tensor(2.0), torch.tensor(False)),
        ...     spoil(torch.tensor(2.0), torch.tensor(True)),
        ... )
        (tensor(2.), tensor(nan))
    """
    return value * torch.where(wrong, torch.nan, 1.0).to(value.dtype)
