"""Correlations between two sets of responses, also as a share of what noise allows."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, Real
from torch import Tensor

from neuroalign.functional.checks import check_infinite, check_pair, has_nan, widen
from neuroalign.functional.variation import unit_magnitude, unit_range

__all__ = ["cosine", "pearson", "pooled_normalized_correlation", "spearman_brown"]

_FEWEST = 10  # stimuli; with fewer the series of an unbiased squared correlation converges slowly
_TERMS = 100  # terms of that series: enough for 5 digits with 10 stimuli, and for all digits with 30
_CLEARLY = 4.0  # standard errors of r = 0 beyond which a voxel counts as predicted the wrong way round


def pearson(
    preds: Float[Tensor, "stimulus voxel"],
    target: Float[Tensor, "stimulus voxel"],
    *,
    dim: int = 0,
    weight: Float[Tensor, "stimulus voxel"] | None = None,
) -> Float[Tensor, " _"]:
    r"""Pearson correlation over stimuli (one value per voxel) or over voxels (one value per stimulus).

    .. math:: r = \frac{\sum_i w_i (p_i-\bar p)(t_i-\bar t)}{\sqrt{\sum_i w_i (p_i-\bar p)^2 \sum_i w_i (t_i-\bar t)^2}}

    Invariant to shifting and positively scaling either side. A NaN in ``target`` is left out of its own voxel only.
    An undefined correlation (a constant side, fewer than two valid entries) is NaN for that voxel alone. A side is constant
    when its values differ by no more than a few units in the last place, whatever their size, number and unit.

    Args:
        preds: (stimulus, voxel).
        target: (stimulus, voxel), NaN where missing.
        dim: 0 correlates over stimuli, 1 over voxels.
        weight: (stimulus, voxel), non-negative; None means 1 everywhere.

    Returns:
        (voxel,) for ``dim=0``, (stimulus,) for ``dim=1``, in [-1, 1] or NaN.

    Raises:
        ValueError: If the shapes differ or are not two-dimensional, or a value is infinite.

    Example:
        >>> x = torch.tensor([[1.0, 0.0], [2.0, 1.0], [3.0, 0.0]])
        >>> pearson(x, 2 * x + 1).round(decimals=4)
        tensor([1., 1.])
    """
    check_pair(preds, target)
    check_infinite(preds=preds, target=target, weight=weight)
    r, defined = masked_correlation(preds, target, dim, _without_missing(target, weight), centered=True)
    return torch.where(defined, r, torch.nan)


def cosine(
    preds: Float[Tensor, "stimulus voxel"],
    target: Float[Tensor, "stimulus voxel"],
    *,
    dim: int = 1,
    weight: Float[Tensor, "stimulus voxel"] | None = None,
) -> Float[Tensor, " _"]:
    r"""Cosine similarity over voxels (one value per stimulus) or over stimuli (one per voxel), without centring.

    Invariant to positively scaling either side; *not* to shifting. NaN in ``target`` is left out.

    Args:
        preds: (stimulus, voxel).
        target: (stimulus, voxel), NaN where missing.
        dim: 1 compares patterns over voxels, 0 time courses over stimuli.
        weight: (stimulus, voxel), non-negative; None means 1 everywhere.

    Returns:
        (stimulus,) for ``dim=1``, (voxel,) for ``dim=0``, in [-1, 1]; NaN where a side is zero.

    Raises:
        ValueError: If the shapes differ or are not two-dimensional, or a value is infinite.

    Example:
        >>> cosine(torch.tensor([[1.0, 0.0]]), torch.tensor([[1.0, 1.0]]))
        tensor([0.7071])
    """
    check_pair(preds, target)
    check_infinite(preds=preds, target=target, weight=weight)
    r, defined = masked_correlation(preds, target, dim, _without_missing(target, weight), centered=False)
    return torch.where(defined, r, torch.nan)


def _without_missing(target: Tensor, weight: Tensor | None) -> Tensor | None:
    """The weights, 0 where the target is NaN; None if all are 1."""
    if not has_nan(target):
        return weight
    valid = ~target.isnan()
    return valid.to(target.dtype) if weight is None else torch.where(valid, weight, 0)


def masked_correlation(
    preds: Float[Tensor, "stimulus voxel"],
    target: Float[Tensor, "stimulus voxel"],
    dim: int,
    weight: Tensor | None,
    *,
    centered: bool,
    total: Callable[[Tensor], Tensor] | None = None,
) -> tuple[Float[Tensor, " _"], Bool[Tensor, " _"]]:
    """The correlation of responses without NaN, 0 with gradient 0 where undefined, and where it is defined.

    Both sides are brought to the unit range first (see :mod:`neuroalign.functional.variation`), which changes no
    correlation. ``weight`` is 0 where the target is missing; None means 1 everywhere. ``total`` sums a (..., voxel) tensor
    over all processes, so that a correlation over all their stimuli needs no exchange of responses.
    """
    preds, target = widen(preds, target)
    used, w = None, weight
    if weight is not None:
        w = weight.to(target.dtype).expand_as(target)
        used = w > 0
        preds, target = torch.where(used, preds, 0), torch.where(used, target, 0)
    if centered:
        spread = total is not None
        p, p_varies, _ = unit_range(preds, used, dim, distributed=spread)
        t, t_varies, _ = unit_range(target, used, dim, distributed=spread)
        p, t = _centered(p, t, w, used, dim, total)
    else:
        (p, p_varies), (t, t_varies) = unit_magnitude(preds, dim), unit_magnitude(target, dim)
    defined = p_varies & t_varies
    wp, wt = (p, t) if w is None else (w * p, w * t)
    sums = torch.stack([(wp * p).sum(dim), (wt * t).sum(dim), (wp * t).sum(dim)])
    pp, tt, pt = sums if total is None else total(sums)
    scale = torch.where(defined, pp, 1).sqrt() * torch.where(defined, tt, 1).sqrt()
    return torch.where(defined, pt / scale, 0 * pt), defined


def _centered(
    p: Tensor, t: Tensor, w: Tensor | None, used: Tensor | None, dim: int, total: Callable[[Tensor], Tensor] | None
) -> tuple[Tensor, Tensor]:
    if w is None and total is None:
        return p - p.mean(dim, keepdim=True), t - t.mean(dim, keepdim=True)
    weight = torch.ones_like(t) if w is None else w
    sums = torch.stack([weight.sum(dim), (weight * p).sum(dim), (weight * t).sum(dim)])
    size, sum_p, sum_t = (sums if total is None else total(sums)).unsqueeze(1 + dim)
    size = size.clamp_min(torch.finfo(t.dtype).tiny)
    p, t = p - sum_p / size, t - sum_t / size
    return (p, t) if used is None else (torch.where(used, p, 0), torch.where(used, t, 0))


def unit_distances(
    preds: Float[Tensor, "stimulus voxel"],
    target: Float[Tensor, "stimulus voxel"],
    weight: Float[Tensor, "stimulus voxel"] | None,
) -> Float[Tensor, " stimulus"]:
    """1 - the cosine over voxels, as half the squared distance of unit vectors; 1 with gradient 0 where undefined.

    1 - cos itself cancels for responses with a large mean. ``weight`` is 0 where the target is missing; None means 1.
    """
    (p, some_p), (t, some_t) = unit_magnitude(preds, 1), unit_magnitude(target, 1)
    wp, wt = (p, t) if weight is None else (weight * p, weight * t)
    size_p, size_t = (wp * p).sum(1), (wt * t).sum(1)
    defined = some_p & some_t
    p, t = (x / torch.where(defined, s, 1).sqrt()[:, None] for x, s in ((p, size_p), (t, size_t)))
    square = (p - t).square() if weight is None else weight * (p - t).square()
    return torch.where(defined, square.sum(1) / 2, 1 + 0 * size_p * size_t)


def pooled_normalized_correlation(
    r: Float[Tensor, " voxel"], noise_ceiling: Float[Tensor, " voxel"], num_stimuli: Real[Tensor, " voxel"] | float
) -> Float[Tensor, ""]:
    r"""Correlation as a share of what noise allows, pooled over all voxels, also those of low noise ceiling.

    .. math:: \pm\sqrt{\textstyle\sum_v \hat\rho^2_v \,/\, \sum_v \mathrm{NC}_v}

    Each voxel's squared correlation is estimated without bias (Olkin and Pratt 1958), so with *unclamped* ceilings both sums
    are unbiased however noisy single voxels are. It is the root mean square of :math:`r/\sqrt{\mathrm{NC}}`, with weight
    NC. The sign is that of the summed correlations; voxels that are clearly predicted the other way round, by more than
    4 standard errors, are subtracted. Near 0 the root enlarges noise: small values are unreliable.

    Args:
        r: (voxel,) correlations with averages over repeats; NaN leaves a voxel out of both sums.
        noise_ceiling: (voxel,) of the same averages, unclamped; NaN leaves a voxel out.
        num_stimuli: Number of stimuli of each correlation: a number, or (voxel,). Voxels with fewer than 10 are left out.

    Returns:
        Scalar of the dtype of ``r``, NaN where the ceilings don't sum to more than 0. Expectation 1 for the true signal.

    Raises:
        ValueError: If there is not one ceiling per correlation.

    Example:
        >>> r, ceiling = torch.tensor([0.5, 0.5]), torch.tensor([0.3, 0.2])
        >>> pooled_normalized_correlation(r, ceiling, 10_000).round(decimals=2)
        tensor(1.)

    Source:
        Olkin and Pratt 1958, Annals of Mathematical Statistics.
    """
    if r.ndim != 1 or r.shape != noise_ceiling.shape:
        raise ValueError(f"r and noise_ceiling must be (voxel,); got {tuple(r.shape)} and {tuple(noise_ceiling.shape)}")
    n = torch.as_tensor(num_stimuli, dtype=torch.float64, device=r.device).expand_as(r)
    ceiling = noise_ceiling.to(r.device, torch.float64)
    used = ~r.isnan() & ~ceiling.isnan() & (n >= _FEWEST)
    n, ceiling, x = n[used], ceiling[used], r[used].double()
    direction = torch.where(x.sum() < 0, -1.0, 1.0)
    explained = _unbiased_square(x, n)
    opposite = direction * x < -_CLEARLY / n.sqrt()
    share = torch.where(opposite, -explained, explained).sum() / ceiling.sum()
    value = direction * share.sign() * share.abs().sqrt()
    return torch.where(ceiling.sum() > 0, value, torch.nan).to(r.dtype)


def _unbiased_square(r: Tensor, n: Tensor) -> Tensor:
    """Unbiased estimate of the squared correlation of two normal variables, from n of each (Olkin and Pratt 1958).

    1 - (n-3)/(n-2) (1-r²) F(1, 1; n/2; 1-r²), the hypergeometric function by its series: scipy's is NaN for large n.
    """
    rest = (1 - r**2).clamp(0, 1)
    term, series = torch.ones_like(rest), torch.ones_like(rest)
    for k in range(1, _TERMS):
        term = term * rest * (k / (n / 2 + k - 1))
        series = series + term
    return 1 - (n - 3) / (n - 2) * rest * series


def spearman_brown(r: Float[Tensor, ...], factor: float = 2.0) -> Float[Tensor, ...]:
    r"""Reliability of a measurement that is ``factor`` times as long: :math:`kr / (1 + (k-1) |r|)`.

    For reliabilities from 0 to 1 this is the formula of Spearman and Brown. A negative one is an estimate below its range,
    where theirs runs away (r = -.95 of two halves would give -38) and no rule is agreed on. Here it is mirrored, the value
    of \|r\| with a minus sign: results stay in [-1, 1], and estimates about a true 0 have mean 0. In simulations of 40,000
    pairs of halves, 20 stimuli: true r 0, mean .00 (theirs -.13, theirs cut at 0 .15); true r .1, wanted .18, mean .15 (.09,
    .23), median .19 by each.

    Args:
        r: Split-half (or other) reliabilities, any shape, in [-1, 1].
        factor: Length of the wanted measurement over that of the one at hand, k > 0.

    Returns:
        Tensor of the shape of ``r``, in [-1, 1].

    Raises:
        ValueError: If the factor is not positive.

    Example:
        >>> spearman_brown(torch.tensor([0.6, -0.6]))
        tensor([ 0.7500, -0.7500])

    Source:
        Spearman 1910; Brown 1910. Mirrored as by ``fix.negative = "mirror"`` of the R package AATtools.
    """
    if not factor > 0:
        raise ValueError(f"factor must be positive; got {factor}")
    return factor * r / (1 + (factor - 1) * r.abs())
