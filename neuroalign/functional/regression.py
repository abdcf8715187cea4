"""Ridge regression: predictions with a given penalty, and a penalty per voxel by generalised cross-validation."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from neuroalign.functional.checks import all_finite, check_infinite, check_sets, widen
from neuroalign.functional.gram import gram
from neuroalign.functional.variation import odd_unit

__all__ = ["ridge", "ridge_gcv"]

_CHUNK = 1 << 24  # entries of the systems that are solved as one batch where voxels miss different stimuli


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
    pred = ridge_predictions(x, y, query, penalty, valid)
    return pred if unit_y == 1 else pred * unit_y


def ridge_predictions(
    x: Float[Tensor, "stimulus feature"],
    y: Float[Tensor, "stimulus voxel"],
    query: Float[Tensor, "query feature"],
    penalty: Float[Tensor, ...],
    valid: Bool[Tensor, "stimulus voxel"] | None = None,
) -> Float[Tensor, "query voxel"]:
    """Predictions as of :func:`ridge`, for checked tensors in one dtype with magnitudes near 1.

    Args:
        x: As in :func:`ridge`.
        y: As in :func:`ridge`, but anything finite where missing.
        query: As in :func:`ridge`.
        penalty: As in :func:`ridge`.
        valid: (stimulus, voxel) bool, False where y is missing; None means nothing is missing.
    """
    if valid is None:
        return _predict(x, y, query, penalty)
    pred = _predict_masked(x, y, valid, query, penalty.expand(y.shape[1]))
    return torch.where(valid.any(0), pred, torch.nan)


def _cholesky(a: Tensor) -> Tensor:
    try:
        result: Tensor = torch.linalg.cholesky(a)
        return result
    except torch.linalg.LinAlgError as error:
        raise ValueError(
            f"the ridge penalty is lost to rounding beside the features' inner products, some of which depend on others: "
            f"take a larger penalty (in units of the squared features), or float64 tensors in place of {a.dtype}"
        ) from error


def _predict(x: Tensor, y: Tensor, query: Tensor, penalty: Tensor) -> Tensor:
    mean_x, mean_y = x.mean(0), y.mean(0)
    x, y, query = x - mean_x, y - mean_y, query - mean_x
    dual = len(x) <= x.shape[1]
    a = gram(x) if dual else gram(x.T)
    right = y if dual else x.T @ y
    eye = torch.eye(len(a), dtype=a.dtype, device=a.device)

    def solve(lam: Tensor, columns: Tensor) -> Tensor:
        return torch.cholesky_solve(columns, _cholesky(a + lam * eye))

    if penalty.ndim == 0:
        solution = solve(penalty, right)
    else:
        solution = torch.zeros_like(right)
        which = penalty.detach().unique(return_inverse=True)[1]
        for i in range(int(which.max()) + 1):
            columns = (which == i).nonzero()[:, 0]
            solution = solution.index_copy(1, columns, solve(penalty[columns[0]], right[:, columns]))
    return (query @ x.T if dual else query) @ solution + mean_y


def _centered_by_pattern(k: Tensor, masks: Tensor) -> Tensor:
    """Gram matrices (pattern, stimulus, stimulus) centred over the stimuli of each pattern; 0 for all other stimuli."""
    share = masks / masks.sum(1, keepdim=True).clamp_min(1)
    mean = share @ k  # of each row over the pattern's stimuli
    centered = k - mean[:, :, None] - mean[:, None, :] + (share * mean).sum(1)[:, None, None]
    return masks[:, :, None] * masks[:, None, :] * centered


def _predict_masked(x: Tensor, y: Tensor, valid: Tensor, query: Tensor, penalty: Tensor) -> Tensor:
    """Predictions where voxels miss different stimuli: one system (stimulus, stimulus) per pattern and penalty.

    In the system of a pattern the rows of missing stimuli are those of the penalty times the identity. Their coefficients
    are therefore 0, and the solution is that of the valid stimuli alone.
    """
    center = x.mean(0)
    x, query = x - center, query - center
    n, v = y.shape
    k, k_query = gram(x), query @ x.T
    keys, which = torch.unique(
        torch.cat([valid.T.to(x.dtype), penalty.detach()[:, None]], 1), dim=0, return_inverse=True
    )
    masks = keys[:, :n]
    count = valid.sum(0).clamp_min(1)
    mean_y = (y * valid).sum(0) / count
    centered = torch.where(valid, y - mean_y, 0)
    # Voxels of one pattern are placed side by side, padded to the largest number that a pattern has.
    order = which.argsort(stable=True)
    sizes = which.bincount(minlength=len(keys))
    place = torch.empty_like(which)
    place[order] = torch.arange(v, device=x.device) - (sizes.cumsum(0) - sizes).repeat_interleave(sizes)
    first = order[sizes.cumsum(0) - sizes]
    coefficients = []
    step = max(1, _CHUNK // (n * n))
    for start in range(0, len(keys), step):
        a = _centered_by_pattern(k, masks[start : start + step])
        lam = penalty[first[start : start + step]]
        a = a + lam[:, None, None] * torch.eye(n, dtype=x.dtype, device=x.device)
        inside = (which >= start) & (which < start + step)
        voxels = inside.nonzero()[:, 0]
        right = x.new_zeros(len(a), int(sizes[start : start + step].max()), n)
        right = right.index_put((which[voxels] - start, place[voxels]), centered.T[voxels])
        solved = torch.cholesky_solve(right.mT, _cholesky(a)).mT
        coefficients.append((voxels, solved[which[voxels] - start, place[voxels]]))
    index = torch.cat([voxels for voxels, _ in coefficients])
    alpha = torch.cat([c for _, c in coefficients])[index.argsort()].T  # (stimulus, voxel)
    offset = ((k @ (valid.to(x.dtype) / count)) * alpha).sum(0)
    return k_query @ alpha + mean_y - offset


@torch.no_grad()
def ridge_gcv(
    x: Float[Tensor, "stimulus feature"], y: Float[Tensor, "stimulus voxel"], penalties: Sequence[float] | Tensor
) -> Float[Tensor, " voxel"]:
    r"""The penalty of each voxel by generalised cross-validation, from one eigendecomposition.

    The cheapest way to a penalty, for use inside a measure. To fit a model, take :func:`ridge_cv` or
    :func:`neuroalign.functional.cross_validation.ridge_loo`, which also return coefficients.

    Minimises :math:`n\,\|y-\hat y\|^2 / (n - 1 - \mathrm{tr} H)^2` over the penalties, H the hat matrix of the centred
    fit. For a voxel with missing values only its valid stimuli count.

    Args:
        x: (stimulus, feature).
        y: (stimulus, voxel), NaN where missing.
        penalties: Candidate penalties, positive.

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
    x, y = x.double(), y.double()
    valid = ~y.isnan()
    n = len(x)
    if bool(valid.all()):
        x, y = x - x.mean(0), y - y.mean(0)
        values, vectors = torch.linalg.eigh(gram(x) if n <= x.shape[1] else gram(x.T))
        values = values.clamp_min(0)
        if n <= x.shape[1]:
            inside = (vectors.T @ y) ** 2
        else:
            inside = (vectors.T @ (x.T @ y)) ** 2 / values.clamp_min(values.max() * 1e-14).unsqueeze(1)
        outside = (y**2).sum(0) - inside.sum(0)
        shrink = grid[:, None] / (values + grid[:, None])
        residual = shrink**2 @ inside + outside.clamp_min(0)
        freedom = n - 1 - (1 - shrink).sum(1)
        score = residual / freedom.clamp_min(1e-12)[:, None] ** 2
        return grid[score.argmin(0)].to(dtype)
    y = torch.where(valid, y, 0)
    masks, which = valid.T.double().unique(dim=0, return_inverse=True)
    k = gram(x - x.mean(0))
    chosen = torch.empty(y.shape[1], dtype=torch.long, device=x.device)
    step = max(1, _CHUNK // (n * n))
    for start in range(0, len(masks), step):
        m = masks[start : start + step]
        values, vectors = torch.linalg.eigh(_centered_by_pattern(k, m))
        shrink = grid[:, None, None] / (values.clamp_min(0) + grid[:, None, None])  # (penalty, pattern, stimulus)
        freedom = (m.sum(1) - 1 - (1 - shrink).sum(2)).clamp_min(1e-12)
        for i in range(len(m)):  # voxels of a pattern together
            voxels = (which == start + i).nonzero()[:, 0]
            centered = m[i][:, None] * (y[:, voxels] - m[i] @ y[:, voxels] / m[i].sum().clamp_min(1))
            residual = shrink[:, i] ** 2 @ (vectors[i].T @ centered) ** 2
            chosen[voxels] = (residual / freedom[:, i, None] ** 2).argmin(0)
    return grid[chosen].to(dtype)
