"""What every set-level measure starts from: missing values and voxel weights, centred features, their Gram matrix."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor


def check_choice(what: str, value: str, choices: Iterable[str]) -> None:
    """Refuse an option that isn't one of a few.

    Raises:
        ValueError: Listing them.
    """
    choices = tuple(choices)
    if value not in choices:
        raise ValueError(
            f"unknown {what} {value!r}: it must be {', '.join(map(repr, choices[:-1]))} or {choices[-1]!r}"
        )


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


def check_ceiling(ceiling: Tensor) -> Tensor:
    """A noise ceiling as voxel weights, (voxel,) float32, 0 where it is NaN.

    Raises:
        ValueError: If it is not (voxel,) in [0, 1], or leaves every voxel out.
    """
    if ceiling.ndim != 1:
        raise ValueError(f"noise_ceiling must be (voxel,); got shape {tuple(ceiling.shape)}")
    ceiling = torch.nan_to_num(ceiling.float(), nan=0.0, posinf=torch.inf)
    if bool((ceiling < 0).any()) or bool((ceiling > 1).any()):
        raise ValueError(
            f"noise_ceiling must be in [0, 1]; got {float(ceiling.min()):.3g} to {float(ceiling.max()):.3g} "
            "(divide per cent by 100; turn ncsnr into a ceiling with ncsnr^2 / (ncsnr^2 + 1/n))"
        )
    if not bool((ceiling > 0).any()):
        raise ValueError("noise_ceiling is 0 or NaN everywhere: every voxel would be left out")
    return ceiling


def check_valid(weight: Tensor) -> None:
    """Refuse a target without a valid value.

    Raises:
        ValueError: Saying so.
    """
    if shared(weight):  # one row, or one number, speaks for all
        weight = weight[:1, :1] if len(weight) and uniform(weight) else weight[:1]
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


def all_finite(x: Tensor) -> bool:
    """Whether no entry is NaN or infinite: one pass unless the sum is not."""
    return bool(x.detach().sum().isfinite()) or bool(x.isfinite().all())


def prepare(
    preds: Tensor, target: Tensor, weight: Tensor | None, *, checked: bool = False
) -> tuple[Tensor, Tensor, Tensor]:
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
    if weight is None:
        weight = target.new_ones(())
    elif weight.shape not in (target.shape[1:], target.shape):
        raise ValueError(
            f"weight must be (voxel,) = {tuple(target.shape[1:])} or (stimulus, voxel); got {tuple(weight.shape)}"
        )
    weight = weight.to(target.dtype).nan_to_num(0.0).expand_as(target)
    if not all_finite(target):
        valid = ~target.isnan()
        if bool(target.isinf().any()):
            raise ValueError("target has infinite values; mark missing ones by NaN")
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


def center(x: Tensor, weight: Tensor | None = None) -> Tensor:
    """Columns minus their mean over stimuli; with weights the weighted mean, and 0 where the weight is.

    Done before anything is multiplied: in float32 the Gram matrix of features with a large mean holds little else.
    """
    if weight is None or shared(weight):
        return x - x.mean(0)
    mean = (weight * x).sum(0) / weight.sum(0).clamp_min(torch.finfo(x.dtype).tiny)
    return torch.where(weight > 0, x - mean, 0)


def rounding(x: Tensor, weight: Tensor | None = None) -> Tensor:
    """The sum of squares, times the weights, that rounding alone can leave of a constant set once it is centred."""
    x = x.detach()
    if weight is None or shared(weight):
        square = x.mean(0).square()
        total = len(x) * (square.sum() if weight is None else _weighted(square, weight))
    else:
        total = (weight * x).sum(0).square() @ (1 / weight.sum(0).clamp_min(torch.finfo(x.dtype).tiny))
    return (2 * torch.finfo(x.dtype).eps) ** 2 * total


def _weighted(column: Tensor, weight: Tensor) -> Tensor:
    return weight[0, 0] * column.sum() if uniform(weight) else weight[0] @ column


class _CenteredGram(torch.autograd.Function):
    """The Gram matrix of centred, scaled columns without a centred copy; half of it computed and mirrored.

    The backward pass takes one product where autograd would take two.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor | None, centered: bool) -> tuple[Tensor, Tensor | None]:
        n, mean = len(x), x.mean(0) if centered else None
        ctx.save_for_backward(x, scale, mean)
        blocks = 8 if n >= 256 and x.shape[1] >= 128 else 1  # copying the half would else cost what it saves
        edges = list(pairwise([n * i // blocks for i in range(blocks + 1)]))
        out = None
        for start in range(0, x.shape[1], 2048):
            columns = slice(start, start + 2048)
            z = _center_and_scale(x[:, columns], mean, scale, columns)
            if out is None:
                out = x.new_empty(n, n)
                for low, high in edges:
                    torch.mm(z[low:high], z[:high].T, out=out[low:high, :high])
            else:
                for low, high in edges:
                    out[low:high, :high].addmm_(z[low:high], z[:high].T)
        assert out is not None
        for low, high in edges:
            out[:low, low:high] = out[low:high, :low].T
        if mean is not None:
            ctx.mark_non_differentiable(mean)
        return out, mean

    @staticmethod
    def backward(ctx: Any, grad: Tensor, _mean: Tensor | None) -> tuple[Tensor, None, None]:  # type: ignore[override]
        x, scale, mean = ctx.saved_tensors
        if mean is not None and torch.is_grad_enabled():
            mean = x.mean(0)  # for a second derivative, the mean moves too
        z = _center_and_scale(x, mean, scale, slice(None))
        z = (grad + grad.T) @ z
        if scale is not None:
            z = z * scale
        return (z if mean is None else z - z.mean(0)), None, None


def _center_and_scale(x: Tensor, mean: Tensor | None, scale: Tensor | None, columns: slice) -> Tensor:
    if mean is not None:
        x = x - mean[columns]
    return x if scale is None else x * scale[columns]


def gram(x: Tensor) -> Tensor:
    """The Gram matrix x x' (stimulus, stimulus) of features (stimulus, feature), differentiable twice.

    Example:
        >>> gram(torch.tensor([[1.0, 2.0], [0.0, 1.0]]))
        tensor([[5., 2.],
                [2., 1.]])
    """
    return _CenteredGram.apply(x, None, False)[0]


def centered_gram(x: Tensor, weight: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The Gram matrix of columns minus their means, and how large a trace rounding alone can leave of constant ones.

    Args:
        x: (stimulus, feature).
        weight: Of columns, (feature,), non-negative; gets no gradient. None for ones.

    Returns:
        (stimulus, stimulus), and a scalar.

    Example:
        >>> centered_gram(torch.tensor([[1.0], [3.0]]))[0]
        tensor([[ 1., -1.],
                [-1.,  1.]])
    """
    k, mean = _CenteredGram.apply(x, None if weight is None else weight.sqrt(), True)
    square = mean.square()
    return k, (2 * torch.finfo(x.dtype).eps) ** 2 * len(x) * (square.sum() if weight is None else square @ weight)


def target_gram(target: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    r"""The weighted mean over voxels of products of centred responses, each pair of stimuli over its common voxels.

    .. math:: K_{ij} = \sum_v \sqrt{w_{iv} w_{jv}}\, y_{iv} y_{jv} \Big/ \sum_v \sqrt{w_{iv} w_{jv}}

    Args:
        target: (stimulus, voxel), anything finite where missing.
        weight: (stimulus, voxel), 0 where missing.

    Returns:
        (stimulus, stimulus), 0 for a pair without a common voxel, under shared weights up to the factor of their sum; and a
        scalar, how large a trace rounding alone can leave of constant voxels.
    """
    if shared(weight):
        return centered_gram(target, None if uniform(weight) else weight[0])
    y, root = center(target, weight), weight.sqrt()
    common = gram(root)
    k = torch.where(common > 0, gram(root * y) / torch.where(common > 0, common, 1), 0)
    return k, rounding(target, weight) * len(weight) / weight.sum()
