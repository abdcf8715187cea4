"""Whether numbers vary at all: the rule that decides where a correlation, a similarity or a z-score is undefined.

Numbers are constant when the largest and the smallest differ by no more than a few units in the last place of the larger
magnitude. This rule is relative to their own scale, for any constant, length, dtype and unit. A variance can't serve: the
mean of equal numbers is rounded, the more the longer the sum, and minus this mean they look like a signal.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from neuroalign.functional.distributed import reduce_max

__all__: list[str] = []


def is_constant(low: Any, high: Any, eps: float) -> Any:
    """Whether numbers from ``low`` to ``high`` are constant up to rounding; True also where there are no numbers.

    Args:
        low: Smallest number, a tensor or array; infinity where there are no numbers.
        high: Largest number; minus infinity where there are none.
        eps: Distance from 1 to the next number of the dtype.

    Returns:
        Boolean tensor or array; False for NaN and infinite numbers, which callers refuse elsewhere.

    Example:
        >>> is_constant(torch.tensor([0.1, 0.1, 0.0]), torch.tensor([0.1, 0.2, 1e-30]), 1e-7)
        tensor([ True, False, False])
    """
    span = high - low
    return (span <= 2 * eps * (abs(low) + abs(high))) & (span < torch.inf)


def extremes(x: Tensor, used: Tensor | None = None, dim: int = 0) -> tuple[Tensor, Tensor]:
    """Smallest and largest used number along a dimension, detached; infinity and minus infinity where none is used."""
    x = x.detach()
    if not x.shape[dim]:  # a process without any stimulus
        x, used = (
            x.new_zeros(1, 1).expand(*(1 if i == dim else n for i, n in enumerate(x.shape))),
            x.new_zeros(1, 1) > 0,
        )
    if used is None:
        return x.amin(dim), x.amax(dim)
    return torch.where(used, x, torch.inf).amin(dim), torch.where(used, x, -torch.inf).amax(dim)


def unit_range(
    x: Tensor, used: Tensor | None = None, dim: int = 0, *, whole: bool = False, distributed: bool = False
) -> tuple[Tensor, Tensor, Tensor]:
    """Shift and scale numbers along a dimension to run from 0 to 1, or to exactly 0 where they are constant.

    For formulas that shift and scale do not change: products of the results stay inside the dtype in any unit, and a mean
    that is large beside the spread no longer costs digits. Shift and scale are detached, which is right for such formulas.

    Args:
        x: (stimulus, column).
        used: (stimulus, column) bool, which numbers count; None means all. The others are returned as 0.
        dim: 0 goes along stimuli, with one range per column; 1 along columns.
        whole: Whether to use one scale for all, the largest range, so that ratios between columns are kept.
        distributed: Whether the numbers along the dimension are spread over processes.

    Returns:
        The numbers; whether they vary, (column,) for ``dim=0``; and the range by which they were divided, (column,) or a
        scalar with ``whole``, 1 where nothing varies.

    Example:
        >>> unit_range(torch.tensor([[1e20, 0.1], [3e20, 0.1]]))[:2]
        (tensor([[0., 0.],
                [1., 0.]]), tensor([ True, False]))
    """
    low, high = extremes(x, used, dim)
    if distributed:
        low, high = reduce_max(torch.stack([-low, high])).unbind()
        low = -low
    # Subnormal numbers have lost digits, and have no inverse.
    varies = ~is_constant(low, high, torch.finfo(x.dtype).eps) & ~(high - low < torch.finfo(x.dtype).tiny)
    span = torch.where(varies, high - low, 0)
    if whole:
        top = span.amax()
        scale = torch.where(top == 0, 1, top)
        inverse = torch.where(varies, 1 / scale, 0)
    else:
        scale = torch.where(varies, span, 1)
        inverse = torch.where(varies, 1 / scale, 0)
    low = torch.where(varies, low, 0)
    x = (x - low.unsqueeze(dim)) * inverse.unsqueeze(dim)
    return (x if used is None else torch.where(used, x, 0)), varies, scale


def power_of_two(x: Float[Tensor, ...]) -> Float[Tensor, ""]:
    """The largest power of two not above the largest magnitude, detached; 1 where all numbers are 0, or there are none.

    For formulas in which squares would leave the dtype although the result would not: divided by this power, numbers are
    below 2, and nothing is rounded, because only exponents change.

    Example:
        >>> power_of_two(torch.tensor([3.0, -5.0])), power_of_two(torch.zeros(2))
        (tensor(4.), tensor(1.))
    """
    x = x.detach()
    if not x.numel():
        return x.new_ones(())
    low, high = x.aminmax()
    top = torch.maximum(-low, high)
    # The inverse of the smallest numbers would be infinite.
    unit = torch.exp2(torch.log2(top).floor()).clamp_min(2 * torch.finfo(x.dtype).tiny)
    return torch.where((top > 0) & top.isfinite(), unit, 1)


def odd_unit(x: Tensor) -> float:
    """:func:`power_of_two` if the largest magnitude is outside 0.001 to 1000, else 1; a Python number, read from the device.

    NaN or infinity if one of the numbers is. For formulas that shouldn't copy ordinary numbers only to divide them.

    Example:
        >>> odd_unit(torch.tensor([3.0, -5.0])), odd_unit(torch.tensor([2.0**70])) == 2.0**70
        (1.0, True)
    """
    if not x.numel():
        return 1.0
    low, high = x.detach().aminmax()
    top = float(torch.maximum(-low, high))
    if top == 0 or 1e-3 <= top <= 1e3:
        return 1.0
    return max(2.0 ** math.floor(math.log2(top)), 2 * torch.finfo(x.dtype).tiny) if math.isfinite(top) else top


def unit_magnitude(x: Float[Tensor, "stimulus column"], dim: int) -> tuple[Tensor, Tensor]:
    """Numbers divided by the largest magnitude along a dimension, and whether that isn't 0: for formulas without a mean.

    Args:
        x: (stimulus, column), 0 where missing.
        dim: 0 goes along stimuli, 1 along columns.

    Example:
        >>> unit_magnitude(torch.tensor([[1e-20, -2e-20], [0.0, 0.0]]), dim=1)
        (tensor([[ 0.5000, -1.0000],
                [ 0.0000,  0.0000]]), tensor([ True, False]))
    """
    low, high = extremes(x, dim=dim)
    top = torch.maximum(-low, high)
    defined = ~(top < torch.finfo(x.dtype).tiny)
    return x * torch.where(defined, 1 / torch.where(defined, top, 1), 0).unsqueeze(dim), defined
