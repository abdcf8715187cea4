"""Voxel-wise sums on the CPU, block by block, so that a block's intermediate results stay in the processor's cache.

A chain of operations on whole matrices reads and writes the memory at every step, which takes longer than the arithmetic.
Missing values are found and left out by operations on floating-point numbers (0 times NaN is NaN), because those on booleans
take several times as long on a CPU.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

__all__: list[str] = []

_NUMBERS = 2**18  # per block: a megabyte of float32, so that a few such arrays fit into a core's cache


def blocks(x: Tensor, dim: int = 0) -> Iterator[slice]:
    """Slices along a dimension that divide a matrix into blocks of equal size, the last one perhaps smaller.

    Example:
        >>> list(blocks(torch.zeros(3, 2)))
        [slice(0, 3, None)]
    """
    size = max(1, _NUMBERS // max(1, x.shape[1 - dim]))
    for start in range(0, x.shape[dim], size):
        yield slice(start, min(start + size, x.shape[dim]))


def mark(x: Tensor, target: Tensor) -> Tensor:
    """A copy of ``x`` with NaN where the target is NaN; the target has no infinite value.

    Example:
        >>> mark(torch.tensor([1.0, 2.0]), torch.tensor([torch.nan, 0.0]))
        tensor([nan, 2.])
    """
    return torch.add(x, target, alpha=0.0)


def count_valid(target: Tensor, dim: int) -> Tensor:
    """Number of values along a dimension that are not NaN, as floating-point numbers; the target has no infinite value.

    Example:
        >>> count_valid(torch.tensor([[1.0, torch.nan], [2.0, 3.0]]), 0)
        tensor([2., 1.])
    """
    return mark(target.new_ones(()).expand_as(target), target).nansum(dim)
