"""Representational dissimilarity matrices (RDMs): how different the responses to each pair of stimuli are."""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from neuroalign.functional.checks import check_choice, check_infinite, check_sets, widen
from neuroalign.functional.gram import centered_gram, gram
from neuroalign.functional.missing import center, shared, uniform
from neuroalign.functional.row_masks import pairs
from neuroalign.functional.variation import unit_magnitude, unit_range

__all__ = ["rdm", "square_rdm"]

Dissimilarity = Literal["sqeuclidean", "correlation", "cosine"]


def check_dissimilarity(dissimilarity: str) -> None:
    """Refuse an unknown dissimilarity.

    Raises:
        ValueError: Listing those known.
    """
    check_choice("dissimilarity", dissimilarity, get_args(Dissimilarity))


class Dissimilarities(NamedTuple):
    """Dissimilarities of all pairs of stimuli.

    Attributes:
        matrix: (stimulus, stimulus), computed from columns divided by ``unit``.
        known: (stimulus, stimulus) bool, which pairs have a common column; None means all.
        unit: Scalar, 1 unless the matrix of the columns as given would leave its dtype.
    """

    matrix: Tensor
    known: Tensor | None
    unit: Tensor


def squared_distances(
    x: Float[Tensor, "stimulus column"],
    weight: Float[Tensor, "stimulus column"] | None = None,
    kept: Bool[Tensor, " stimulus"] | None = None,
) -> Dissimilarities:
    """Mean squared difference between stimuli over common columns; pairs of rows that aren't ``kept`` are not known.

    No tensor of size (stimulus, stimulus, column) is formed.
    """
    if weight is None or shared(weight):
        # Centring does not change distances, but in float32 the products from which they are computed need it.
        if weight is None or uniform(weight):
            total: Tensor | int = x.shape[1]
            k, _, unit = centered_gram(x, kept=kept)
        else:
            (k, _, unit), total = centered_gram(x, weight[0], kept), weight[0].sum()
        square = k.diagonal() / total
        d = (square[:, None] + square - (2 / total) * k).clamp_min(0).fill_diagonal_(0)
        return Dissimilarities(d, None if kept is None else pairs(kept), unit)
    used = weight > 0
    x, _, unit = unit_range(x, used, whole=True)
    x = center(x, weight)
    root = weight.sqrt()
    common = gram(root)
    square = (root * x * x) @ root.T
    d = (square + square.T - 2 * gram(root * x)).clamp_min(0).fill_diagonal_(0)
    return Dissimilarities(d / torch.where(common > 0, common, 1), common > 0, unit)


def _unit_rows(x: Tensor, weight: Tensor | None, centered: bool) -> tuple[Tensor, Tensor]:
    """Rows scaled to unit length under shared weights; 0 where a row has none; and which rows have a length.

    A row has no length where it is constant (``centered``) or zero.
    """
    used = None if weight is None or uniform(weight) else weight > 0
    w = x.new_full((x.shape[1],), 1 / x.shape[1]) if weight is None else weight[0] / weight[0].sum()
    x, defined = _normalized_rows(x, used, centered)
    if centered:
        x = x - (x * w).sum(1, keepdim=True)
    size = (w * x * x).sum(1)
    return torch.where(defined[:, None], x / torch.where(defined, size, 1).sqrt()[:, None], 0), defined


def _normalized_rows(x: Tensor, used: Tensor | None, centered: bool) -> tuple[Tensor, Tensor]:
    if centered:
        return unit_range(x, used, 1)[:2]
    return unit_magnitude(x if used is None else torch.where(used, x, 0), 1)


def _cosine_over_common(x: Tensor, weight: Tensor, centered: bool) -> tuple[Tensor, Tensor]:
    """Weighted cosines (correlations) of all pairs of rows, each over the pair's common columns; and which exist."""
    dtype, root = x.dtype, weight.double().sqrt()
    x = _normalized_rows(x, weight > 0, centered)[0].double()
    if centered:  # shifting a row by a constant changes only the rounding
        x = torch.where(root > 0, x - (root * x).sum(1, keepdim=True) / root.sum(1, keepdim=True), 0)
    total = gram(root)
    square = (root * x * x) @ root.T  # sum over common columns of x_i^2
    product = gram(root * x)
    # A row may be constant over the columns that it shares with another; below this, the difference of sums is rounding.
    rounding = total * max(4 * torch.finfo(dtype).eps ** 2, 64 * torch.finfo(torch.float64).eps)
    if centered:
        some = torch.where(total > 0, total, 1)
        mean = (root * x) @ root.T  # sum over common columns of x_i
        square = square - mean**2 / some
        product = product - mean * mean.T / some
    defined = (square > rounding) & (square.T > rounding.T) if centered else (square > 0) & (square.T > 0)
    if centered:
        defined = defined & (gram((root > 0).to(root.dtype)) >= 2)
    scale = torch.where(defined, square, 1).sqrt() * torch.where(defined, square.T, 1).sqrt()
    return torch.where(defined, product / scale, 0 * product).to(dtype), defined


def dissimilarities(
    x: Float[Tensor, "stimulus column"],
    weight: Float[Tensor, "stimulus column"] | None,
    dissimilarity: Dissimilarity,
    kept: Bool[Tensor, " stimulus"] | None = None,
) -> Dissimilarities:
    """Dissimilarities of all pairs of prepared responses; ``known`` says which pairs are defined.

    ``kept`` says which rows count, None means all; the others must be 0, with weight 0 if there are weights.

    An undefined correlation or cosine counts as 0, a dissimilarity of 1, and sends no gradient.
    """
    if dissimilarity == "sqeuclidean":
        return squared_distances(x, weight, kept)
    centered = dissimilarity == "correlation"
    if weight is not None and not shared(weight):
        r, defined = _cosine_over_common(x, weight, centered)
        return Dissimilarities((1 - r).fill_diagonal_(0), defined, x.new_ones(()))
    unit, rows = _unit_rows(x, weight, centered)
    # 1 - r as half the squared distance of unit rows: exact where r is so near 1 that the difference would be noise.
    d, _, scale = squared_distances(unit, weight, kept)
    defined = pairs(rows if kept is None else rows & kept)
    return Dissimilarities(torch.where(defined, d * scale**2 / 2, 1).fill_diagonal_(0), defined, x.new_ones(()))


def rdm(
    x: Float[Tensor, "stimulus voxel"],
    *,
    dissimilarity: Dissimilarity = "sqeuclidean",
    weight: Float[Tensor, " voxel"] | Float[Tensor, "stimulus voxel"] | None = None,
) -> Float[Tensor, " pair"]:
    r"""Representational dissimilarity matrix: the upper triangle, row by row.

    ``"sqeuclidean"``: mean over voxels of the squared difference (the field's main toolbox calls it euclidean);
    unchanged by rotations and by adding one pattern to all. ``"correlation"``: 1 - Pearson correlation over voxels;
    unchanged by shifting and scaling each stimulus. ``"cosine"``: 1 - cosine; unchanged by scaling each stimulus and by
    rotations. Scaling single voxels changes each of them.

    Missing values: a pair is compared over the voxels valid in both. Weights make the mean, correlation or cosine a
    weighted one: integer weights equal repeating voxels.

    Args:
        x: (stimulus, voxel), NaN where missing.
        dissimilarity: "sqeuclidean", "correlation" or "cosine".
        weight: (voxel,) or (stimulus, voxel), non-negative.

    Returns:
        (pair,) of n(n-1)/2 pairs in the order of ``scipy.spatial.distance.pdist``; NaN for a pair without a common voxel,
        or with a constant (zero) pattern where the correlation (cosine) has no value.

    Raises:
        ValueError: If there are fewer than 2 stimuli, a value is infinite, the dissimilarity is unknown, or squared
            distances are too large or too small for their dtype.

    Example:
        >>> rdm(torch.tensor([[0.0, 0.0], [0.0, 2.0], [2.0, 2.0]])).round(decimals=3)
        tensor([2., 4., 2.])

    Source:
        Kriegeskorte et al. 2008, Frontiers in Systems Neuroscience 2:4.
    """
    check_dissimilarity(dissimilarity)
    check_sets(x, x)
    check_infinite(x=x, weight=weight)
    if len(x) < 2:
        raise ValueError(f"an RDM needs at least 2 stimuli; got {len(x)}")
    (x,) = widen(x)
    valid = ~x.isnan()
    w = x.new_ones(x.shape[1]) if weight is None else weight.to(x.dtype).nan_to_num(0.0)
    w = w.expand_as(x)
    if not bool(valid.all()):
        w, x = torch.where(valid, w, 0), torch.where(valid, x, 0)
    d, defined, unit = dissimilarities(x, w, dissimilarity)
    if dissimilarity == "sqeuclidean":
        _check_distances(d.detach(), unit)
    d = d * unit**2
    if defined is not None:
        d = torch.where(defined, d, torch.nan)
    return d[upper(len(x), d.device)]


def _check_distances(d: Tensor, unit: Tensor) -> None:
    """Refuse squared distances of columns divided by ``unit`` that would leave their dtype with it."""
    if float(unit) == 1:
        return
    top, limits = float(d.max()) * float(unit) ** 2, torch.finfo(d.dtype)
    if float(d.max()) > 0 and not limits.tiny <= top <= limits.max:
        raise ValueError(
            f"squared distances of about {top:.3g} leave {d.dtype}: multiply the responses by a number that brings them "
            "near 1, or give float64 tensors"
        )


def upper(n: int, device: torch.device | None = None) -> Bool[Tensor, "{n} {n}"]:
    """Mask (stimulus, stimulus) of the pairs above the diagonal."""
    return torch.ones(n, n, dtype=torch.bool, device=device).triu(1)


def square_rdm(d: Float[Tensor, "*rdm pair"]) -> Float[Tensor, "*rdm stimulus stimulus"]:
    """Symmetric matrices (..., stimulus, stimulus) from RDM vectors (..., pair), with 0 on the diagonal.

    Raises:
        ValueError: If the length is no n(n-1)/2.

    Example:
        >>> square_rdm(torch.tensor([1.0, 2.0, 3.0]))
        tensor([[0., 1., 2.],
                [1., 0., 3.],
                [2., 3., 0.]])
    """
    pairs = d.shape[-1]
    n = round((1 + (1 + 8 * pairs) ** 0.5) / 2)
    if n * (n - 1) // 2 != pairs:
        raise ValueError(f"{pairs} is not a number of pairs n(n-1)/2: give the upper triangle of an RDM, as rdm() does")
    out = d.new_zeros(*d.shape[:-1], n, n)
    out[..., upper(n, d.device)] = d
    return out + out.mT


def rdm_vectors(rdm: Float[Tensor, ...]) -> Float[Tensor, "subject pair"]:
    """RDMs (subject, pair) from any of the forms in which they are published.

    Args:
        rdm: (pair,), (stimulus, stimulus), (subject, pair) or (subject, stimulus, stimulus).

    Raises:
        TypeError: If it is no floating-point tensor.
        ValueError: If a matrix is not symmetric or its diagonal not 0, a vector's length no number of pairs, or a value
            infinite.

    Example:
        >>> rdm_vectors(torch.tensor([[0.0, 1.0], [1.0, 0.0]]))
        tensor([[1.]])
    """
    if not isinstance(rdm, Tensor) or not rdm.is_floating_point():
        got = rdm.dtype if isinstance(rdm, Tensor) else type(rdm).__name__
        raise TypeError(f"an RDM must be a floating-point tensor; got {got}")
    check_infinite(rdm=rdm)
    if rdm.ndim == 1:
        rdm = rdm[None]
    if rdm.ndim == 3 or (rdm.ndim == 2 and rdm.shape[0] == rdm.shape[1] and rdm.shape[0] > 1):
        matrices = rdm if rdm.ndim == 3 else rdm[None]
        if matrices.shape[1] != matrices.shape[2]:
            raise ValueError(f"RDMs must be square (subject, stimulus, stimulus); got {tuple(rdm.shape)}")
        if not torch.allclose(matrices, matrices.mT, rtol=1e-4, atol=1e-6, equal_nan=True):
            raise ValueError("an RDM must be symmetric; this one is not: is it a matrix of something else?")
        diagonal, top = (
            matrices.diagonal(dim1=1, dim2=2).nan_to_num(0.0).abs().max(),
            matrices.nan_to_num(0.0).abs().max(),
        )
        if diagonal > 1e-3 * top:
            raise ValueError(
                f"the diagonal of an RDM must be 0; this one's reaches {float(diagonal):.3g}. A similarity matrix, perhaps? "
                "Take 1 - it"
            )
        return matrices[:, upper(matrices.shape[1], rdm.device)]
    if rdm.ndim != 2:
        raise ValueError(f"RDMs must be (pair,), (stimulus, stimulus) or these by subject; got {tuple(rdm.shape)}")
    square_rdm(rdm[0])
    return rdm
