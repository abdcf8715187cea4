"""Communication between processes, for losses over a batch that is spread over them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

__all__ = ["gather_batch", "reduce_sum"]

_ALONE: ContextVar[bool] = ContextVar("alone", default=False)
# The open contexts of all threads. Without any, nobody asks the variable, which torch.compile can't trace before torch 2.14.
_OPEN: list[object] = []


@contextmanager
def alone() -> Iterator[None]:
    """Context in which the functions of this module communicate nothing: for data that were gathered before.

    Example:
        >>> with alone():
        ...     world_size()
        1
    """
    token = _ALONE.set(True)
    _OPEN.append(token)
    try:
        yield
    finally:
        _OPEN.remove(token)
        _ALONE.reset(token)


def world_size() -> int:
    """Number of processes that train together; 1 where nothing is distributed."""
    if _OPEN and _ALONE.get():
        return 1
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


class _GatherRows(torch.autograd.Function):
    """All rows of all processes, in rank order; the backward pass sums the gradients of our rows over ranks."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, counts: tuple[int, ...]) -> Tensor:
        ctx.counts = counts
        longest = max(counts)
        padded = x.new_zeros(longest, *x.shape[1:])
        padded[: len(x)] = x
        parts = [torch.empty_like(padded) for _ in counts]
        dist.all_gather(parts, padded)
        return torch.cat([part[:n] for part, n in zip(parts, counts)])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        counts, rank = ctx.counts, dist.get_rank()
        grad = grad.contiguous().clone()
        dist.all_reduce(grad)
        start = sum(counts[:rank])
        return grad[start : start + counts[rank]], None


def gather_batch(x: Tensor) -> Tensor:
    """The rows of every process, differentiable, in rank order; ``x`` itself on one process.

    Batches may differ in length between processes. A loss of the gathered batch needs no factor: DistributedDataParallel
    averages gradients over processes, and the backward pass here sums over them.

    Args:
        x: (stimulus, ...), the same trailing shape and dtype on every process.

    Returns:
        (all stimuli, ...).

    Example:
        >>> gather_batch(torch.ones(3, 2)).shape
        torch.Size([3, 2])
    """
    size = world_size()
    if size == 1:
        return x
    count = torch.tensor([len(x)], device=x.device)
    counts = [torch.empty_like(count) for _ in range(size)]
    dist.all_gather(counts, count)
    result: Tensor = _GatherRows.apply(x.contiguous(), tuple(int(n) for n in counts))
    return result


class _Total(torch.autograd.Function):
    """A sum over processes; the backward pass sums the gradient over processes."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        x = x.clone()
        dist.all_reduce(x)
        return x

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        grad = grad.contiguous().clone()
        dist.all_reduce(grad)
        return grad


def total(x: Tensor) -> Tensor:
    """The sum of ``x`` over processes, differentiable; ``x`` itself on one process. No factor, as in :func:`gather_batch`.

    Example:
        >>> total(torch.tensor(2.0))
        tensor(2.)
    """
    return x if world_size() == 1 else _Total.apply(x.contiguous())


def reduce_sum(x: Tensor) -> Tensor:
    """The sum of ``x`` over processes, not differentiable; ``x`` itself on one process.

    Example:
        >>> reduce_sum(torch.tensor(2.0))
        tensor(2.)
    """
    if world_size() == 1:
        return x
    x = x.detach().clone()
    dist.all_reduce(x)
    return x


def reduce_max(x: Tensor) -> Tensor:
    """The elementwise maximum of ``x`` over processes, not differentiable; ``x`` itself on one process.

    Example:
        >>> reduce_max(torch.tensor(2.0))
        tensor(2.)
    """
    if world_size() == 1:
        return x
    parts = [torch.empty_like(x) for _ in range(world_size())]
    dist.all_gather(parts, x.detach().contiguous())  # gathered and not reduced: a reduction may lose NaN
    return torch.stack(parts).amax(0)
