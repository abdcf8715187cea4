"""Ridge regression: how well responses can be read out of a representation by a linear map."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from neuroalign.functional.checks import all_finite, check_enough, check_infinite, check_sets, widen
from neuroalign.functional.correlation import masked_correlation
from neuroalign.functional.gram import gram
from neuroalign.functional.missing import check_valid, prepare, shared, uniform
from neuroalign.functional.variation import odd_unit, unit_range

PENALTIES = (1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0)
"""Penalties among which generalised cross-validation chooses, in units of the features' mean squared length."""
_LEAST = 3  # stimuli of a fold: two correlate by 1 or -1, whatever they are, and without a gradient
_CHUNK = 1 << 24  # entries of the batch of systems that are solved at once where voxels miss different stimuli


def check_representable(penalties: Tensor, dtype: torch.dtype) -> None:
    """Refuse float64 penalties that the dtype in which the chosen ones are handed back can't hold.

    Raises:
        ValueError: Saying so.
    """
    kept = penalties.to(dtype)
    if not bool(((kept > 0) & kept.isfinite()).all()):
        raise ValueError(
            f"{dtype} can't hold penalties from {float(penalties.min()):.3g} to {float(penalties.max()):.3g}: give float64 "
            "tensors, or features in another unit"
        )


def check_penalty(penalty: float | Sequence[float] | Tensor, num_voxels: int | None = None) -> None:
    """Refuse penalties that are not positive and finite, or not one or one a voxel.

    Raises:
        ValueError: Saying so.
    """
    p = torch.as_tensor(penalty, dtype=None if isinstance(penalty, Tensor) else torch.float64)
    if not bool((p > 0).all()):
        raise ValueError(f"a ridge penalty must be positive; got {float(p.min()):.3g}")
    if not bool(p.isfinite().all()):
        raise ValueError("a ridge penalty must be finite; got inf")
    if num_voxels is not None and p.ndim and p.shape != (num_voxels,):
        raise ValueError(f"penalty must be a number or ({num_voxels},), one a voxel; got {tuple(p.shape)}")


def ridge(x: Tensor, y: Tensor, query: Tensor, *, penalty: float | Tensor = 1.0) -> Tensor:
    r"""Fit :math:`\min_\beta \|y - x\beta\|^2 + \lambda\|\beta\|^2` per voxel and predict other stimuli.

    Both sides are centred, so there is an unpenalised intercept. Solved by Cholesky's method on the smaller side
    (stimuli or features), once per distinct penalty; differentiable in all tensors. A voxel with missing values is fitted to
    its valid stimuli alone, as if these were all; voxels that miss the same stimuli share one factorisation. Numbers of any
    magnitude do: they are brought near 1 first, the penalty with them.

    Args:
        x: (stimulus, feature).
        y: (stimulus, voxel), NaN where missing.
        query: (query, feature).
        penalty: lambda > 0, a number or (voxel,).

    Returns:
        Predictions (query, voxel); NaN for a voxel without any valid stimulus.

    Raises:
        ValueError: If the shapes don't fit, a penalty is not positive, x or query is not finite, y is infinite somewhere, or
            the penalty is lost to rounding beside features of which some depend on others.

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
        # Twice by the unit, whose square may leave the dtype.
        x, query, penalty = x / unit, query / unit, penalty / unit / unit
    y = y if unit_y == 1 else y / unit_y
    # Beside so large a penalty features don't count at all.
    penalty = penalty.clamp_max(torch.finfo(x.dtype).max ** 0.75).to(x.dtype)
    pred = ridge_predictions(x, y, query, penalty, valid)
    return pred if unit_y == 1 else pred * unit_y


def ridge_predictions(x: Tensor, y: Tensor, query: Tensor, penalty: Tensor, valid: Tensor | None = None) -> Tensor:
    """What :func:`ridge` gives, of checked tensors in one dtype and with magnitudes near 1.

    Args:
        x: As in :func:`ridge`.
        y: The same; anything finite where missing.
        query: The same.
        penalty: The same.
        valid: (stimulus, voxel) bool, where y isn't missing; None where nothing is.
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
    """Gram matrices (pattern, stimulus, stimulus) centred over each pattern's stimuli, 0 in the rows of the others."""
    share = masks / masks.sum(1, keepdim=True).clamp_min(1)
    mean = share @ k  # of each row over the pattern's stimuli
    centered = k - mean[:, :, None] - mean[:, None, :] + (share * mean).sum(1)[:, None, None]
    return masks[:, :, None] * masks[:, None, :] * centered


def _predict_masked(x: Tensor, y: Tensor, valid: Tensor, query: Tensor, penalty: Tensor) -> Tensor:
    """Predictions where voxels miss different stimuli: one system (stimulus, stimulus) per pattern and penalty.

    In the system of a pattern the missing stimuli's rows are those of the penalty times the identity, so that their
    coefficients are 0: the solution is that of the valid stimuli alone.
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
    # Voxels of one pattern side by side, padded to the most that any pattern has.
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
def ridge_gcv(x: Tensor, y: Tensor, penalties: Sequence[float] | Tensor) -> Tensor:
    r"""The penalty of each voxel by generalised cross-validation, from one eigendecomposition.

    For the inner loop of a measure: a penalty at the least price. To fit a model, :func:`ridge_cv` or
    :func:`neuroalign.functional.cross_validation.ridge_loo` gives coefficients, too.

    Minimises :math:`n\,\|y-\hat y\|^2 / (n - 1 - \mathrm{tr} H)^2` over the penalties, H the hat matrix of the centred
    fit. A voxel with missing values is judged on its valid stimuli.

    Args:
        x: (stimulus, feature).
        y: (stimulus, voxel), NaN where missing.
        penalties: Candidates, positive.

    Returns:
        (voxel,), one of the penalties each.

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


def held_out_predictions(
    preds: Tensor, target: Tensor, weight: Tensor, penalty: float | Sequence[float], num_folds: int
) -> Tensor:
    """Predictions (stimulus, voxel) of prepared sets, each stimulus from the folds that it is not in.

    The penalty is in units of the mean squared length of the support's centred features; of several, each voxel's is chosen
    by generalised cross-validation on the support.
    """
    fold = torch.arange(len(preds), device=preds.device) % num_folds
    masked = target if shared(weight) else torch.where(weight > 0, target, torch.nan)
    out = torch.zeros_like(target)
    for i in range(num_folds):
        query = fold == i
        x, y = preds[~query], masked[~query]
        unit = (x - x.mean(0)).square().sum(1).mean()
        unit = torch.where(unit > 0, unit, 1)
        if isinstance(penalty, (int, float)):
            lam = penalty * unit
        else:
            grid = torch.as_tensor(penalty, dtype=x.dtype, device=x.device)
            scale = unit.detach()
            lam = ridge_gcv(x.detach(), y.detach(), grid * scale) / scale * unit
        valid = None if shared(weight) else (weight > 0)[~query]
        valid = None if valid is None or bool(valid.all()) else valid
        pred = ridge_predictions(
            x, target[~query], preds[query], torch.as_tensor(lam, dtype=x.dtype, device=x.device), valid
        )
        out = out.index_copy(0, query.nonzero()[:, 0], torch.where(pred.isnan(), 0, pred))
    return out


def predictivity_terms(
    preds: Tensor, target: Tensor, weight: Tensor, penalty: float | Sequence[float], num_folds: int
) -> tuple[Tensor, Tensor]:
    """Held-out correlation of each voxel of prepared sets, 0 where undefined, and where it is defined."""
    preds, features_vary, _ = unit_range(preds, whole=True)
    target, voxel_varies, _ = unit_range(target, None if shared(weight) else weight > 0)
    pred = held_out_predictions(preds, target, weight, penalty, num_folds)
    total = freedom = target.new_zeros(target.shape[1])
    for i in range(num_folds):
        own = slice(i, None, num_folds)
        used = None if uniform(weight) else (weight[own] > 0).to(target.dtype)
        r, defined = masked_correlation(pred[own], target[own], 0, used, centered=True)
        count = len(pred[own]) if used is None else used.sum(0)
        share = torch.where(defined & (count >= _LEAST), count - 1, 0)
        total, freedom = total + share * r, freedom + share
    # Constant features or responses leave predictions that differ by rounding.
    defined = (freedom > 0) & features_vary.any() & voxel_varies
    return torch.where(defined, total / freedom.clamp_min(1), 0 * total), defined


def check_folds(num_stimuli: int, num_folds: int) -> None:
    """Refuse fewer than two folds, or folds of fewer than three stimuli, which have no correlation of their own.

    Raises:
        ValueError: Naming the numbers.
    """
    if num_folds < 2:
        raise ValueError(f"num_folds must be at least 2; got {num_folds}")
    check_enough(num_stimuli, _LEAST * num_folds, f"ridge predictivity in {num_folds} folds of {_LEAST} or more")


def ridge_predictivity(
    x: Tensor,
    y: Tensor,
    *,
    penalty: float | Sequence[float] = PENALTIES,
    num_folds: int = 2,
    weight: Tensor | None = None,
) -> Tensor:
    r"""Correlation of each voxel with its held-out ridge predictions: within each fold, then averaged over folds.

    Stimulus i belongs to fold i modulo ``num_folds``; every fold is predicted from the others (support and query). With
    :math:`r_{fv}` the correlation of voxel v within fold f, over the :math:`n_{fv}` stimuli valid there,

    .. math:: r_v = \sum_f (n_{fv} - 1)\, r_{fv} \Big/ \sum_f (n_{fv} - 1).

    Folds of one size count alike. The weights are the inverse variances that the correlations have without a signal. They
    depend on no value, so that the mean of r is 0 where x says nothing about y. Predictions pooled over folds have no such
    guarantee: each fold is predicted about the mean of the *other* folds, which is low where its own is high, and r comes
    out below 0 (by .25 in 5 folds of 16 simulated stimuli). A fold in which the correlation is undefined, or of which fewer
    than three stimuli are valid, is left out of the voxel's mean.

    Unchanged by rotating, shifting or scaling x as a whole and by shifting and scaling single voxels; *not* by permuting the
    stimuli, which changes the folds. Average repeats of a stimulus first: one in the support would tell of one in the query.

    Args:
        x: (stimulus, feature).
        y: (stimulus, voxel), NaN where missing: such a voxel is fitted to and judged on its valid stimuli.
        penalty: A number, or several of which each voxel's is chosen by generalised cross-validation on the support; in
            units of the mean squared length of the support's centred features.
        num_folds: Number of folds, of at least three stimuli each.
        weight: (voxel,) or (stimulus, voxel): a weight of 0 leaves out, others count alike.

    Returns:
        (voxel,) in [-1, 1]; NaN for a voxel that is constant or left out, or of which no fold has three valid stimuli.

    Raises:
        ValueError: If the shapes don't fit, the stimuli are too few, no value is valid or a penalty is not positive.

    Example:
        >>> x = torch.linspace(-1, 1, 12)[:, None]
        >>> ridge_predictivity(x, torch.cat([x, x**2], 1), penalty=0.001).round(decimals=2)[0]
        tensor(1.)

    Source:
        Schrimpf et al. 2018, bioRxiv 407007 (regression-based predictivity; its software Brain-Score correlates within
        each split and then averages, ``CrossRegressedCorrelation``).
    """
    check_penalty(penalty)
    preds, target, w = prepare(x, y, weight)
    check_valid(w)
    check_folds(len(preds), num_folds)
    r, defined = predictivity_terms(preds, target, w, penalty, num_folds)
    return torch.where(defined, r, torch.nan)
