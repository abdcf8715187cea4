"""Correlations and cosines on the CPU, block by block: the numbers of ``functional.correlation`` at the price of plain torch.

Sums of products decide in most cases that a voxel varies and that no product leaves the dtype. Where they leave it open, for
a constant voxel for instance, that voxel (or stimulus) alone is computed by the general form.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from neuroalign.functional.blocks import blocks, mark
from neuroalign.functional.checks import check_infinite
from neuroalign.functional.correlation import masked_correlation, unit_distances

__all__: list[str] = []

_LARGEST_MEAN = 10.0  # standard deviations; larger ones cost more than one digit of a sum of squares
_SIZES = (1e-24, 1e24)  # of sums of squares whose products and quotients stay inside float32


class _Block(NamedTuple):
    """What one block of voxels (or stimuli) gives.

    Attributes:
        value: Correlation, or half the squared distance of unit vectors; 0 where not sure.
        by_preds: Factor of the predictions in the derivative of the value.
        by_target: Factor of the target.
        rest: Its constant.
        number: Number of valid entries.
        sure: Whether the value is certain.
    """

    value: Tensor
    by_preds: Tensor
    by_target: Tensor
    rest: Tensor
    number: Tensor
    sure: Tensor


def _block(p: Tensor, t: Tensor, weight: Tensor | None, dim: int, centered: bool, missing: bool) -> _Block:
    def total(x: Tensor) -> Tensor:
        return x.sum(dim) if weight is None else x @ weight

    def valid(x: Tensor) -> Tensor:
        return mark(x, t).nan_to_num_(nan=0.0) if missing else x

    one = valid(t.new_ones(()).expand_as(t))
    count = one.sum(dim) if weight is None else one @ (weight > 0).to(one.dtype)
    size = count if weight is None else total(one)
    mean_p = mean_t = torch.zeros_like(count)
    x, y = valid(p), t.nan_to_num(nan=0.0) if missing else t
    if centered:
        mean_p, mean_t = total(x) / size, total(y) / size
        x, y = valid(p - mean_p.unsqueeze(dim)), valid(t - mean_t.unsqueeze(dim))
    xx, yy = total(x * x), total(y * y)
    low, high = _SIZES
    sure = (xx > low) & (xx < high) & (yy > low) & (yy < high) & (count > 1 - (not centered))
    for square, mean in ((xx, mean_p), (yy, mean_t)):
        sure &= mean.square() * size < _LARGEST_MEAN**2 * square
    length_x, length_y = (torch.where(sure, s, 1).sqrt() for s in (xx, yy))
    if centered:
        value = total(x * y) / (length_x * length_y)
        r, sign = value, 1.0
    else:  # 1 - cos itself cancels for responses with a large mean
        value = total((x / length_x.unsqueeze(dim) - y / length_y.unsqueeze(dim)).square_()) / 2
        r, sign = 1 - value, -1.0
    by_preds, by_target = -sign * r / length_x.square(), sign / (length_x * length_y)
    parts = (torch.where(sure, part, 0) for part in (value, by_preds, by_target))
    value, by_preds, by_target = parts
    return _Block(value, by_preds, by_target, -by_preds * mean_p - by_target * mean_t, count, sure)


def general_correlation(preds: Tensor, target: Tensor, weight: Tensor | None, dim: int, centered: bool) -> Tensor:
    """The same values by the general forms, on any device, for any numbers; 0 (distances: 1) where undefined."""
    used = ~target.isnan() if weight is None else ~target.isnan() & (weight > 0)
    entries = used.to(target.dtype) if weight is None else torch.where(used, weight, 0)
    preds, target = torch.where(used, preds, 0), torch.where(used, target, 0)
    if centered:
        return masked_correlation(preds, target, dim, entries, centered=True)[0]
    return unit_distances(preds, target, entries)


class _Correlation(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, preds: Tensor, target: Tensor, weight: Tensor | None, dim: int, centered: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        found, ctx.missing = [], []
        for b in blocks(preds, 1 - dim):
            p, t = (x[:, b] if dim == 0 else x[b] for x in (preds, target))
            # Predictions that are NaN must stay so: only the target may have gaps.
            ctx.missing.append(math.isnan(float(t.sum())) and math.isfinite(float(p.sum())))
            found.append(_block(p, t, weight, dim, centered, ctx.missing[-1]))
        value, *factors, count, sure = (torch.cat(parts) for parts in zip(*found, strict=True))
        ctx.save_for_backward(preds, target, weight, sure, *factors)
        ctx.dim, ctx.centered = dim, centered
        ctx.mark_non_differentiable(count, sure)
        return value, count, sure

    @staticmethod
    def backward(ctx: Any, grad: Tensor, *_: Any) -> tuple[Tensor, None, None, None, None]:
        preds, target, weight, sure, *factors = ctx.saved_tensors
        dim = ctx.dim
        if torch.is_grad_enabled():  # the gradient will be differentiated itself
            value = general_correlation(preds, target, weight, dim, ctx.centered)
            (slope,) = torch.autograd.grad(value, preds, torch.where(sure, grad, 0), create_graph=True)
            return slope, None, None, None, None
        a, b, c = (grad * factor for factor in factors)
        out = torch.empty_like(preds)
        for rows, missing in zip(blocks(preds, 1 - dim), ctx.missing, strict=True):
            at = (slice(None), rows) if dim == 0 else (rows,)
            part = torch.mul(preds[at], a[rows].unsqueeze(dim), out=out[at])
            part.addcmul_(target[at], b[rows].unsqueeze(dim)).add_(c[rows].unsqueeze(dim))
            if missing:
                part.nan_to_num_(nan=0.0)
            if weight is not None:
                part.mul_(weight)
            if not bool(sure[rows].all()):  # where 0 times an infinite number is NaN
                part.masked_fill_(~sure[rows].unsqueeze(dim), 0)
        return out, None, None, None, None


def block_correlation(
    preds: Float[Tensor, "stimulus voxel"],
    target: Float[Tensor, "stimulus voxel"],
    *,
    dim: int,
    centered: bool,
    weight: Float[Tensor, " voxel"] | None = None,
    wanted: Bool[Tensor, " voxel"] | None = None,
) -> tuple[Float[Tensor, " _"], Float[Tensor, " _"]]:
    """Correlations, or distances of unit vectors, of valid entries, differentiable by preds.

    Args:
        preds: (stimulus, voxel), on the CPU.
        target: (stimulus, voxel), on the CPU, NaN where missing.
        dim: 0 correlates over stimuli, 1 over voxels.
        centered: Whether to subtract means: correlations. If not, half the squared distances of unit vectors: 1 - the cosine.
        weight: (voxel,), finite and not negative, for ``dim=1``.
        wanted: (voxel,), for ``dim=0``: the others may have any value, without a gradient; None means all.

    Returns:
        Values, and the numbers of valid entries of positive weight: (voxel,) for ``dim=0``, (stimulus,) for ``dim=1``. An
        undefined correlation is 0 and an undefined distance 1, both without a gradient.

    Raises:
        ValueError: If the target has an infinite value.

    Example:
        >>> x = torch.tensor([[1.0, 5.0], [2.0, 5.0], [4.0, 5.0]])
        >>> r, number = block_correlation(x, 2 * x, dim=0, centered=True)
        >>> r.round(decimals=4), number
        (tensor([1., 0.]), tensor([3., 3.]))
    """
    value, count, sure = _Correlation.apply(preds, target, weight, dim, centered)
    doubtful = ~sure & (count > 0)
    if bool(doubtful.any()):
        check_infinite(target=target)
    if wanted is not None:
        doubtful &= wanted
    if bool(doubtful.any()):
        at = doubtful.nonzero()[:, 0]
        index = (slice(None), at) if dim == 0 else (at,)
        value = value.index_put((at,), general_correlation(preds[index], target[index], weight, dim, centered))
    return value if centered else torch.where(count > 0, value, 1), count
