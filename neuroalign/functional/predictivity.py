"""Ridge predictivity: how well a linear map of a representation predicts responses to held-out stimuli."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from neuroalign.functional.checks import check_enough
from neuroalign.functional.correlation import masked_correlation
from neuroalign.functional.host import readable
from neuroalign.functional.missing import check_valid, prepare, shared, uniform
from neuroalign.functional.regression import check_penalty
from neuroalign.functional.ridge_fit import Penalties, ridge_predictions
from neuroalign.functional.ridge_groups import Groups
from neuroalign.functional.ridge_penalty import chosen_penalties
from neuroalign.functional.variation import unit_range

__all__ = ["ridge_predictivity"]

PENALTIES = (1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0)
"""Penalties among which generalised cross-validation chooses, in units of the features' mean squared length."""
_LEAST = 3  # stimuli per fold: the correlation of two is always 1 or -1, without a gradient


def held_out_predictions(
    preds: Float[Tensor, "stimulus feature"],
    target: Float[Tensor, "stimulus voxel"],
    weight: Float[Tensor, "stimulus voxel"],
    penalty: float | Sequence[float],
    num_folds: int,
) -> Float[Tensor, "stimulus voxel"]:
    """Predictions (stimulus, voxel) of prepared sets; each stimulus is predicted from the folds that do not hold it.

    The penalty is in units of the mean squared length of the centred features of the support. Of several penalties, the one
    of each voxel is chosen by generalised cross-validation on the support.
    """
    folds = [_fold(len(preds), i, num_folds, preds.device) for i in range(num_folds)]
    valid, groups = _missing([support for support, _ in folds], weight)
    several = not isinstance(penalty, (int, float))
    out = torch.empty_like(target)
    for (support, query), present, together in zip(folds, valid, groups):
        x, y = preds[support], target[support]
        unit = (x - x.mean(0)).square().sum(1).mean()
        unit = torch.where(unit > 0, unit, 1)
        if several and together is None and not readable(x):
            together = Groups.complete(y)
        if isinstance(penalty, (int, float)):
            lam = Penalties.of(penalty * unit)
        else:
            lam = _chosen(x.detach(), y.detach(), penalty, unit, present, together)
        pred = ridge_predictions(x, y, preds[query], lam, present, together)
        if present is not None:
            pred = torch.where(present.any(0), pred, 0)
        out = out.index_copy(0, query, pred)
    return out


def _missing(supports: list[Tensor], weight: Tensor) -> tuple[Sequence[Tensor | None], Sequence[Groups | None]]:
    """Which values of each support are valid, and its voxels by missing stimuli; None where nothing is missing."""
    if shared(weight):
        return [None] * len(supports), [None] * len(supports)
    valid = [(weight > 0)[support] for support in supports]
    incomplete = [not readable(own) or not bool(own.all()) for own in valid]
    groups = iter(Groups.of(*(own for own, some in zip(valid, incomplete) if some)) if any(incomplete) else [])
    return (
        [own if some else None for own, some in zip(valid, incomplete)],
        [next(groups) if some else None for some in incomplete],
    )


def _fold(num_stimuli: int, i: int, num_folds: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """The stimuli outside and inside of a fold, by arithmetic on the device, which copies nothing to it."""
    query = torch.arange(i, num_stimuli, num_folds, device=device)
    place = torch.arange(num_stimuli - len(query), device=device)
    others = place % (num_folds - 1)  # of the stimuli of one round, all but the fold's own
    return place // (num_folds - 1) * num_folds + others + (others >= i), query


def _chosen(
    x: Tensor, y: Tensor, penalties: Sequence[float], unit: Tensor, valid: Tensor | None, groups: Groups | None
) -> Penalties:
    """The penalty of each voxel in units of the features, by generalised cross-validation; the choice has no gradient."""
    scale = unit.detach()
    grid = torch.stack([x.new_full((), p) for p in penalties]) * scale
    if readable(grid):
        check_penalty(grid)
    which = chosen_penalties(x.double(), y.double(), grid.double(), valid, groups)
    relative = grid / scale
    return Penalties(relative[which] * unit, relative * scale, which)


def predictivity_terms(
    preds: Float[Tensor, "stimulus feature"],
    target: Float[Tensor, "stimulus voxel"],
    weight: Float[Tensor, "stimulus voxel"],
    penalty: float | Sequence[float],
    num_folds: int,
) -> tuple[Float[Tensor, " voxel"], Bool[Tensor, " voxel"]]:
    """Held-out correlation per voxel of prepared sets, 0 where undefined, and in which voxels it is defined."""
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
    # With constant features or responses, predictions differ by rounding error alone.
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
    x: Float[Tensor, "stimulus feature"],
    y: Float[Tensor, "stimulus voxel"],
    *,
    penalty: float | Sequence[float] = PENALTIES,
    num_folds: int = 2,
    weight: Float[Tensor, " voxel"] | Float[Tensor, "stimulus voxel"] | None = None,
) -> Float[Tensor, " voxel"]:
    r"""Correlation of each voxel with its held-out ridge predictions: within each fold, then averaged over folds.

    Stimulus i belongs to fold i modulo ``num_folds``; every fold is predicted from the others (support and query). With
    :math:`r_{fv}` the correlation of voxel v within fold f, over the :math:`n_{fv}` stimuli valid there,

    .. math:: r_v = \sum_f (n_{fv} - 1)\, r_{fv} \Big/ \sum_f (n_{fv} - 1).

    Folds of equal size have equal weights. The weights are the inverse variances of the correlations without a signal. They
    depend on no response, so that the mean of r is 0 where x says nothing about y. Predictions pooled over folds have no
    such guarantee: a fold is predicted around the mean of the *other* folds, which is low where its own mean is high, and r
    is below 0 (by .25 in 5 folds of 16 simulated stimuli). A fold in which the correlation is undefined, or of which fewer
    than three stimuli are valid, is left out of the voxel's mean.

    Unchanged by rotating, shifting or scaling x as a whole and by shifting and scaling single voxels; *not* by permuting the
    stimuli, which changes the folds. Average repeats of a stimulus first: otherwise one repeat in the support predicts
    another one in the query.

    Args:
        x: (stimulus, feature).
        y: (stimulus, voxel), NaN where missing: such a voxel is fitted to and tested on its valid stimuli.
        penalty: A number, or several, of which one per voxel is chosen by generalised cross-validation on the support; in
            units of the mean squared length of the centred features of the support.
        num_folds: Number of folds, of at least three stimuli each.
        weight: (voxel,) or (stimulus, voxel): a weight of 0 leaves a voxel or value out; all other weights count the same.

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
