"""Missing values and voxel weights: what every measure of whole sets starts from."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from neuroalign.functional.checks import all_finite, check_infinite, check_sets, widen


def prepare(
    preds: Float[Tensor, "stimulus feature"],
    target: Float[Tensor, "stimulus voxel"],
    weight: Float[Tensor, " voxel"] | Float[Tensor, "stimulus voxel"] | None,
    *,
    checked: bool = False,
) -> tuple[Float[Tensor, "kept feature"], Float[Tensor, "kept voxel"], Float[Tensor, "kept voxel"]]:
    """Two sets in one dtype, the target's missing values made weights of 0, and stimuli without any left out.

    Args:
        preds: (stimulus, feature), nothing missing.
        target: (stimulus, voxel), NaN where missing.
        weight: (voxel,) or (stimulus, voxel), non-negative and NaN for 0; None for ones.
        checked: Whether the shapes and preds were checked already.

    Returns:
        preds (kept, feature); target (kept, voxel) with 0 where missing; weight (kept, voxel), which is expanded from one
        row where all stimuli share their weights: see :func:`shared`.
    """
    if not checked:
        check_sets(preds, target)
    preds, target = widen(preds, target)
    if not checked and not all_finite(preds):
        raise ValueError("preds has NaN or infinite values; only the target may have missing values, as NaN")
    check_infinite(target=target, weight=weight)
    if weight is None:
        weight = target.new_ones(())
    elif weight.shape not in (target.shape[1:], target.shape):
        raise ValueError(
            f"weight must be (voxel,) = {tuple(target.shape[1:])} or (stimulus, voxel); got {tuple(weight.shape)}"
        )
    weight = weight.to(target.dtype).nan_to_num(0.0).expand_as(target)
    if not all_finite(target):
        valid = ~target.isnan()
        weight = torch.where(valid, weight, 0)
        target = torch.where(valid, target, 0)
    elif shared(weight):
        return preds, target, weight
    kept = (weight > 0).any(1)
    if not bool(kept.all()):
        preds, target, weight = preds[kept], target[kept], weight[kept]
    if len(weight) and bool((weight == weight[:1]).all()):  # only whole voxels or stimuli were missing
        weight = weight[:1].expand_as(weight)
    return preds, target, weight


def check_valid(weight: Tensor) -> None:
    """Refuse a target without a valid value.

    Raises:
        ValueError: Saying so.
    """
    if shared(weight):  # one row, or one number, speaks for all
        weight = weight[:1, :1] if len(weight) and uniform(weight) else weight[:1]
    if not len(weight) or not bool((weight > 0).any()):
        raise ValueError("target has no valid value: every entry is NaN or has weight 0")


def shared(weight: Tensor) -> bool:
    """Whether all stimuli share one row of voxel weights, told by its layout alone, without reading it."""
    return len(weight) <= 1 or weight.stride(0) == 0


def uniform(weight: Tensor) -> bool:
    """Whether all weights are one number, told by the layout alone."""
    return shared(weight) and weight.stride(1) == 0


def center(
    x: Float[Tensor, "stimulus column"], weight: Float[Tensor, "stimulus column"] | None = None
) -> Float[Tensor, "stimulus column"]:
    """Columns minus their mean over stimuli, exactly 0 for a constant one; with weights the weighted mean, and 0 where the
    weight is.

    Done before anything is multiplied: in float32 the Gram matrix of features with a large mean holds little else. And done
    in two steps: from a first value equal numbers differ by exactly 0, from their rounded mean they don't.
    """
    if weight is None or shared(weight):
        x = x - x[:1].detach()
        return x - x.mean(0)
    used = weight > 0
    first = x.detach().gather(0, used.to(torch.uint8).argmax(0, keepdim=True))
    x = torch.where(used, x - first, 0)
    mean = (weight * x).sum(0) / weight.sum(0).clamp_min(torch.finfo(x.dtype).tiny)
    return torch.where(used, x - mean, 0)
