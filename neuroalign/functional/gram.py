"""Gram matrices: inner products of the features, or responses, of every two stimuli."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from neuroalign.functional.host import readable
from neuroalign.functional.missing import center, shared, uniform
from neuroalign.functional.row_masks import center_masked, pairs
from neuroalign.functional.variation import unit_range

__all__: list[str] = []


class _CenteredGram(torch.autograd.Function):
    """The Gram matrix of centred, scaled columns without a centred copy; one half is computed and mirrored.

    The first stimulus is subtracted from the columns, which makes a constant column exactly 0, and the matrix is centred
    afterwards. The backward pass needs one matrix product, where autograd would need two.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor | None, centered: bool) -> Tensor:
        n = len(x)
        ctx.save_for_backward(x, scale)
        ctx.centered = centered
        if not readable(x):  # many small products don't serve a GPU, and a compiled graph can't write into parts
            z = _relative(x, scale, centered, slice(None))
            return double_centered(z @ z.T) if centered else z @ z.T
        blocks = (
            8 if n >= 256 and x.shape[1] >= 128 else 1
        )  # for smaller ones copying the half costs as much as it saves
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
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
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


def double_centered(
    k: Float[Tensor, "stimulus stimulus"], kept: Bool[Tensor, " stimulus"] | None = None
) -> Float[Tensor, "stimulus stimulus"]:
    """A symmetric matrix minus the means of its rows and columns; of the rows ``kept`` alone, 0 elsewhere."""
    if kept is not None:
        inside, n = pairs(kept), kept.sum().clamp_min(1)
        k = torch.where(inside, k, 0)
        mean = k.sum(0) / n
        return torch.where(inside, k - mean - mean[:, None] + mean.sum() / n, 0)
    mean = k.mean(0)
    return k - mean - mean[:, None] + mean.mean()


def gram(x: Float[Tensor, "stimulus feature"]) -> Float[Tensor, "stimulus stimulus"]:
    """The Gram matrix x x' (stimulus, stimulus) of features (stimulus, feature), differentiable twice.

    Example:
        >>> gram(torch.tensor([[1.0, 2.0], [0.0, 1.0]]))
        tensor([[5., 2.],
                [2., 1.]])
    """
    result: Tensor = _CenteredGram.apply(x, None, False)
    return result


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


def centered_gram(
    x: Float[Tensor, "stimulus feature"],
    weight: Float[Tensor, " feature"] | None = None,
    kept: Bool[Tensor, " stimulus"] | None = None,
) -> CenteredGram:
    """The Gram matrix of columns minus their means.

    Args:
        x: (stimulus, feature).
        weight: (feature,), weights of the columns, non-negative, without gradient; None means 1 everywhere.
        kept: (stimulus,), which rows count; None means all. The others must be 0, as their entries of the matrix are.

    Example:
        >>> centered_gram(torch.tensor([[1.0], [3.0]])).matrix
        tensor([[ 1., -1.],
                [-1.,  1.]])
    """
    root = None if weight is None else weight.sqrt()
    if kept is not None:
        x, varies, unit = unit_range(x, kept[:, None], whole=True)
        x = center_masked(x, kept)
        if root is not None:
            x, varies = x * root, varies & (root > 0)
        return CenteredGram(gram(x), varies.any(), unit)
    k = _CenteredGram.apply(x, root, True)
    size = float(k.detach().diagonal().mean())
    square = x.detach()[0].square()
    rounding = 16 * torch.finfo(x.dtype).eps ** 2 * float(square.sum() if weight is None else square @ weight)
    if size > rounding and 1e-12 < size < 1e12:
        return CenteredGram(k, x.new_ones((), dtype=torch.bool), x.new_ones(()))
    # Otherwise columns may be constant, have means so large that they hide small signals, or come in an unusual unit.
    x, varies, unit = unit_range(x, whole=True)
    if weight is not None:
        varies = varies & (weight > 0)
    return CenteredGram(_CenteredGram.apply(x, root, True), varies.any(), unit)


def target_gram(
    target: Float[Tensor, "stimulus voxel"],
    weight: Float[Tensor, "stimulus voxel"],
    kept: Bool[Tensor, " stimulus"] | None = None,
) -> tuple[Float[Tensor, "stimulus stimulus"], Bool[Tensor, ""]]:
    r"""Weighted mean over voxels of products of centred responses, for each pair of stimuli over its common voxels.

    .. math:: K_{ij} = \sum_v \sqrt{w_{iv} w_{jv}}\, y_{iv} y_{jv} \Big/ \sum_v \sqrt{w_{iv} w_{jv}}

    Args:
        target: (stimulus, voxel), anything finite where missing.
        weight: (stimulus, voxel), 0 where missing.
        kept: (stimulus,), which rows count; None means all.

    Returns:
        (stimulus, stimulus), 0 for a pair without a common voxel, up to a factor; and whether any voxel varies.
    """
    if shared(weight):
        k, varies, _ = centered_gram(target, None if uniform(weight) else weight[0], kept)
        return k, varies
    target, varies, _ = unit_range(target, weight > 0, whole=True)
    y, root = center(target, weight), weight.sqrt()
    common = gram(root)
    return torch.where(common > 0, gram(root * y) / torch.where(common > 0, common, 1), 0), varies.any()
