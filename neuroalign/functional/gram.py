"""What every set-level measure starts from: missing values and voxel weights, centred features, their Gram matrix."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor


def check_sets(preds: Tensor, target: Tensor) -> None:
    """Refuse anything but two floating-point tensors (stimulus, feature) and (stimulus, voxel) of as many stimuli.

    Raises:
        TypeError: If one is no tensor, or not floating point.
        ValueError: If the shapes don't fit, or a side has no columns.
    """
    for name, x in (("preds", preds), ("target", target)):
        if not isinstance(x, Tensor):
            raise TypeError(f"{name} must be a tensor; got {type(x).__name__} (torch.as_tensor(array) makes one)")
        if x.is_complex() or not x.is_floating_point():
            raise TypeError(f"{name} must be floating point; got {x.dtype} ({name}.float() makes it so)")
    if preds.ndim != 2 or target.ndim != 2:
        raise ValueError(
            f"preds and target must be (stimulus, voxel); got {tuple(preds.shape)} and {tuple(target.shape)}"
        )
    if preds.shape[0] != target.shape[0]:
        raise ValueError(
            f"preds has {preds.shape[0]} stimuli and target {target.shape[0]}: rows must be the same images"
        )
    for name, x in (("preds", preds), ("target", target)):
        if x.shape[1] == 0:
            raise ValueError(f"{name} has no voxels: shape {tuple(x.shape)}. Is the region empty after masking?")


def check_valid(weight: Tensor) -> None:
    """Refuse a target without a valid value.

    Raises:
        ValueError: Saying so.
    """
    if not len(weight) or not bool((weight > 0).any()):
        raise ValueError("target has no valid value: every entry is NaN or has weight 0")


def check_enough(num_stimuli: int, minimum: int, what: str) -> None:
    """Refuse a set too small for a formula.

    Raises:
        ValueError: Naming the number and the remedy.
    """
    if num_stimuli < minimum:
        raise ValueError(
            f"{what} needs at least {minimum} stimuli; got {num_stimuli}. Use larger batches, and drop_last=True where "
            "the last one is too small"
        )


def widen(*tensors: Tensor) -> tuple[Tensor, ...]:
    """The tensors in their common dtype, float32 or wider."""
    dtype = torch.float32
    for x in tensors:
        dtype = torch.promote_types(dtype, x.dtype)
    return tuple(x.to(dtype) for x in tensors)


def has_nan(x: Tensor) -> bool:
    """Whether any entry is NaN: one pass without a mask unless the sum is (as it also is of opposite infinities)."""
    return bool(x.detach().sum().isnan()) and bool(x.isnan().any())


def prepare(preds: Tensor, target: Tensor, weight: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Two sets in one dtype, the target's missing values made weights of 0, and stimuli without any left out.

    Args:
        preds: (stimulus, feature), nothing missing.
        target: (stimulus, voxel), NaN where missing.
        weight: (voxel,) or (stimulus, voxel), non-negative and NaN for 0; None for ones.

    Returns:
        preds (kept, feature); target (kept, voxel) with 0 where missing; weight (kept, voxel), which is expanded from one
        row where all stimuli share their weights: see :func:`shared`.
    """
    check_sets(preds, target)
    preds, target = widen(preds, target)
    if weight is None:
        weight = target.new_ones(())
    elif weight.shape not in (target.shape[1:], target.shape):
        raise ValueError(
            f"weight must be (voxel,) = {tuple(target.shape[1:])} or (stimulus, voxel); got {tuple(weight.shape)}"
        )
    weight = weight.to(target.dtype).nan_to_num(0.0).expand_as(target)
    if has_nan(target):
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


def shared(weight: Tensor) -> bool:
    """Whether all stimuli share one row of voxel weights, told by its layout alone, without reading it."""
    return len(weight) <= 1 or weight.stride(0) == 0


def uniform(weight: Tensor) -> bool:
    """Whether all weights are one number, told by the layout alone."""
    return shared(weight) and weight.stride(1) == 0


def center(x: Tensor, weight: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Columns minus their mean over stimuli, and the sum of squares that rounding alone can leave of constant ones.

    With weights the mean is the weighted one, and the result 0 where the weight is. Done before anything is
    multiplied: in float32 the Gram matrix of features with a large mean holds little else. The sum of squares is
    weighted too.
    """
    tiny, eps = torch.finfo(x.dtype).tiny, torch.finfo(x.dtype).eps
    if weight is None or shared(weight):
        mean = x.mean(0)
        x, size = x - mean, mean.detach().square()
        size = len(x) * (size.sum() if weight is None or uniform(weight) else weight[0] @ size)
        if weight is not None and uniform(weight):
            size = size * weight[0, 0]
    else:
        total = weight.sum(0)
        mean = (weight * x).sum(0) / total.clamp_min(tiny)
        x, size = torch.where(weight > 0, x - mean, 0), total @ mean.detach().square()
    return x, (2 * eps) ** 2 * size


class _Gram(torch.autograd.Function):
    """x x', half of it computed and mirrored, and one product in the backward pass where autograd needs two."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        n = len(x)
        blocks = 4 if n >= 256 else 1
        if blocks == 1:
            return x @ x.T
        out = x.new_empty(n, n)
        edges = [n * i // blocks for i in range(blocks + 1)]
        for low, high in pairwise(edges):
            out[low:high, :high] = x[low:high] @ x[:high].T
            out[:low, low:high] = out[low:high, :low].T
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:  # type: ignore[override]
        (x,) = ctx.saved_tensors
        return (grad + grad.T) @ x


def gram(x: Tensor) -> Tensor:
    """The Gram matrix x x' (stimulus, stimulus) of features (stimulus, feature), differentiable twice.

    Example:
        >>> gram(torch.tensor([[1.0, 2.0], [0.0, 1.0]]))
        tensor([[5., 2.],
                [2., 1.]])
    """
    return _Gram.apply(x)


def shared_gram(y: Tensor, weight: Tensor) -> Tensor:
    """The weighted mean over voxels of products of responses, under weights that all stimuli share."""
    if uniform(weight):
        return gram(y) / y.shape[1]
    w = weight[0] / weight[0].sum().clamp_min(torch.finfo(y.dtype).tiny)
    return gram(y * w.sqrt())


def target_gram(target: Tensor, weight: Tensor) -> Tensor:
    r"""The weighted mean over voxels of products of centred responses, each pair of stimuli over its common voxels.

    .. math:: K_{ij} = \sum_v \sqrt{w_{iv} w_{jv}}\, y_{iv} y_{jv} \Big/ \sum_v \sqrt{w_{iv} w_{jv}}

    Args:
        target: (stimulus, voxel), anything finite where missing.
        weight: (stimulus, voxel), 0 where missing.

    Returns:
        (stimulus, stimulus); 0 for a pair without a common voxel.
    """
    y, _ = center(target, weight)
    if shared(weight):
        return shared_gram(y, weight)
    root = weight.sqrt()
    common = gram(root)
    return torch.where(common > 0, gram(root * y) / torch.where(common > 0, common, 1), 0)
