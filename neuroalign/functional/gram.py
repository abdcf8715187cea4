"""What every set-level measure starts from: missing values and voxel weights, centred features, their Gram matrix."""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor

from neuroalign.functional.devices import check_devices
from neuroalign.functional.variation import unit_range


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
        ValueError: If the shapes don't fit, a side has no columns, or the two are on different devices.
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
    check_devices(preds=preds, target=target)
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
    """Whether any entry is NaN: sums, and a mask only where infinite or huge entries leave it open."""
    x = x.detach()
    return bool(x.sum().isnan()) and (bool(x.nansum().isfinite()) or bool(x.isnan().any()))


def all_finite(x: Tensor) -> bool:
    """Whether no entry is NaN or infinite: sums, and a mask only where infinite or huge entries leave it open."""
    x = x.detach()
    total = x.sum()
    if bool(total.isfinite()):
        return True
    return not (bool(total.isnan()) and bool(x.nansum().isfinite())) and bool(x.isfinite().all())


_REMEDIES = {
    "preds": "has the network diverged?",
    "variance": "a variance is a finite, positive number",
    "weight": "weights are finite numbers from 0 on, NaN leaves a voxel out",
}


def check_infinite(*, squared: bool = False, **tensors: Tensor | None) -> None:
    """Refuse infinite values, which a mean would spread and a mask would hide.

    Args:
        squared: Whether the values will be squared and summed: such as are too large for that are refused too, unless they
            cancel out in a plain sum.
        **tensors: By the name that the error gives them; None is passed over.

    Raises:
        ValueError: Saying which tensor, how many, where the first is, and what to do.
    """
    for name, x in tensors.items():
        if x is None:
            continue
        dtype = torch.promote_types(x.dtype, torch.float32)  # in which it is computed
        largest = (torch.finfo(dtype).max / max(x.numel(), 1)) ** 0.5 if squared else math.inf
        total = float(x.detach().nansum())
        if math.isfinite(total) and abs(total) <= largest:
            continue
        infinite = x.detach().isinf()
        count = int(infinite.sum())
        if count:
            place = tuple(infinite.nonzero()[0].tolist())
            raise ValueError(
                f"{name} has infinite values; {_REMEDIES.get(name, 'mark missing ones by NaN')} ({count} of them, the first "
                f"at {place})"
            )
        top = float(x.detach().nan_to_num(0.0).abs().max())
        if top > largest:
            raise ValueError(
                f"{name} has values up to {top:.3g}, whose squares leave {dtype}: bring them to another unit (z-scores, "
                "say), or give float64 tensors"
            )


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


def shared(weight: Tensor) -> bool:
    """Whether all stimuli share one row of voxel weights, told by its layout alone, without reading it."""
    return len(weight) <= 1 or weight.stride(0) == 0


def uniform(weight: Tensor) -> bool:
    """Whether all weights are one number, told by the layout alone."""
    return shared(weight) and weight.stride(1) == 0


def center(x: Tensor, weight: Tensor | None = None) -> Tensor:
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


class _CenteredGram(torch.autograd.Function):
    """The Gram matrix of centred, scaled columns without a centred copy; half of it computed and mirrored.

    Columns are taken relative to the first stimulus, from which a constant one differs by exactly 0, and the matrix is
    centred afterwards. The backward pass takes one product where autograd would take two.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor | None, centered: bool) -> Tensor:
        n = len(x)
        ctx.save_for_backward(x, scale)
        ctx.centered = centered
        blocks = 8 if n >= 256 and x.shape[1] >= 128 else 1  # copying the half would else cost what it saves
        edges = list(pairwise([n * i // blocks for i in range(blocks + 1)]))
        out = None
        for start in range(0, x.shape[1], 2048):
            z = _relative(x, scale, centered, slice(start, start + 2048))
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
        return double_centered(out) if centered else out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        x, scale = ctx.saved_tensors
        z = _relative(x, scale, ctx.centered, slice(None))
        grad = grad + grad.T
        z = (double_centered(grad) if ctx.centered else grad) @ z
        return (z if scale is None else z * scale), None, None


def _relative(x: Tensor, scale: Tensor | None, centered: bool, columns: slice) -> Tensor:
    x = x[:, columns]
    if centered:
        x = x - x[:1]
    return x if scale is None else x * scale[columns]


def double_centered(k: Tensor) -> Tensor:
    """A symmetric matrix minus the means of its rows and columns."""
    mean = k.mean(0)
    return k - mean - mean[:, None] + mean.mean()


def gram(x: Tensor) -> Tensor:
    """The Gram matrix x x' (stimulus, stimulus) of features (stimulus, feature), differentiable twice.

    Example:
        >>> gram(torch.tensor([[1.0, 2.0], [0.0, 1.0]]))
        tensor([[5., 2.],
                [2., 1.]])
    """
    return _CenteredGram.apply(x, None, False)


class CenteredGram(NamedTuple):
    """A Gram matrix of centred columns.

    Attributes:
        matrix: (stimulus, stimulus), of the columns divided by ``unit``.
        varies: Scalar bool, whether any column does.
        unit: Scalar, 1 unless the matrix of the columns as they are would leave its dtype.
    """

    matrix: Tensor
    varies: Tensor
    unit: Tensor


def centered_gram(x: Tensor, weight: Tensor | None = None) -> CenteredGram:
    """The Gram matrix of columns minus their means.

    Args:
        x: (stimulus, feature).
        weight: Of columns, (feature,), non-negative; gets no gradient. None for ones.

    Example:
        >>> centered_gram(torch.tensor([[1.0], [3.0]])).matrix
        tensor([[ 1., -1.],
                [-1.,  1.]])
    """
    root = None if weight is None else weight.sqrt()
    k = _CenteredGram.apply(x, root, True)
    size = float(k.detach().diagonal().mean())
    square = x.detach()[0].square()
    rounding = 16 * torch.finfo(x.dtype).eps ** 2 * float(square.sum() if weight is None else square @ weight)
    if size > rounding and 1e-12 < size < 1e12:
        return CenteredGram(k, x.new_ones((), dtype=torch.bool), x.new_ones(()))
    # In doubt: constant columns, perhaps under large means that hide small signals, or an odd unit.
    x, varies, unit = unit_range(x, whole=True)
    if weight is not None:
        varies = varies & (weight > 0)
    return CenteredGram(_CenteredGram.apply(x, root, True), varies.any(), unit)


def target_gram(target: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    r"""The weighted mean over voxels of products of centred responses, each pair of stimuli over its common voxels.

    .. math:: K_{ij} = \sum_v \sqrt{w_{iv} w_{jv}}\, y_{iv} y_{jv} \Big/ \sum_v \sqrt{w_{iv} w_{jv}}

    Args:
        target: (stimulus, voxel), anything finite where missing.
        weight: (stimulus, voxel), 0 where missing.

    Returns:
        (stimulus, stimulus), 0 for a pair without a common voxel, up to a factor; and whether any voxel varies.
    """
    if shared(weight):
        k, varies, _ = centered_gram(target, None if uniform(weight) else weight[0])
        return k, varies
    target, varies, _ = unit_range(target, weight > 0, whole=True)
    y, root = center(target, weight), weight.sqrt()
    common = gram(root)
    return torch.where(common > 0, gram(root * y) / torch.where(common > 0, common, 1), 0), varies.any()
