"""Representational similarity analysis (RSA): similarity of the dissimilarity matrices of two sets of responses."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from neuroalign.functional.checks import check_enough
from neuroalign.functional.dissimilarity import Dissimilarity, dissimilarities, upper
from neuroalign.functional.missing import check_valid, prepare
from neuroalign.functional.rdm_comparison import Comparison, check_options, compare_matrices
from neuroalign.functional.repeats import average_repeats, count_stimuli, group_valid_rows
from neuroalign.functional.row_masks import MaskedSets, average_masked

__all__ = ["rsa"]


def rsa_terms(
    preds: Float[Tensor, "stimulus feature"],
    target: Float[Tensor, "stimulus voxel"],
    weight: Float[Tensor, "stimulus voxel"],
    dissimilarity: Dissimilarity,
    comparison: Comparison,
    temperature: float = 0.05,
    group: Int[Tensor, " stimulus"] | None = None,
    kept: Bool[Tensor, " stimulus"] | None = None,
    looks: bool = True,
) -> tuple[Float[Tensor, ""], Bool[Tensor, ""]]:
    """RSA of prepared sets, 0 with gradient 0 where undefined, and whether it is defined.

    Pairs of rows of the same stimulus, which have the same number in ``group`` (row,), are left out. Averaging the rows would
    do as well if they were equal. But averages of fewer noisy rows lie further out on both sides, which counts as
    similarity. Only whitening needs all pairs, and therefore averages.

    ``kept`` (row,) says which rows count, None means all: then ``group`` is that of :func:`first_rows`. ``looks`` is that of
    :func:`compare_matrices`.
    """
    if comparison == "whitened_cosine":
        if kept is None:
            preds, target, weight = average_repeats(preds, target, weight, group)
        else:
            preds, target, weight, kept = average_masked(MaskedSets(preds, target, weight, kept), group)
        group = None
    a, some, _ = dissimilarities(preds, None, dissimilarity, kept)
    b, known, _ = dissimilarities(target, weight, dissimilarity, kept)
    if group is not None:
        different = group[:, None] != group
        known = different if known is None else known & different
    value, defined = compare_matrices(a, b, known, comparison, temperature, kept=kept, looks=looks)
    if some is None:
        return value, defined
    defined = defined & (some & upper(len(a), a.device)).any()
    return torch.where(defined, value, 0 * value), defined


def rsa(
    x: Float[Tensor, "stimulus feature"],
    y: Float[Tensor, "stimulus voxel"],
    *,
    dissimilarity: Dissimilarity = "sqeuclidean",
    comparison: Comparison = "pearson",
    temperature: float = 0.05,
    weight: Float[Tensor, " voxel"] | Float[Tensor, "stimulus voxel"] | None = None,
    stimulus: Int[Tensor, " stimulus"] | None = None,
) -> Float[Tensor, ""]:
    r"""Representational similarity: the similarity of two RDMs, over pairs of different stimuli.

    Comparisons: ``"pearson"``; ``"cosine"``; ``"whitened_cosine"``, the cosine after whitening by the covariance that
    noise gives to squared distances, which equals biased linear CKA; ``"spearman"``, which has no gradient; and
    ``"soft_spearman"``, the correlation of soft ranks :math:`\sum_j F((d_i-d_j)/\tau)` with F the distribution
    function of the Laplace distribution and :math:`\tau` the temperature times the standard deviation of the RDM.

    **When the value misleads.** Noise in responses adds about the same to all their distances. This changes "pearson" and
    the ranks little. But "cosine" takes it for structure, and ranks a random code of many dimensions above the true one: in
    simulation with each dissimilarity, from noise of 1.5 times the standard deviation of the signal on. Use "cosine" for
    responses without noise or for cross-validated distances. "whitened_cosine" has the bias of biased CKA: upward unless
    there are several times more stimuli than columns. And where both sides are noisy with unequal numbers of trials, the
    "sqeuclidean" distances of both sides are larger for the stimuli of few trials, which every comparison counts as
    similarity ("pearson" .92 between two sets of simulated pure noise, 64 stimuli of 200 columns, half of them averaged over
    one trial and half over three; 0 with "correlation" or "cosine" distances).

    Unchanged by everything that leaves the dissimilarities unchanged (see :func:`rdm`), by scaling a whole side, and by
    permuting the stimuli of both. Missing values and weights as in :func:`rdm`; a pair without a value in y is left out. A
    constant pattern of x has a correlation of 0 with the others.

    Args:
        x: (stimulus, feature).
        y: (stimulus, voxel), NaN where missing.
        dissimilarity: "sqeuclidean", "correlation" or "cosine", for both sides.
        comparison: "pearson", "cosine", "whitened_cosine", "spearman" or "soft_spearman".
        temperature: Temperature of soft ranks.
        weight: (voxel,) or (stimulus, voxel), non-negative, for y; None means 1 everywhere.
        stimulus: (stimulus,) integer identities, if a stimulus may occur twice: pairs of its rows are left out, since rows
            of the same image are alike on both sides, which would count as similarity. (For "whitened_cosine" its rows are
            averaged first.)

    Returns:
        Scalar in [-1, 1]; NaN if an RDM is constant.

    Raises:
        TypeError: If the identities are no integers.
        ValueError: If the number of (different) stimuli differs or is below 3, no value is valid, or an option is unknown.

    Example:
        >>> x = torch.tensor([[0.0, 0.0], [0.0, 2.0], [3.0, 2.0], [1.0, 1.0]])
        >>> rsa(x, 2 * x.flip(1) + 1).round(decimals=4)
        tensor(1.)

    Source:
        Kriegeskorte et al. 2008; Diedrichsen et al. 2021, arXiv 2007.02789 (whitened cosine).
    """
    check_options(dissimilarity, comparison)
    preds, target, w = prepare(x, y, weight)
    check_valid(w)
    group = group_valid_rows(stimulus, y, weight)
    check_enough(count_stimuli(len(preds), group), 3, "RSA, which compares pairs,")
    value, defined = rsa_terms(preds, target, w, dissimilarity, comparison, temperature, group)
    return torch.where(defined, value, torch.nan)
