"""Centred kernel alignment (CKA): do two representations order the same stimuli alike?"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from neuroalign.functional.checks import check_enough
from neuroalign.functional.dissimilarity import squared_distances, upper
from neuroalign.functional.gram import centered_gram, target_gram
from neuroalign.functional.independence import hsic_terms
from neuroalign.functional.missing import center, check_valid, prepare, shared, uniform
from neuroalign.functional.repeats import average_repeats, group_valid_rows
from neuroalign.functional.row_masks import center_masked
from neuroalign.functional.variation import unit_range

__all__ = ["linear_cka", "rbf_cka"]


class HSICTerms(NamedTuple):
    """The three HSICs of CKA (cross, preds with itself, target with itself), and whether neither side is constant."""

    cross: Tensor
    preds: Tensor
    target: Tensor
    defined: Tensor


def _same_voxel(x: Tensor, n: int | Tensor) -> Tensor:
    """Debiased HSIC of each voxel with itself over n stimuli, (voxel,), from sums of powers."""
    square = x * x
    s1, s2, s3, s4 = x.sum(0), square.sum(0), (square * x).sum(0), (square * square).sum(0)
    pairs = s2**2 - s4 + (s1**2 - s2) ** 2 / ((n - 1) * (n - 2)) - 2 * (s1**2 * s2 - 2 * s1 * s3 + s4) / (n - 2)
    return pairs / (n * (n - 3))


def linear_terms(
    preds: Float[Tensor, "stimulus feature"],
    target: Float[Tensor, "stimulus voxel"],
    weight: Float[Tensor, "stimulus voxel"],
    *,
    debiased: bool,
    voxel_corrected: bool,
    kept: Bool[Tensor, " stimulus"] | None = None,
) -> HSICTerms:
    """HSICs of prepared sets with the linear kernel, up to a factor per side; of the rows ``kept``, None means all."""
    n = len(preds) if kept is None else kept.sum().clamp_min(4 if debiased else 2)
    if voxel_corrected:  # its same-voxel terms need exactly the columns from which the matrices are computed
        target, weight = _complete_voxels(target, weight, kept)
        used = None if kept is None else kept[:, None]
        preds, target = unit_range(preds, used, whole=True)[0], unit_range(target, used, whole=True)[0]
    k, varies_x, _ = centered_gram(preds, kept=kept)
    l, varies_y = target_gram(target, weight, kept)  # noqa: E741
    defined = varies_x & varies_y
    # Scaled to unit variance, so that batches of different scale count alike in an average.
    size_x, size_y = (torch.where(defined, m.diagonal().sum() / n, 1) for m in (k, l))
    cross, xx, yy = hsic_terms(k, l, debiased, kept)
    cross, xx, yy = cross / size_x / size_y, xx / size_x**2, yy / size_y**2
    if voxel_corrected:
        p = preds.shape[1]
        x, y = (center(z) if kept is None else center_masked(z, kept) for z in (preds, target))
        xx = (xx - _same_voxel(x / size_x.sqrt(), n).sum()) * p / (p - 1) if p > 1 else 0 * xx
        w = weight[0]
        effective = 1 - w.square().sum() / w.sum().square()
        own = _same_voxel(y / size_y.sqrt(), n)
        yy = (yy - (own if uniform(weight) else w.square() * own).sum()) / torch.where(effective > 0, effective, 1)
    return HSICTerms(cross, xx, yy, defined)


def _complete_voxels(target: Tensor, weight: Tensor, kept: Tensor | None) -> tuple[Tensor, Tensor]:
    """The voxels without missing values and their weights, one row for all; with ``kept`` the others have weight 0."""
    if shared(weight):
        return target, weight
    if kept is not None:
        complete = ((weight > 0) | ~kept[:, None]).all(0)
        weight = torch.where(complete, weight, 0).amax(0, keepdim=True).expand_as(weight)
        return torch.where(complete, target, 0), weight
    complete = (weight > 0).all(0)
    if not bool(complete.any()):
        raise ValueError(
            "the voxel-corrected form uses voxels without missing values, and there are none: drop the stimuli with the "
            "most missing values, or use voxel_corrected=False, which compares pairs over their common voxels"
        )
    return target[:, complete], weight[:1, complete].expand(len(weight), int(complete.sum()))


def _median(d: Tensor, known: Tensor | None) -> Tensor:
    """Mean of the two middle entries of the known pairs, with their gradient; 0 without any.

    Their places are found first, without gradient, so that autograd sees two entries and not a sorted copy of all. Of equal
    entries the first ones are taken, as a stable sort would.
    """
    inside = upper(len(d), d.device) if known is None else upper(len(d), d.device) & known
    entries = d.detach().masked_select(inside)
    m = len(entries)
    if not m:
        return d.new_zeros(())
    low = entries.median()  # the lower of the two
    rank = (m - 1) // 2 - int((entries < low).sum())
    places = ((d.detach() == low) & inside).flatten().nonzero()[:, 0]
    if m % 2:
        chosen = places[rank : rank + 1].expand(2)
    elif rank + 1 < len(places):
        chosen = places[rank : rank + 2]
    else:
        high = torch.where(entries > low, entries, torch.inf).amin()
        above = ((d.detach() == high) & inside).flatten().nonzero()[:1, 0]
        chosen = torch.cat([places[rank : rank + 1], above])
    return d.flatten()[chosen].sum() / 2


def _median_unread(d: Tensor, known: Tensor) -> Tensor:
    """As :func:`_median`, by a sort whose shapes don't depend on how many pairs are known."""
    rows, columns = torch.triu_indices(len(d), len(d), 1, device=d.device)
    entries, inside = d[rows, columns], known[rows, columns]
    m = inside.sum()
    order = torch.where(inside, entries.detach(), torch.inf).sort(stable=True).indices
    middle = torch.stack([(m - 1) // 2, m // 2]).clamp_min(0)
    return torch.where(m > 0, entries[order[middle]].sum() / 2, 0)


def rbf_terms(
    preds: Float[Tensor, "stimulus feature"],
    target: Float[Tensor, "stimulus voxel"],
    weight: Float[Tensor, "stimulus voxel"],
    *,
    debiased: bool,
    bandwidth: float,
    median: tuple[float, float] | None,
    kept: Bool[Tensor, " stimulus"] | None = None,
) -> HSICTerms:
    """HSICs of prepared sets with Gaussian kernels; of the rows ``kept``, None means all."""
    kernels, varies = [], []
    for side, (x, w) in enumerate(((preds, None), (target, weight))):
        d, known, unit = squared_distances(x, w, kept)
        if median is None:
            middle = _median(d, known) if kept is None or known is None else _median_unread(d, known)
        else:
            middle, d = d.new_full((), median[side]), d * unit**2
        varies.append(middle > 0)
        kernel = (d / (-2 * bandwidth**2 * torch.where(middle > 0, middle, 1))).exp()
        kernels.append(kernel if known is None else torch.where(known, kernel, 0))
    return HSICTerms(*hsic_terms(kernels[0], kernels[1], debiased, kept), varies[0] & varies[1])


def ratio(terms: HSICTerms) -> tuple[Float[Tensor, ""], Bool[Tensor, ""]]:
    """CKA from its HSICs, 0 with gradient 0 where undefined, and whether it is defined."""
    defined = terms.defined & (terms.preds > 0) & (terms.target > 0)
    scale = torch.where(defined, terms.preds, 1).sqrt() * torch.where(defined, terms.target, 1).sqrt()
    return torch.where(defined, terms.cross / scale, 0 * terms.cross), defined


def linear_cka(
    x: Float[Tensor, "stimulus feature"],
    y: Float[Tensor, "stimulus voxel"],
    *,
    debiased: bool = True,
    voxel_corrected: bool = False,
    weight: Float[Tensor, " voxel"] | Float[Tensor, "stimulus voxel"] | None = None,
    stimulus: Int[Tensor, " stimulus"] | None = None,
) -> Float[Tensor, ""]:
    r"""Centred kernel alignment with the linear kernel.

    .. math:: \mathrm{CKA} = \mathrm{HSIC}(K,L) / \sqrt{\mathrm{HSIC}(K,K)\,\mathrm{HSIC}(L,L)}

    Unchanged by rotating, shifting or (as a whole) scaling either side and by permuting the stimuli of both; *not* by
    scaling single columns. The voxel-corrected form depends on the axes: rotating a side changes it.

    Debiased (the default) it is near 0 for independent sides; it may be negative and is not clamped. Biased, it
    reads .96 for independent data of 512 and 2,000 columns and 32 stimuli: use it only to compare with others' numbers.
    Voxel-corrected, the terms of a voxel with itself drop out of the self-HSICs, so that regions of different size can
    be compared. It is meant for measuring, not training: it may exceed 1 (also for a side with itself), and where the
    columns of a side share little it is erratic or undefined.

    Missing values: columns are centred over their valid stimuli, and :math:`L_{ij}` is the mean over the voxels
    valid in both i and j; a voxel or stimulus that is wholly missing changes nothing. (The
    voxel-corrected form leaves out a voxel with any value missing.) Weights make that mean a weighted one: integer
    weights equal repeating voxels. (Not in the voxel-corrected form, where a repeated voxel still counts as one: the terms
    of two voxels v and v' count :math:`w_v w_{v'}`, those of a voxel with itself 0.)

    Args:
        x: (stimulus, feature).
        y: (stimulus, voxel), NaN where missing.
        debiased: Whether to use the debiased HSIC, which needs 4 stimuli.
        voxel_corrected: Whether to correct for the number of columns, on both sides. Implies the debiased HSIC.
        weight: (voxel,) or (stimulus, voxel), non-negative, for instance a noise ceiling; None means 1 everywhere.
        stimulus: (stimulus,) integer identities, if a stimulus may occur twice: its rows are averaged first, since rows of
            the same image are alike on both sides, which would count as similarity.

    Returns:
        Scalar, at most 1 (but for the voxel-corrected form); NaN if a side is constant, or, voxel-corrected, if what its
        different columns share is not positive (few stimuli, or columns that have nothing in common).

    Raises:
        TypeError: If the identities are no integers.
        ValueError: If the number of (different) stimuli differs or is too small, or no value is valid.

    Example:
        >>> x = torch.tensor([[0.0, 1.0], [1.0, 0.0], [3.0, 1.0], [0.0, 4.0], [2.0, 2.0]])
        >>> linear_cka(x, 3 * x.flip(1) + 1).round(decimals=4)
        tensor(1.)

    Source:
        Kornblith et al. 2019, arXiv 1905.00414; Murphy et al. 2024, arXiv 2405.01012 (why debiased); Chun et al. 2025,
        arXiv 2502.15104 (number of columns).
    """
    preds, target, w = prepare(x, y, weight)
    debiased = debiased or voxel_corrected
    check_valid(w)
    preds, target, w = average_repeats(preds, target, w, group_valid_rows(stimulus, y, weight))
    check_enough(len(preds), 4 if debiased else 2, "debiased CKA" if debiased else "CKA")
    value, defined = ratio(linear_terms(preds, target, w, debiased=debiased, voxel_corrected=voxel_corrected))
    return torch.where(defined, value, torch.nan)


def rbf_cka(
    x: Float[Tensor, "stimulus feature"],
    y: Float[Tensor, "stimulus voxel"],
    *,
    bandwidth: float = 1.0,
    debiased: bool = True,
    median: tuple[float, float] | None = None,
    weight: Float[Tensor, " voxel"] | Float[Tensor, "stimulus voxel"] | None = None,
    stimulus: Int[Tensor, " stimulus"] | None = None,
) -> Float[Tensor, ""]:
    r"""Centred kernel alignment with Gaussian kernels :math:`\exp(-d_{ij} / (2 b^2 m))`.

    Here d is the squared Euclidean distance and m its median over pairs of stimuli, separately for each side. The gradient
    flows through the median too, so that the value does not depend on scale and its gradient is orthogonal to the side that
    it moves. (With given medians scale matters, and the gradient is not orthogonal.)

    Unchanged by rotating, shifting or scaling either side and by permuting the stimuli of both; *not* by scaling single
    columns. Missing values and weights as in :func:`linear_cka`: :math:`d_{ij}` is the (weighted) mean over voxels valid
    in both.

    Args:
        x: (stimulus, feature).
        y: (stimulus, voxel), NaN where missing.
        bandwidth: b, in units of the root of the median squared distance.
        debiased: Whether to use the debiased HSIC.
        median: Medians of the two sides, in the unit of the mean squared difference over columns; None means the
            medians of the data.
        weight: (voxel,) or (stimulus, voxel), non-negative.
        stimulus: (stimulus,) integer identities, if a stimulus may occur twice: as in :func:`linear_cka`.

    Returns:
        Scalar, at most 1; NaN if a side is constant.

    Raises:
        TypeError: If the identities are no integers.
        ValueError: If the number of (different) stimuli differs or is too small, no value is valid, or the bandwidth is
            not positive.

    Example:
        >>> x = torch.tensor([[0.0, 1.0], [1.0, 0.0], [3.0, 1.0], [0.0, 4.0], [2.0, 2.0]])
        >>> rbf_cka(x, 3 * x.flip(1) + 1).round(decimals=4)
        tensor(1.)

    Source:
        Kornblith et al. 2019, arXiv 1905.00414.
    """
    if not 0 < bandwidth < math.inf:
        raise ValueError(f"bandwidth must be positive and finite; got {bandwidth}")
    preds, target, w = prepare(x, y, weight)
    check_valid(w)
    preds, target, w = average_repeats(preds, target, w, group_valid_rows(stimulus, y, weight))
    check_enough(len(preds), 4 if debiased else 2, "debiased CKA" if debiased else "CKA")
    value, defined = ratio(rbf_terms(preds, target, w, debiased=debiased, bandwidth=bandwidth, median=median))
    return torch.where(defined, value, torch.nan)
