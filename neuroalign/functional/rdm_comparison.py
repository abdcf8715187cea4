"""Similarity of dissimilarity matrices (RDMs), and the noise ceiling of the RDMs of several subjects."""

from __future__ import annotations

import warnings
from typing import Literal, get_args

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from neuroalign.functional.checks import check_choice, check_infinite, widen
from neuroalign.functional.dissimilarity import check_dissimilarity, square_rdm, upper
from neuroalign.functional.gram import double_centered
from neuroalign.functional.host import spoil
from neuroalign.functional.row_masks import pairs
from neuroalign.functional.variation import unit_magnitude

__all__ = ["compare_rdms", "rdm_noise_ceiling"]

Comparison = Literal["pearson", "cosine", "whitened_cosine", "spearman", "soft_spearman"]


def check_options(dissimilarity: str, comparison: str) -> None:
    """Refuse an unknown dissimilarity or comparison.

    Raises:
        ValueError: Listing the known ones.
    """
    check_dissimilarity(dissimilarity)
    check_choice("comparison", comparison, get_args(Comparison))


def warn_of_cosine(comparison: str, rdm: Tensor | None = None, *, stacklevel: int = 3) -> None:
    """Warn if noise would count as structure: with a plain cosine of distances, all of which noise enlarges.

    Args:
        comparison: As in :func:`rsa`.
        rdm: The given distances; None if there are none. Negative ones show that they were cross-validated: noise adds
            nothing to those on average.
        stacklevel: As in ``warnings.warn``: 3 names the line that called the caller.

    Example:
        >>> warn_of_cosine("pearson")
        >>> warn_of_cosine("cosine", torch.tensor([0.4, -0.1, 0.2]))
    """
    if comparison == "cosine" and (rdm is None or not bool((rdm < 0).any())):
        warnings.warn(
            "comparison='cosine' takes the noise of measured responses for structure: noise adds about the same to every "
            "distance, so that a random code of many dimensions can score above the true one. Use comparison='pearson'; "
            "'cosine' is for targets without noise (a predictor's responses) and for cross-validated distances",
            stacklevel=stacklevel,
        )


def _soft_ranks(d: Tensor, temperature: float, used: Tensor | None = None) -> Tensor:
    r"""Ranks under a Laplace kernel, :math:`\sum_j F((d_i - d_j)/\tau)`, in m log m.

    In sorted order the sum consists of two recurrences, which logcumsumexp computes without overflow or underflow. With
    ``used``, the others are put so far above all that are used that they don't count; their own ranks have no meaning.
    """
    if used is None:
        mean, spread = d.mean(), d.std(correction=0)
    else:
        m = used.sum().clamp_min(1)
        mean = torch.where(used, d, 0).sum() / m
        variance = torch.where(used, d - mean, 0).square().sum() / m
        spread = torch.where(variance > 0, variance, 1).sqrt() * (variance > 0)
    tau = temperature * torch.where(spread > 0, spread, 1)
    if used is not None:
        d = torch.where(used, d, (torch.where(used, d, mean).amax() + 1000 * tau).detach())
    order = d.argsort()
    s = (d[order] - mean) / tau
    below = (s.logcumsumexp(0) - s).exp()  # sum over j <= i of exp(-(s_i - s_j))
    above = ((-s).flip(0).logcumsumexp(0).flip(0) + s).exp()  # over j >= i
    count = torch.arange(1, len(s) + 1, device=d.device, dtype=d.dtype)
    ranks = count - below / 2 + (above - 1) / 2
    return ranks[order.argsort()]


def _ranks(d: Tensor) -> Tensor:
    """Ranks from 1; ties get their mean rank."""
    _, inverse, counts = d.unique(return_inverse=True, return_counts=True)
    last = counts.cumsum(0).to(d.dtype)
    result: Tensor = (last - (counts - 1).to(d.dtype) / 2)[inverse]
    return result


def _leveled(d: Tensor, weight: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Dissimilarities minus the largest, in units of it, and whether they differ by more than rounding error.

    Computed dissimilarities that should be equal may differ by rounding error, which is no structure. Minus one of them,
    equal ones are exactly 0.
    """
    used = torch.ones_like(d) > 0 if weight is None else weight > 0
    z, some = unit_magnitude(torch.where(used, d, 0)[None], 1)
    z = z[0]
    if not len(z):
        return z, some[0]
    z = torch.where(used, z - torch.where(used, z.detach(), -torch.inf).amax(), 0)
    w = used.to(d.dtype) if weight is None else weight
    centered = torch.where(used, z - (w @ z) / w.sum().clamp_min(torch.finfo(d.dtype).tiny), 0)
    return z, some[0] & (w @ centered.detach().square() > w.sum() * (4 * torch.finfo(d.dtype).eps) ** 2)


def _correlate(a: Tensor, b: Tensor, weight: Tensor | None, centered: bool) -> tuple[Tensor, Tensor]:
    """Weighted cosine or correlation of flat vectors, 0 with gradient 0 where undefined; and whether it is defined."""
    a, b = a.flatten(), b.flatten()
    weight = torch.ones_like(a) if weight is None else weight.flatten()
    used, total = weight > 0, weight.sum().clamp_min(torch.finfo(a.dtype).tiny)
    if centered:
        (a, varies_a), (b, varies_b) = _leveled(a, weight), _leveled(b, weight)
        a, b = (torch.where(used, x - (weight @ x) / total, 0) for x in (a, b))
    else:
        (a, varies_a), (b, varies_b) = (unit_magnitude(torch.where(used, x, 0)[None], 1) for x in (a, b))
        a, b, varies_a, varies_b = a[0], b[0], varies_a[0], varies_b[0]
    defined = varies_a & varies_b
    aa, bb, ab = weight @ (a * a), weight @ (b * b), weight @ (a * b)
    scale = torch.where(defined, aa, 1).sqrt() * torch.where(defined, bb, 1).sqrt()
    return torch.where(defined, ab / scale, 0 * ab), defined


def _compare_soft_ranks(a: Tensor, b: Tensor, known: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Correlation of soft ranks over the known pairs, by vectors of all pairs."""
    rows, columns = torch.triu_indices(len(a), len(a), 1, device=a.device)
    used = known[rows, columns]
    weight = used.to(a.dtype)
    (a, varies_a), (b, varies_b) = (_leveled(d[rows, columns], weight) for d in (a, b))
    a, b = (_soft_ranks(d, temperature, used) for d in (a, b))
    r, defined = _correlate(a, b, weight, centered=True)
    defined = defined & varies_a & varies_b
    return torch.where(defined, r, 0 * r), defined


def _missing_pairs(known: Tensor, kept: Tensor | None) -> Tensor:
    needed = upper(len(known), known.device)
    return ((needed if kept is None else needed & pairs(kept)) & ~known).sum()


def compare_matrices(
    a: Float[Tensor, "stimulus stimulus"],
    b: Float[Tensor, "stimulus stimulus"],
    known: Bool[Tensor, "stimulus stimulus"] | None,
    comparison: Comparison,
    temperature: float = 0.05,
    *,
    kept: Bool[Tensor, " stimulus"] | None = None,
    looks: bool = True,
) -> tuple[Float[Tensor, ""], Bool[Tensor, ""]]:
    """Similarity of two dissimilarity matrices (stimulus, stimulus) over the known pairs, and whether it is defined.

    Args:
        a: (stimulus, stimulus).
        b: (stimulus, stimulus).
        known: (stimulus, stimulus), which pairs are known; None means all.
        comparison: As in :func:`rsa`.
        temperature: Temperature of soft ranks.
        kept: (stimulus,), which stimuli count; None means all. If given, no shape depends on how many pairs are known.
        looks: Whether a pair that is missing but needed is an error; otherwise it makes the value NaN.
    """
    n = len(a)
    if kept is not None and comparison == "soft_spearman":
        return _compare_soft_ranks(a, b, pairs(kept) if known is None else known & pairs(kept), temperature)
    if comparison in ("spearman", "soft_spearman"):
        inside = upper(n, a.device)
        if known is not None:
            inside = inside & known
        (a, varies_a), (b, varies_b) = _leveled(a[inside]), _leveled(b[inside])
        if comparison == "spearman":
            a, b = _ranks(a), _ranks(b)
        elif len(a):
            a, b = _soft_ranks(a, temperature), _soft_ranks(b, temperature)
        r, defined = _correlate(a, b, None, centered=True)
        defined = defined & varies_a & varies_b
        return torch.where(defined, r, 0 * r), defined
    if comparison == "whitened_cosine":
        missing = None if known is None else _missing_pairs(known, kept)
        if missing is not None and looks and bool(missing > 0):
            raise ValueError(
                f"whitened_cosine needs every pair of stimuli, and {int(missing)} are missing: "
                "leave their stimuli out, or compare by 'cosine' or 'pearson'"
            )
        # Whitening turns squared distances into the inner products of centred patterns (Diedrichsen et al. 2021).
        value, defined = _correlate(double_centered(a, kept), double_centered(b, kept), None, centered=False)
        return (value if missing is None or looks else spoil(value, missing > 0)), defined
    weight = 1 - torch.eye(n, dtype=a.dtype, device=a.device)
    if known is not None:
        weight = weight * known
    return _correlate(a, b, weight, centered=comparison == "pearson")


def compare_rdms(
    a: Float[Tensor, "*rdm pair"],
    b: Float[Tensor, " pair"],
    *,
    comparison: Comparison = "pearson",
    temperature: float = 0.05,
) -> Float[Tensor, "*rdm"]:
    """Similarity of RDMs, given as vectors of :func:`rdm`; pairs that are NaN in either are left out.

    Args:
        a: (pair,) or (rdm, pair).
        b: (pair,).
        comparison: As in :func:`rsa`.
        temperature: Temperature of soft ranks.

    Returns:
        Scalar, or (rdm,); NaN where an RDM is constant.

    Raises:
        ValueError: If the lengths differ or are no number of pairs, or a value is infinite.

    Example:
        >>> compare_rdms(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([2.0, 4.0, 6.0]))
        tensor(1.)
    """
    check_options("sqeuclidean", comparison)
    if a.ndim == 2:
        return torch.stack([compare_rdms(row, b, comparison=comparison, temperature=temperature) for row in a])
    a, b = widen(a, b)
    if b.ndim != 1:
        raise ValueError(
            f"the second RDM must be one vector (pair,); got {tuple(b.shape)}. Several go first: swap them"
        )
    if a.shape != b.shape:
        raise ValueError(f"RDMs of {a.shape[-1]} and {b.shape[-1]} pairs can't be compared")
    check_infinite(a=a, b=b)
    known = ~(a.isnan() | b.isnan())
    a, b = (square_rdm(torch.where(known, d, 0)) for d in (a, b))
    value, defined = compare_matrices(a, b, square_rdm(known.to(a.dtype)) > 0, comparison, temperature)
    return torch.where(defined, value, torch.nan)


def rdm_noise_ceiling(
    rdms: Float[Tensor, "subject pair"], *, comparison: Comparison = "pearson"
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Lower and upper bound of the average over subjects that any RDM could reach.

    Each subject's RDM is compared with the mean of the others' (lower) and of all (upper), after each was
    z-scored ("pearson") or scaled to unit root mean square ("cosine" and "whitened_cosine") or ranked ("spearman").

    Args:
        rdms: (subject, pair), at least 2 subjects; NaN where missing.
        comparison: Any comparison but "soft_spearman".

    Returns:
        Two scalars, lower and upper.

    Raises:
        ValueError: If there are fewer than 2 subjects, or the comparison has no such ceiling.

    Example:
        >>> low, high = rdm_noise_ceiling(
        ...     torch.tensor([[1.0, 2.0, 3.0], [1.0, 3.0, 2.0], [1.0, 2.0, 2.5]])
        ... )
        >>> bool(low < high)
        True

    Source:
        Nili et al. 2014, PLoS Computational Biology 10(4).
    """
    check_options("sqeuclidean", comparison)
    if comparison == "soft_spearman":
        raise ValueError("the noise ceiling of soft_spearman is not defined: use spearman")
    if rdms.ndim != 2 or len(rdms) < 2:
        raise ValueError(f"a noise ceiling needs RDMs (subject, pair) of at least 2 subjects; got {tuple(rdms.shape)}")
    unit = normalized_rdms(rdms, comparison)
    lower, upper_bound = [], []
    for i, own in enumerate(rdms):
        others = torch.cat([unit[:i], unit[i + 1 :]])
        lower.append(compare_rdms(own, others.nanmean(0), comparison=comparison))
        upper_bound.append(compare_rdms(own, unit.nanmean(0), comparison=comparison))
    return torch.stack(lower).nanmean(), torch.stack(upper_bound).nanmean()


def normalized_rdms(rdms: Float[Tensor, "subject pair"], comparison: Comparison) -> Float[Tensor, "subject pair"]:
    """RDMs (subject, pair) in the form that a comparison needs for averaging; NaN stays NaN."""
    (rdms,) = widen(rdms)
    if comparison in ("spearman", "soft_spearman"):
        out = torch.full_like(rdms, torch.nan)
        for row, d in zip(out, rdms):
            row[~d.isnan()] = _ranks(d[~d.isnan()])
        return out  # not scaled, because rounding would break ties of the average
    top = rdms.abs().nan_to_num(0.0).amax(1, keepdim=True)
    rdms = rdms / torch.where(top > 0, top, 1)
    if comparison in ("cosine", "whitened_cosine"):
        return rdms / rdms.square().nanmean(1, keepdim=True).sqrt()
    rdms = rdms - rdms.nanmean(1, keepdim=True)
    return rdms / rdms.square().nanmean(1, keepdim=True).sqrt()
