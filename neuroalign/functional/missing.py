"""Missing values and voxel weights: the preparation for every measure of whole sets."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from neuroalign.functional.checks import all_finite, check_infinite, check_sets, widen
from neuroalign.functional.host import readable

__all__: list[str] = []


def prepare(
    preds: Float[Tensor, "stimulus feature"],
    target: Float[Tensor, "stimulus voxel"],
    weight: Float[Tensor, " voxel"] | Float[Tensor, "stimulus voxel"] | None,
    *,
    checked: bool = False,
) -> tuple[Float[Tensor, "kept feature"], Float[Tensor, "kept voxel"], Float[Tensor, "kept voxel"]]:
    """Bring two sets to one dtype, give missing values of the target the weight 0, and drop stimuli without any valid value.

    Args:
        preds: (stimulus, feature), nothing missing.
        target: (stimulus, voxel), NaN where missing.
        weight: (voxel,) or (stimulus, voxel), non-negative; NaN counts as 0; None means 1 everywhere.
        checked: Whether the caller has checked the shapes and preds.

    Returns:
        preds (kept, feature); target (kept, voxel) with 0 where missing; weight (kept, voxel), which is expanded from one
        row where all stimuli share their weights: see :func:`shared`.
    """
    if not checked:
        check_sets(preds, target)
    preds, target = widen(preds, target)
    if not checked and not all_finite(preds):
        raise ValueError("preds has NaN or infinite values; only the target may have missing values, as NaN")
    look_once = checked and not readable(target)
    if not look_once:
        check_infinite(target=target, weight=weight)
    if weight is None:
        weight = target.new_ones(())
    elif weight.shape not in (target.shape[1:], target.shape):
        raise ValueError(
            f"weight must be (voxel,) = {tuple(target.shape[1:])} or (stimulus, voxel); got {tuple(weight.shape)}"
        )
    weight = weight.to(target.dtype).nan_to_num(0.0).expand_as(target)
    if look_once:
        return _prepared_by_one_look(preds, target, weight)
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


def _prepared_by_one_look(preds: Tensor, target: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """What :func:`prepare` does, with all its questions in one, because each makes a device's host wait."""
    valid = ~target.isnan()
    entries = torch.where(valid, weight, 0)
    kept = (entries > 0).any(1)
    first = entries.index_select(0, kept.to(torch.uint8).argmax()[None])
    alike = ((entries == first) | ~kept[:, None]).all()
    infinite, complete, same, count = torch.stack([target.isinf().any(), valid.all(), alike, kept.sum()]).tolist()
    if infinite:
        check_infinite(target=target)
    if complete and shared(weight):
        return preds, target, weight
    target, weight = torch.where(valid, target, 0), entries
    if count < len(kept):
        rows = (~kept).to(torch.uint8).argsort(stable=True)[:count]
        preds, target, weight = preds[rows], target[rows], weight[rows]
    return preds, target, weight[:1].expand_as(weight) if count and same else weight


def check_valid(weight: Tensor) -> None:
    """Refuse a target without a valid value.

    Raises:
        ValueError: If no value has a weight above 0.
    """
    if shared(weight):  # all rows are the same, so one is enough
        weight = weight[:1, :1] if len(weight) and uniform(weight) else weight[:1]
    if not len(weight) or not bool((weight > 0).any()):
        raise ValueError("target has no valid value: every entry is NaN or has weight 0")


def shared(weight: Tensor) -> bool:
    """True if ``weight`` is one row expanded over stimuli (stride 0). Looks at the strides, not the values."""
    return len(weight) <= 1 or weight.stride(0) == 0


def uniform(weight: Tensor) -> bool:
    """True if ``weight`` is one number expanded over stimuli and voxels. Looks at the strides, not the values."""
    return shared(weight) and weight.stride(1) == 0


def center(
    x: Float[Tensor, "stimulus column"], weight: Float[Tensor, "stimulus column"] | None = None
) -> Float[Tensor, "stimulus column"]:
    """Columns minus their (weighted) mean over stimuli; exactly 0 for a constant column, and where the weight is 0.

    To be used before numbers are multiplied: in float32 a large mean takes most digits of a Gram matrix. It has two steps,
    because equal numbers minus the first of them are exactly 0, while minus their rounded mean they are not.
    """
    if weight is None or shared(weight):
        x = x - x[:1].detach()
        return x - x.mean(0)
    used = weight > 0
    first = x.detach().gather(0, used.to(torch.uint8).argmax(0, keepdim=True))
    x = torch.where(used, x - first, 0)
    mean = (weight * x).sum(0) / weight.sum(0).clamp_min(torch.finfo(x.dtype).tiny)
    return torch.where(used, x - mean, 0)
