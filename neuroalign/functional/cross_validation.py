"""Ridge regression with a cross-validated penalty per voxel, from one matrix decomposition.

:func:`ridge_cv` leaves out folds, for trials that belong together in time, and needs complete responses;
``ridge_loo`` leaves out one stimulus at a time and takes missing responses;
:func:`neuroalign.functional.ridge_gcv` chooses the penalty alone, by an approximation of the latter.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from neuroalign.functional.checks import check_infinite, check_sets, has_nan, widen
from neuroalign.functional.gram import gram
from neuroalign.functional.regression import check_penalty, check_representable, ridge_gcv
from neuroalign.functional.ridge_fit import Penalties, ridge_maps
from neuroalign.functional.ridge_penalty import spectral_map
from neuroalign.functional.variation import odd_unit

__all__ = ["RidgeFit", "ridge_cv"]

_BLOCK = 512  # voxels that are predicted at a time


class RidgeFit(NamedTuple):
    """A fitted ridge regression with one penalty per voxel."""

    penalty: Tensor
    """(voxel,), the chosen penalties."""
    coefficients: Tensor
    """(feature, voxel)."""
    intercept: Tensor
    """(voxel,)."""


@torch.no_grad()
def ridge_cv(
    x: Float[Tensor, "stimulus feature"],
    y: Float[Tensor, "stimulus voxel"],
    penalties: Sequence[float] | Tensor,
    *,
    num_folds: int = 5,
) -> RidgeFit:
    r"""Ridge regression with the penalty per voxel that has the least mean squared error in cross-validation.

    Folds are contiguous. One eigendecomposition serves all folds and penalties. With q a fold's rows of the centred x, and
    :math:`A = x^\top x + \lambda`, the predictions without the fold need only a system of the fold's size:

    .. math:: q_c (x_f^\top x_f + \lambda)^{-1} = (1 - \tfrac{1}{n} \mathbf{1}\mathbf{1}^\top - q A^{-1} q^\top)^{-1} q A^{-1}

    (Woodbury's identity; :math:`x_f` and :math:`q_c` are centred by the mean of the other folds.)

    Args:
        x: (stimulus, feature).
        y: (stimulus, voxel), complete.
        penalties: Candidate penalties, positive.
        num_folds: Number of contiguous, nearly equal parts.

    Returns:
        The penalties, and the fit to all stimuli under them: predictions are ``query @ fit.coefficients + fit.intercept``.

    Raises:
        ValueError: If the shapes don't fit, a penalty is not positive or beyond the tensors' dtype, a value is missing or
            infinite, or there are fewer stimuli than folds.

    Example:
        >>> x = torch.tensor([[0.0], [1.0], [2.0], [3.0]])
        >>> ridge_cv(x, 2 * x + 1, penalties=[0.001, 100.0], num_folds=2).penalty
        tensor([0.0010])
    """
    check_sets(x, y)
    x, y = widen(x, y)
    given = torch.as_tensor(penalties, dtype=torch.float64, device=x.device).flatten()
    check_penalty(given)
    check_representable(given, x.dtype)
    unit, unit_y = odd_unit(x), odd_unit(y)
    if not math.isfinite(unit):
        raise ValueError("x has NaN or infinite values: drop those stimuli or features first")
    if not math.isfinite(unit_y):
        check_infinite(y=y)
        raise ValueError(
            "cross-validation over folds needs complete responses: drop the voxels with NaN, or use ridge_gcv"
        )
    if not 2 <= num_folds <= len(x):
        raise ValueError(f"num_folds must be from 2 to the number of stimuli, {len(x)}; got {num_folds}")
    # Numbers near 1 have squares inside the dtype; division by powers of two rounds nothing.
    x, y = x if unit == 1 else x / unit, y if unit_y == 1 else y / unit_y
    grid = (given / unit / unit).clamp_max(torch.finfo(x.dtype).max ** 0.75).to(x.dtype)
    n, mean_x, mean_y = len(x), x.mean(0), y.mean(0)
    x, y = x - mean_x, y - mean_y
    dual = n < x.shape[1]
    values, vectors = torch.linalg.eigh(gram(x.double()) if dual else gram(x.T))
    values, vectors = values.clamp_min(0).to(x.dtype), vectors.to(x.dtype)
    rotated = vectors * values.sqrt() if dual else x @ vectors  # its columns are orthogonal
    folds = list(zip(rotated.tensor_split(num_folds), y.tensor_split(num_folds)))
    # The products of each fold, plus those of its sums that its own mean takes from the other folds'.
    ratios = [len(a) / (n - len(a)) for a, _ in folds]
    products = [(a + ratio * a.mean(0)).T @ b for (a, b), ratio in zip(folds, ratios)]
    means = torch.stack([ratio * a.mean(0) for (a, _), ratio in zip(folds, ratios)])
    product = torch.addmm(products[0], means.T, torch.stack([b.sum(0) for _, b in folds]), alpha=-1)
    for own in products[1:]:
        product += own
    shrink = 1 / (values + grid[:, None])
    error = y.new_zeros(len(grid), y.shape[1])
    # Memory for all folds, because new memory costs as much as the arithmetic: maps, and predictions of a block of voxels.
    most = len(grid) * max(len(a) for a, _ in folds)
    maps, room = y.new_empty(2, most * len(values)), y.new_empty(most * min(_BLOCK, y.shape[1]))
    for (a, b), own, ratio in zip(folds, products, ratios):
        left = _left_out(a, shrink, n, maps).flatten(0, 1)  # (penalty * stimulus, feature)
        right, centered = torch.sub(product, own, out=own), b + ratio * b.mean(0)
        for start in range(0, y.shape[1], _BLOCK):
            block = slice(start, start + _BLOCK)
            pred = room[: len(left) * len(right[0, block])].view(len(left), -1)
            pred = torch.mm(left, right[:, block], out=pred).view(len(grid), len(a), -1)
            error[:, block] += pred.sub_(centered[:, block]).square_().sum(1) / len(a)
    chosen = error.argmin(0)
    solution = shrink.T.index_select(1, chosen).mul_(product)
    if dual:  # from the rotated features back to the given ones
        root = values.sqrt()
        back = torch.where(root > root[-1] * 1e-6, 1 / torch.where(root > 0, root, 1), 0)
        coefficients = x.T @ ((vectors * back) @ solution)
    else:
        coefficients = vectors @ solution
    intercept = (mean_y - mean_x @ coefficients) * unit_y
    return RidgeFit(given[chosen].to(x.dtype), coefficients * (unit_y / unit), intercept)


def _left_out(a: Tensor, shrink: Tensor, n: int, rooms: Tensor) -> Tensor:
    """Matrices (penalty, stimulus, feature) from the right-hand side of a fold to its predictions, in given memory."""
    shape = len(shrink), *a.shape
    scaled, left = (room[: math.prod(shape)].view(shape) for room in rooms)
    torch.mul(a, shrink[:, None], out=scaled)
    eye = torch.eye(len(a), dtype=a.dtype, device=a.device) - 1 / n
    factor, info = torch.linalg.cholesky_ex(eye - (scaled.flatten(0, 1) @ a.T).view(len(shrink), len(a), len(a)))
    # If a fold's leverage is near 1 the difference above cancels; redo it in float64.
    if bool((info > 0).any()) or float(factor.diagonal(dim1=1, dim2=2).amin()) ** 2 < 1e-3:
        wide = a.double() * shrink.double()[:, None]
        factor = torch.linalg.cholesky(eye.double() - wide @ a.double().T)
        return torch.cholesky_solve(wide, factor).to(a.dtype)
    return torch.bmm(torch.cholesky_inverse(factor), scaled, out=left)


@torch.no_grad()
def ridge_loo(
    x: Float[Tensor, "stimulus feature"], y: Float[Tensor, "stimulus voxel"], penalties: Sequence[float] | Tensor
) -> RidgeFit:
    r"""Ridge regression with the penalty per voxel that has the least mean squared leave-one-out error.

    The penalties are those of :func:`neuroalign.functional.ridge_gcv` with ``leave_one_out=True``.

    Args:
        x: (stimulus, feature).
        y: (stimulus, voxel), NaN where missing: such a voxel is fitted to its valid stimuli.
        penalties: Candidate penalties, positive.

    Returns:
        The penalties, and the fit under them: predictions are ``query @ fit.coefficients + fit.intercept``.

    Raises:
        ValueError: If the shapes don't fit, a penalty is not positive or beyond the tensors' dtype, x is not finite, y is
            infinite somewhere, or a voxel has fewer than two valid stimuli.

    Example:
        >>> x = torch.tensor([[0.0], [1.0], [2.0], [3.0]])
        >>> ridge_loo(x, 2 * x + 1, penalties=[0.001, 100.0]).penalty
        tensor([0.0010])
    """
    check_sets(x, y)
    dtype = widen(x, y)[0].dtype
    few = ((~y.isnan()).sum(0) < 2).nonzero()[:, 0]
    penalty = ridge_gcv(x, y, penalties, leave_one_out=True)
    if len(few):
        raise ValueError(f"voxel {int(few[0])} has fewer than two valid stimuli: leave it out")
    x, y = x.double(), y.double()
    valid = ~y.isnan() if has_nan(y) else None
    y = torch.nan_to_num(y, nan=0.0)
    coefficients, intercept = y.new_empty(x.shape[1], y.shape[1]), y.new_empty(y.shape[1])
    for voxels, fit in ridge_maps(x, y, Penalties.of(penalty.double()), valid, complete=spectral_map):
        own = slice(None) if voxels is None else voxels
        coefficients[:, own] = fit.coefficients()
        intercept[own] = fit.intercept - fit.center @ coefficients[:, own]
    return RidgeFit(penalty, coefficients.to(dtype), intercept.to(dtype))
