"""Losses of single entries summed on the CPU: squared differences, and the Poisson deviance.

The same numbers as :mod:`neuroalign.functional.likelihood` computes, at about the price of torch's plain losses, also where
values are missing. Missing values show in the sums themselves, as NaN, so that nobody has to look for them first.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from neuroalign.functional.blocks import blocks, count_valid, mark

__all__: list[str] = []

_LARGE = 2**20  # numbers; for fewer, computing in vain costs no more than looking


class _Squares(torch.autograd.Function):
    """Sums of squared differences; the differences become the gradient in place, so that one matrix is kept."""

    @staticmethod
    def forward(ctx: Any, preds: Tensor, target: Tensor, by_voxel: bool, missing: bool) -> tuple[Tensor, Tensor]:
        difference, sums, counts = torch.empty_like(preds), [], []
        for b in blocks(preds):
            d = torch.sub(preds[b], target[b], out=difference[b])
            part = None if missing else _squared(d, by_voxel)
            if part is None or not _finite(part):
                # Predictions that are NaN must stay so: only the target may have gaps.
                missing = _finite(preds[b])
                part = _squared(torch.nan_to_num(d, nan=0.0, out=d) if missing else d, by_voxel)
            sums.append(part)
            counts.append(count_valid(target[b], 0) if missing else None)
        ctx.save_for_backward(preds, target)
        ctx.difference = difference
        count = _counts(counts, preds)
        ctx.mark_non_differentiable(count)
        return _add(sums), count

    @staticmethod
    def backward(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Tensor, None, None, None]:
        preds, target = ctx.saved_tensors
        if torch.is_grad_enabled() or ctx.difference is None:  # differentiated again, or called a second time
            missing = target.isnan()
            return torch.where(missing, 0, preds - torch.where(missing, 0, target)) * (2 * grad), None, None, None
        difference, ctx.difference = ctx.difference, None
        return difference.mul_(2 * grad), None, None, None


class _Deviance(torch.autograd.Function):
    """Sums of half the Poisson deviance of counts from log rates; the backward pass computes the rates again."""

    @staticmethod
    def forward(ctx: Any, log_rates: Tensor, target: Tensor, by_voxel: bool) -> tuple[Tensor, Tensor]:
        sums, counts, ctx.missing = [], [], []
        for b in blocks(log_rates):
            p, t = log_rates[b], target[b]
            missing = math.isnan(float(t.sum())) and _finite(p)
            part = _deviance(p, t.nan_to_num(nan=0.0) if missing else t)
            if missing and _finite(part):
                part = mark(part, t).nan_to_num_(nan=0.0)
            sums.append(part.sum(0) if by_voxel else part.sum())
            counts.append(count_valid(t, 0) if missing else None)
            ctx.missing.append(missing)
        ctx.save_for_backward(log_rates, target)
        count = _counts(counts, log_rates)
        ctx.mark_non_differentiable(count)
        return _add(sums), count

    @staticmethod
    def backward(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Tensor, None, None]:
        log_rates, target = ctx.saved_tensors
        if torch.is_grad_enabled():  # differentiated again
            return torch.where(target.isnan(), 0, log_rates.exp() - target) * grad, None, None
        out = torch.empty_like(log_rates)
        for b, missing in zip(blocks(log_rates), ctx.missing, strict=True):
            slope = torch.exp(log_rates[b], out=out[b]).sub_(target[b])
            (slope.nan_to_num_(nan=0.0) if missing else slope).mul_(grad)
        return out, None, None


def starts_incomplete(target: Tensor) -> bool:
    """Whether the first few stimuli of a large target have missing values: a guess at the price of reading those only.

    Example:
        >>> starts_incomplete(torch.full((1024, 1024), torch.nan))
        True
    """
    return target.numel() >= _LARGE and math.isnan(target[:8].sum().item())


def _squared(d: Tensor, by_voxel: bool) -> Tensor:
    return d.square().sum(0) if by_voxel else torch.dot(d.flatten(), d.flatten())


def _deviance(log_rate: Tensor, count: Tensor) -> Tensor:
    if float(count.min()) < 0:
        return torch.full_like(count, torch.nan)
    # The logarithm of 0 is slow, and 0 times that of the smallest number is the limit, 0.
    log_count = count.clamp_min(torch.finfo(count.dtype).tiny).log_()
    return torch.exp(log_rate).sub_(count).addcmul_(count, log_count.sub_(log_rate))


def _finite(x: Tensor) -> bool:
    return math.isfinite(float(x.sum()))


def _add(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.stack(parts).sum(0)


def _counts(parts: list[Tensor | None], preds: Tensor) -> Tensor:
    rows = [b.stop - b.start for b in blocks(preds)]
    complete = sum(n for n, part in zip(rows, parts, strict=True) if part is None)
    return _add([preds.new_full((preds.shape[1],), complete), *(part for part in parts if part is not None)])


def squared_differences(
    preds: Float[Tensor, "stimulus voxel"],
    target: Float[Tensor, "stimulus voxel"],
    *,
    by_voxel: bool,
    incomplete: bool = False,
) -> tuple[Float[Tensor, "*voxel"], Float[Tensor, " voxel"]] | None:
    """Sums of the squared differences of valid entries, differentiable by preds, and the numbers of valid entries.

    Args:
        preds: (stimulus, voxel), on the CPU.
        target: (stimulus, voxel), on the CPU, NaN where missing.
        by_voxel: Whether to give one sum per voxel, not one of all.
        incomplete: Whether values are known to be missing. This saves time; the result doesn't depend on it.

    Returns:
        The sum or sums, and (voxel,) counts. None where this form can't serve: predictions are NaN, a value is infinite, or a
        sum leaves the dtype.

    Example:
        >>> squared_differences(
        ...     torch.zeros(2, 1), torch.tensor([[3.0], [torch.nan]]), by_voxel=True
        ... )
        (tensor([9.]), tensor([1.]))
    """
    sums, counts = _Squares.apply(preds, target, by_voxel, incomplete or starts_incomplete(target))
    return (sums, counts) if _finite(sums.detach()) else None


def poisson_deviances(
    log_rates: Float[Tensor, "stimulus neuron"], counts: Float[Tensor, "stimulus neuron"], *, by_voxel: bool
) -> tuple[Float[Tensor, "*neuron"], Float[Tensor, " neuron"]] | None:
    """Sums of half the Poisson deviance of valid entries, as :func:`squared_differences`; None also for negative counts.

    Example:
        >>> poisson_deviances(
        ...     torch.zeros(2, 1), torch.tensor([[1.0], [torch.nan]]), by_voxel=False
        ... )
        (tensor(0.), tensor([1.]))
    """
    sums, numbers = _Deviance.apply(log_rates, counts, by_voxel)
    return (sums, numbers) if _finite(sums.detach()) else None
