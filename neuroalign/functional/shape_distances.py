"""Procrustes similarity and the angular shape distance: how well one representation can be rotated onto another."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from neuroalign.functional.checks import check_enough
from neuroalign.functional.missing import center, check_valid, prepare, shared, uniform
from neuroalign.functional.nuclear_norms import nuclear_norm
from neuroalign.functional.row_masks import center_masked
from neuroalign.functional.variation import unit_range

__all__ = ["procrustes", "shape_distance"]

_WHITENING_FLOOR = 1e-6


class _InverseRoot(torch.autograd.Function):
    """(a + floor)^(-1/2) of a symmetric matrix, with a closed-form gradient that is finite where eigenvalues coincide."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, floor: float) -> Tensor:
        values, vectors = torch.linalg.eigh(a.double())
        root = (values.clamp_min(0) + floor).rsqrt()
        ctx.save_for_backward(root, vectors)
        result: Tensor = ((vectors * root) @ vectors.T).to(a.dtype)
        return result

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        root, vectors = ctx.saved_tensors
        inner = vectors.T @ ((grad + grad.T).double() / 2) @ vectors
        square = root**2
        inner = -inner * (square[:, None] * square) / (root[:, None] + root)
        return (vectors @ inner @ vectors.T).to(grad.dtype), None


def _partly_whitened(z: Tensor, alpha: float) -> Tensor:
    by_stimulus = len(z) <= z.shape[1]
    k = z @ z.T if by_stimulus else z.T @ z
    square = k.square().sum()
    ratio = k.diagonal().sum() / torch.where(square > 0, square, 1)
    ratio = torch.where(square > 0, ratio, 1)
    k_scaled = k * ratio  # the variance-weighted mean eigenvalue is 1
    z = z * ratio.sqrt()
    root = _InverseRoot.apply(k_scaled, _WHITENING_FLOOR)
    result: Tensor = alpha * z + (1 - alpha) * (root @ z if by_stimulus else z @ root)
    return result


def procrustes_terms(
    preds: Float[Tensor, "stimulus feature"],
    target: Float[Tensor, "stimulus voxel"],
    weight: Float[Tensor, "stimulus voxel"],
    alpha: float = 1.0,
    kept: Bool[Tensor, " stimulus"] | None = None,
) -> tuple[Float[Tensor, ""], Bool[Tensor, ""]]:
    """Procrustes similarity of prepared sets, 0 with gradient 0 where undefined, and whether it is defined.

    ``kept`` (stimulus,) says which rows count, None means all.
    """
    used = None if shared(weight) else weight > 0
    x, varies_x, _ = unit_range(preds, None if kept is None else kept[:, None], whole=True)
    y, varies_y, _ = unit_range(target, used, whole=True)
    x, y = center(x) if kept is None else center_masked(x, kept), center(y, weight)
    if not uniform(weight):
        y, varies_y = y * weight.sqrt(), varies_y & (weight > 0).any(0)
    size_x, size_y = x.norm() ** 2, y.norm() ** 2
    defined = varies_x.any() & varies_y.any()
    if alpha < 1:
        if kept is None and not bool(defined):
            return 0 * (x.sum() + y.sum()), defined
        x, y = _partly_whitened(x, alpha), _partly_whitened(y, alpha)
        size_x, size_y = x.norm() ** 2, y.norm() ** 2
    norm = nuclear_norm(x, y) / torch.where(defined, size_x, 1).sqrt() / torch.where(defined, size_y, 1).sqrt()
    return torch.where(defined, norm, 0 * norm), defined


def check_alpha(alpha: float) -> None:
    """Refuse an alpha outside [0, 1].

    Raises:
        ValueError: With the meaning of 0 and 1.
    """
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha must be in [0, 1], from 0 (whitened, as CCA) to 1 (not whitened); got {alpha}")


def procrustes(
    x: Float[Tensor, "stimulus feature"],
    y: Float[Tensor, "stimulus voxel"],
    *,
    alpha: float = 1.0,
    weight: Float[Tensor, " voxel"] | Float[Tensor, "stimulus voxel"] | None = None,
) -> Float[Tensor, ""]:
    r"""Procrustes similarity: the cosine between two representations after the best rotation of one onto the other.

    .. math:: \|X^\top Y\|_* / (\|X\|_F \|Y\|_F)

    of centred X and Y (the nuclear norm is the sum of the singular values). Unchanged by rotating, shifting or scaling a
    side as a whole and by permuting the stimuli of both; *not* by scaling single columns, unless alpha is 0: then no
    invertible linear map of a side changes it. Biased upward in high dimension: for independent data with more columns
    than stimuli it is far above 0.

    With ``alpha`` < 1 each side Z, scaled so that :math:`\sum\lambda^2/\sum\lambda = 1` for the eigenvalues of its Gram
    matrix, is first replaced by :math:`\alpha Z + (1-\alpha) (ZZ^\top + 10^{-6})^{-1/2} Z`: at 0 it is whitened and the
    value is the mean of the canonical correlations (for full-rank sides of equal width).

    Missing values: columns are centred over their valid stimuli, and missing values are left out of all sums. Weights
    multiply the squares: integer weights equal repeating voxels.

    Args:
        x: (stimulus, feature).
        y: (stimulus, voxel), NaN where missing.
        alpha: 1 for Procrustes, 0 for whitened sides.
        weight: (voxel,) or (stimulus, voxel), non-negative.

    Returns:
        Scalar in [0, 1]; NaN if a side is constant.

    Raises:
        ValueError: If the number of stimuli differs or is below 2, no value is valid, or alpha is outside [0, 1].

    Example:
        >>> x = torch.tensor([[0.0, 1.0], [1.0, 0.0], [3.0, 1.0]])
        >>> procrustes(x, 2 * x.flip(1) + 1).round(decimals=4)
        tensor(1.)

    Source:
        Williams et al. 2021, arXiv 2110.14739 (generalised shape metrics).
    """
    check_alpha(alpha)
    preds, target, w = prepare(x, y, weight)
    check_valid(w)
    check_enough(len(preds), 2, "Procrustes similarity")
    value, defined = procrustes_terms(preds, target, w, alpha)
    return torch.where(defined, value, torch.nan)


def angle(similarity: Float[Tensor, ...]) -> Float[Tensor, ...]:
    """The arc cosine of a similarity, in radians; its gradient is set to 0 at 1, where it would be infinite.

    Example:
        >>> angle(torch.tensor([1.0, 0.0]))
        tensor([0.0000, 1.5708])
    """
    inside = similarity.abs() < 1 - 4 * torch.finfo(similarity.dtype).eps
    return torch.where(inside, torch.where(inside, similarity, 0).arccos(), similarity.detach().clamp(-1, 1).arccos())


def shape_distance(
    x: Float[Tensor, "stimulus feature"],
    y: Float[Tensor, "stimulus voxel"],
    *,
    alpha: float = 1.0,
    weight: Float[Tensor, " voxel"] | Float[Tensor, "stimulus voxel"] | None = None,
) -> Float[Tensor, ""]:
    """Angular shape distance: the angle that is left after the best rotation, in radians. It is a metric.

    Args:
        x: (stimulus, feature).
        y: (stimulus, voxel), NaN where missing.
        alpha: As in :func:`procrustes`.
        weight: As in :func:`procrustes`.

    Returns:
        Scalar in [0, pi/2]; NaN if a side is constant.

    Raises:
        ValueError: As :func:`procrustes`.

    Example:
        >>> x = torch.tensor([[0.0, 1.0], [1.0, 0.0], [3.0, 1.0]])
        >>> bool(shape_distance(x, x.flip(1)) < 1e-3)
        True

    Source:
        Williams et al. 2021, arXiv 2110.14739.
    """
    return angle(procrustes(x, y, alpha=alpha, weight=weight))
