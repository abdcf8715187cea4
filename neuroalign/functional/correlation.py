"""Correlations between two sets of responses, and the ceiling that noise puts on them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from neuroalign.functional.gram import check_infinite, check_sets, has_nan, widen
from neuroalign.functional.variation import extremes, is_constant, unit_magnitude, unit_range


def check_pair(preds: Tensor, target: Tensor) -> None:
    """Refuse responses that are not two floating-point (stimulus, voxel) tensors of the same shape.

    Raises:
        TypeError: If one is no tensor, or not floating point.
        ValueError: Naming what differs.
    """
    check_sets(preds, target)
    if preds.shape[1] != target.shape[1]:
        raise ValueError(
            f"preds has {preds.shape[1]} voxels and target {target.shape[1]}: voxel by voxel, they must be the same. "
            "(Measures of whole sets such as 'cka', 'rsa' or 'procrustes' compare different numbers.)"
        )


def pearson(preds: Tensor, target: Tensor, *, dim: int = 0, weight: Tensor | None = None) -> Tensor:
    r"""Pearson correlation over stimuli (one value a voxel) or over voxels (one value a stimulus).

    .. math:: r = \frac{\sum_i w_i (p_i-\bar p)(t_i-\bar t)}{\sqrt{\sum_i w_i (p_i-\bar p)^2 \sum_i w_i (t_i-\bar t)^2}}

    Invariant to shifting and positively scaling either side. A NaN in ``target`` is left out of its own voxel only.
    An undefined correlation (a constant side, fewer than two valid entries) is NaN for that voxel alone. A side is constant
    when its values differ by no more than a few units in the last place, whatever their size, number and unit.

    Args:
        preds: (stimulus, voxel).
        target: (stimulus, voxel), NaN where missing.
        dim: 0 correlates over stimuli, 1 over voxels.
        weight: (stimulus, voxel), non-negative; default 1 everywhere.

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
    r, defined = masked_correlation(preds, target, dim, weight, centered=True)
    return torch.where(defined, r, torch.nan)


def cosine(preds: Tensor, target: Tensor, *, dim: int = 1, weight: Tensor | None = None) -> Tensor:
    r"""Cosine similarity over voxels (one value a stimulus) or over stimuli: a correlation that does not centre.

    Invariant to positively scaling either side; *not* to shifting. NaN in ``target`` is left out.

    Args:
        preds: (stimulus, voxel).
        target: (stimulus, voxel), NaN where missing.
        dim: 1 compares patterns over voxels, 0 time courses over stimuli.
        weight: (stimulus, voxel), non-negative; default 1 everywhere.

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
    r, defined = masked_correlation(preds, target, dim, weight, centered=False)
    return torch.where(defined, r, torch.nan)


def masked_correlation(
    preds: Tensor,
    target: Tensor,
    dim: int,
    weight: Tensor | None,
    *,
    centered: bool,
    total: Callable[[Tensor], Tensor] | None = None,
) -> tuple[Tensor, Tensor]:
    """The correlation, 0 with gradient 0 where undefined, and where it is defined.

    Both sides are brought to the unit range first (see :mod:`neuroalign.functional.variation`), which no correlation
    notices. ``weight`` is 0 where the target is missing; None has the target's NaN left out. ``total`` adds sums
    (..., voxel) over stimuli up over processes, so that a correlation over all their stimuli needs no exchange of responses.
    """
    preds, target = widen(preds, target)
    used, w = None, weight
    if weight is not None:
        w = weight.to(target.dtype).expand_as(target)
        if has_nan(target):
            w = torch.where(target.isnan(), 0, w)
        used = w > 0
    elif has_nan(target):
        used = ~target.isnan()
        w = used.to(target.dtype)
    if used is not None:
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


def noise_ceiling(responses: Tensor, *, num_averaged: int | None = None) -> Tensor:
    r"""Share of the variance of the trial average that any model could explain, from repeated trials.

    With :math:`\sigma_n^2` the variance over repeats (ddof 1), averaged over stimuli, and the signal variance the rest
    of the total variance, :math:`\mathrm{ncsnr} = \sigma_s/\sigma_n` and
    :math:`\mathrm{NC} = \mathrm{ncsnr}^2 / (\mathrm{ncsnr}^2 + 1/n)` (Allen et al. 2022, Nature Neuroscience). For
    responses that were z-scored per voxel the total variance is 1, which is the form printed in the NSD manual.

    Args:
        responses: (stimulus, repeat, voxel), NaN where a repeat is missing. Stimuli with fewer than two repeats don't
            enter the noise variance.
        num_averaged: How many repeats will be averaged. Default: as many as each stimulus has; where that differs,
            1/n is replaced by its mean over stimuli.

    Returns:
        (voxel,) in [0, 1]; NaN for a voxel without repeats or without variance.

    Raises:
        ValueError: If the shape is not three-dimensional, there is only one repeat, or a response is infinite.

    Example:
        >>> signal = torch.tensor([-1.0, 1.0]).repeat(50)
        >>> noise_ceiling(signal[:, None, None].expand(100, 3, 1))
        tensor([1.])
    """
    if responses.ndim != 3 or responses.shape[1] < 2:
        raise ValueError(
            f"responses must be (stimulus, repeat, voxel) with at least 2 repeats; got {tuple(responses.shape)}"
        )
    check_infinite(responses=responses)
    (x,) = widen(responses)
    valid = ~x.isnan()
    constant = is_constant(*extremes(x.flatten(0, 1), valid.flatten(0, 1)), torch.finfo(x.dtype).eps)
    x, count = x.double(), valid.sum(1)
    x0 = torch.where(valid, x, 0)
    mean = x0.sum(1) / count.clamp_min(1)
    within = torch.where(valid, (x - mean[:, None]) ** 2, 0).sum(1) / (count - 1).clamp_min(1)
    repeated = count >= 2
    noise = torch.where(repeated, within, 0).sum(0) / repeated.sum(0)
    trials = valid.sum((0, 1))
    grand = x0.sum((0, 1)) / trials
    total = torch.where(valid, (x - grand) ** 2, 0).sum((0, 1)) / trials
    seen = count > 0
    if num_averaged is None:
        inverse = torch.where(seen, 1 / count.clamp_min(1), 0).sum(0) / seen.sum(0)
    else:
        inverse = torch.full_like(noise, 1 / num_averaged)
    signal = (total - noise).clamp_min(0)
    ceiling = torch.where(constant, torch.nan, signal / (signal + noise * inverse))
    return ceiling.to(widen(responses)[0].dtype)


def spearman_brown(r: Tensor, factor: float = 2.0) -> Tensor:
    r"""Reliability of a measurement that is ``factor`` times as long: :math:`kr / (1 + (k-1) r)`.

    Args:
        r: Split-half (or other) reliabilities, any shape.
        factor: Length of the wanted measurement over that of the one at hand.

    Returns:
        Tensor of the shape of ``r``.

    Example:
        >>> spearman_brown(torch.tensor(0.6))
        tensor(0.7500)
    """
    return factor * r / (1 + (factor - 1) * r)
