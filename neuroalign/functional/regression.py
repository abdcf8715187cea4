"""Ridge regression: predictions with a given penalty, and a penalty per voxel by generalised cross-validation."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from neuroalign.functional.checks import all_finite, check_infinite, check_sets, has_nan, widen
from neuroalign.functional.ridge_fit import Penalties, ridge_predictions
from neuroalign.functional.ridge_penalty import chosen_penalties
from neuroalign.functional.variation import odd_unit

__all__ = ["ridge", "ridge_gcv"]


def check_representable(penalties: Tensor, dtype: torch.dtype) -> None:
    """Refuse float64 penalties that the dtype of the result can't hold.

    Raises:
        ValueError: Naming the range of the penalties.
    """
    kept = penalties.to(dtype)
    if not bool(((kept > 0) & kept.isfinite()).all()):
        raise ValueError(
            f"{dtype} can't hold penalties from {float(penalties.min()):.3g} to {float(penalties.max()):.3g}: give float64 "
            "tensors, or features in another unit"
        )


def check_penalty(penalty: float | Sequence[float] | Tensor, num_voxels: int | None = None) -> None:
    """Refuse penalties that are not positive and finite, and tensors that don't hold one number or one per voxel.

    Raises:
        ValueError: Naming the smallest penalty or the shape.
    """
    p = torch.as_tensor(penalty, dtype=None if isinstance(penalty, Tensor) else torch.float64)
    if not bool((p > 0).all()):
        raise ValueError(f"a ridge penalty must be positive; got {float(p.min()):.3g}")
    if not bool(p.isfinite().all()):
        raise ValueError("a ridge penalty must be finite; got inf")
    if num_voxels is not None and p.ndim and p.shape != (num_voxels,):
        raise ValueError(f"penalty must be a number or ({num_voxels},), one per voxel; got {tuple(p.shape)}")


def ridge(
    x: Float[Tensor, "stimulus feature"],
    y: Float[Tensor, "stimulus voxel"],
    query: Float[Tensor, "query feature"],
    *,
    penalty: Float[Tensor, ""] | Float[Tensor, " voxel"] | float = 1.0,
) -> Float[Tensor, "query voxel"]:
    r"""Fit :math:`\min_\beta \|y - x\beta\|^2 + \lambda\|\beta\|^2` per voxel and predict other stimuli.

    Both sides are centred, so there is an unpenalised intercept. Solved by Cholesky's method on the smaller side
    (stimuli or features), once per distinct penalty; differentiable in all tensors. A voxel with missing values is fitted to
    its valid stimuli alone, as if these were all; voxels that miss the same stimuli share one factorisation. Numbers may
    have any magnitude: they are scaled near 1 first, and the penalty with them.

    Args:
        x: (stimulus, feature).
        y: (stimulus, voxel), NaN where missing.
        query: (query, feature).
        penalty: lambda > 0, a number or (voxel,).

    Returns:
        Predictions (query, voxel); NaN for a voxel without any valid stimulus.

    Raises:
        ValueError: If the shapes don't fit, a penalty is not positive, x or query is not finite, y is infinite somewhere, or
            features depend on others and the penalty is too small beside them to be seen in the dtype.

    Example:
        >>> x = torch.tensor([[0.0], [1.0], [2.0]])
        >>> ridge(x, 2 * x + 1, torch.tensor([[3.0]]), penalty=1e-6).round(decimals=3)
        tensor([[7.]])
    """
    check_sets(x, y)
    check_penalty(penalty, y.shape[1])
    if query.ndim != 2 or query.shape[1] != x.shape[1]:
        raise ValueError(f"query must be (query, {x.shape[1]}), the features of x; got {tuple(query.shape)}")
    x, y, query = widen(x, y, query)
    valid = None
    unit, unit_y = odd_unit(x), odd_unit(y)
    if math.isnan(unit_y):
        valid = ~y.isnan()
        y = torch.where(valid, y, 0)
        unit_y = odd_unit(y)
    for name, finite in (("x", math.isfinite(unit)), ("query", all_finite(query))):
        if not finite:
            raise ValueError(f"{name} has NaN or infinite values; only y may have missing values, as NaN")
    check_infinite(y=None if math.isfinite(unit_y) else y)
    wide = torch.float32 if x.device.type == "mps" else torch.float64  # which has no float64
    penalty = torch.as_tensor(penalty, dtype=wide, device=x.device)
    if unit != 1:
        # Divided twice by the unit, because its square may leave the dtype.
        x, query, penalty = x / unit, query / unit, penalty / unit / unit
    y = y if unit_y == 1 else y / unit_y
    # With a penalty this large the features have no effect at all.
    penalty = penalty.clamp_max(torch.finfo(x.dtype).max ** 0.75).to(x.dtype)
    pred = ridge_predictions(x, y, query, Penalties.of(penalty), valid)
    return pred if unit_y == 1 else pred * unit_y


@torch.no_grad()
def ridge_gcv(
    x: Float[Tensor, "stimulus feature"],
    y: Float[Tensor, "stimulus voxel"],
    penalties: Sequence[float] | Tensor,
    *,
    leave_one_out: bool = False,
) -> Float[Tensor, " voxel"]:
    r"""The penalty of each voxel by generalised cross-validation, from one eigendecomposition.

    The cheapest way to a penalty, for use inside a measure. To fit a model, take :func:`ridge_cv` or
    ``neuroalign.functional.cross_validation.ridge_loo``, which also return coefficients.

    Minimises :math:`n\,\|y-\hat y\|^2 / (n - 1 - \mathrm{tr} H)^2` over the penalties, H the hat matrix of the centred
    fit. That is the mean squared error at stimuli that are left out one at a time,
    :math:`\tfrac{1}{n} \sum_i (y_i-\hat y_i)^2 / (1 - \tfrac{1}{n} - H_{ii})^2`, with the mean of :math:`H_{ii}` in place of
    each: the same for features whose stimuli are alike, and independent of rotations of the stimuli. For a voxel with
    missing values only its valid stimuli count.

    Args:
        x: (stimulus, feature).
        y: (stimulus, voxel), NaN where missing.
        penalties: Candidate penalties, positive.
        leave_one_out: Whether to minimise the error at left-out stimuli itself, as scikit-learn's
            ``RidgeCV(alpha_per_target=True)`` does. It costs a matrix product for each penalty.

    Returns:
        (voxel,), the chosen penalty of each voxel.

    Raises:
        ValueError: If the shapes don't fit, a penalty is not positive or beyond the tensors' dtype, x is not finite, or y is
            infinite somewhere.

    Example:
        >>> x = torch.tensor([[0.0], [1.0], [2.0], [3.0]])
        >>> ridge_gcv(x, 2 * x, penalties=[0.001, 100.0])
        tensor([0.0010])

    Source:
        Golub, Heath & Wahba 1979, Technometrics 21(2).
    """
    check_sets(x, y)
    grid = torch.as_tensor(penalties, dtype=torch.float64, device=x.device).flatten()
    check_penalty(grid)
    dtype = widen(x, y)[0].dtype
    check_representable(grid, dtype)
    if not all_finite(x):
        raise ValueError("x has NaN or infinite values; only y may have missing values, as NaN")
    check_infinite(y=y)
    missing = has_nan(y)
    valid = ~y.isnan() if missing else None
    y = torch.where(y.isnan(), 0, y) if missing else y
    chosen = chosen_penalties(x.double(), y.double(), grid, valid, leave_one_out=leave_one_out)
    return grid[chosen].to(dtype)
