"""HSIC and centred kernel alignment: do two representations order the same stimuli alike?"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from neuroalign.functional.checks import all_finite, check_enough, widen
from neuroalign.functional.dissimilarity import squared_distances
from neuroalign.functional.gram import centered_gram, double_centered, target_gram
from neuroalign.functional.missing import center, check_valid, prepare, shared, uniform
from neuroalign.functional.repeats import average_repeats, group_valid_rows
from neuroalign.functional.variation import power_of_two, unit_range


class HSICTerms(NamedTuple):
    """The three numbers that CKA is made of, and whether neither side is constant."""

    cross: Tensor
    preds: Tensor
    target: Tensor
    defined: Tensor


def hsic(k: Tensor, l: Tensor, *, debiased: bool = True) -> Tensor:  # noqa: E741 - the literature's names
    r"""Hilbert-Schmidt independence criterion of two kernel matrices.

    Biased: :math:`\mathrm{tr}(KHLH)/(n-1)^2`. Debiased (the default): :math:`\langle\hat K,\hat L\rangle/(n(n-3))` of the
    U-centred matrices, without bias from n but possibly negative.

    Args:
        k: (stimulus, stimulus), symmetric. Its diagonal plays no part in the debiased form.
        l: (stimulus, stimulus), symmetric.
        debiased: Which form.

    Returns:
        Scalar. Unchanged by permuting the stimuli of both together; scales with each matrix.

    Raises:
        ValueError: If the matrices are not square and alike, there are fewer than 4 stimuli (2 if biased), or a value, or
            the result, is not finite.

    Example:
        >>> x = torch.tensor([[0.0], [1.0], [2.0], [4.0]])
        >>> hsic(x @ x.T, x @ x.T, debiased=False).round(decimals=3)
        tensor(8.5070)

    Source:
        Gretton et al. 2005 (biased); Song et al. 2012, JMLR 13 (debiased).
    """
    if k.ndim != 2 or k.shape[0] != k.shape[1] or k.shape != l.shape:
        raise ValueError(
            f"hsic takes two kernel matrices (stimulus, stimulus), such as x @ x.T; got {tuple(k.shape)} and "
            f"{tuple(l.shape)}"
        )
    n = len(k)
    check_enough(n, 4 if debiased else 2, "debiased HSIC" if debiased else "HSIC")
    centered, count = (_u_center, n * (n - 3)) if debiased else (double_centered, (n - 1) ** 2)
    k, l = widen(k, l)  # noqa: E741
    value = (centered(k) * centered(l)).sum() / count
    if torch.finfo(value.dtype).tiny * 1e6 < abs(float(value.detach())) < torch.inf:
        return value
    for name, matrix in (("k", k), ("l", l)):
        if not all_finite(matrix):
            raise ValueError(f"the kernel matrix {name} has NaN or infinite values")
    unit_k, unit_l = power_of_two(k), power_of_two(l)  # so that no product leaves the dtype on the way
    value = (centered(k / unit_k) * centered(l / unit_l)).sum() / count * unit_k * unit_l
    if not bool(value.detach().isfinite()):
        raise ValueError(f"HSIC leaves {value.dtype}: divide the matrices by a number, or give float64 ones")
    return value


def _u_center(k: Tensor) -> Tensor:
    n = len(k)
    k = k - torch.diag(k.diagonal())
    rows = k.sum(0) / (n - 2)
    k = k - rows - rows[:, None] + k.sum() / ((n - 1) * (n - 2))
    return k - torch.diag(k.diagonal())


def _u_center_in_place(k: Tensor) -> Tensor:
    n = len(k)
    rows = k.fill_diagonal_(0).sum(0) / (n - 2)
    shift = rows - rows.sum() / (2 * (n - 1))
    return k.sub_(shift).sub_(shift[:, None]).fill_diagonal_(0)


class _DebiasedTerms(torch.autograd.Function):
    """Inner products of U-centred symmetric matrices from sums alone; the gradient is U-centred too, made in one piece."""

    @staticmethod
    def forward(ctx: Any, k: Tensor, l: Tensor) -> tuple[Tensor, Tensor, Tensor]:  # noqa: E741
        n = len(k)
        diagonals = torch.stack([k.diagonal(), l.diagonal()])
        rows = torch.stack([k.sum(0), l.sum(0)]) - diagonals
        total = rows.sum(1)
        flat = k.reshape(-1), l.reshape(-1)

        def inner(i: int, j: int) -> Tensor:
            pairs = flat[i] @ flat[j] - diagonals[i] @ diagonals[j]
            means = total[i] * total[j] / ((n - 1) * (n - 2)) - 2 * (rows[i] @ rows[j]) / (n - 2)
            return (pairs + means) / (n * (n - 3))

        ctx.save_for_backward(k, l)
        return inner(0, 1), inner(0, 0), inner(1, 1)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, cross: Tensor, own_k: Tensor, own_l: Tensor) -> tuple[Tensor | None, Tensor | None]:
        k, l = ctx.saved_tensors  # noqa: E741
        n = len(k)
        scale = 1 / (n * (n - 3))
        grad_k = grad_l = None
        if ctx.needs_input_grad[0]:
            grad_k = _u_center_in_place(torch.addcmul(l * (cross * scale), k, 2 * own_k * scale))
        if ctx.needs_input_grad[1]:
            grad_l = _u_center_in_place(torch.addcmul(k * (cross * scale), l, 2 * own_l * scale))
        return grad_k, grad_l


def hsic_terms(k: Tensor, l: Tensor, debiased: bool) -> tuple[Tensor, Tensor, Tensor]:  # noqa: E741
    """HSIC of (k, l), (k, k) and (l, l) for matrices whose large common part is gone already."""
    n = len(k)
    if not debiased:
        k, l = double_centered(k).flatten(), double_centered(l).flatten()  # noqa: E741
        return k @ l / (n - 1) ** 2, k @ k / (n - 1) ** 2, l @ l / (n - 1) ** 2
    result: tuple[Tensor, Tensor, Tensor] = _DebiasedTerms.apply(k, l)
    return result


def _same_voxel(x: Tensor) -> Tensor:
    """Debiased HSIC of each voxel with itself, (voxel,), from sums of powers."""
    n = len(x)
    square = x * x
    s1, s2, s3, s4 = x.sum(0), square.sum(0), (square * x).sum(0), (square * square).sum(0)
    pairs = s2**2 - s4 + (s1**2 - s2) ** 2 / ((n - 1) * (n - 2)) - 2 * (s1**2 * s2 - 2 * s1 * s3 + s4) / (n - 2)
    return pairs / (n * (n - 3))


def linear_terms(preds: Tensor, target: Tensor, weight: Tensor, *, debiased: bool, voxel_corrected: bool) -> HSICTerms:
    """HSICs of prepared sets with the linear kernel, up to the scale of each side."""
    if voxel_corrected and not shared(weight):
        complete = (weight > 0).all(0)
        if not bool(complete.any()):
            raise ValueError(
                "the voxel-corrected form uses voxels without missing values, and there are none: drop the stimuli with the "
                "most missing values, or use voxel_corrected=False, which compares pairs over their common voxels"
            )
        target, weight = target[:, complete], weight[:1, complete].expand(len(weight), int(complete.sum()))
    if voxel_corrected:  # which needs the very columns that the matrices are of
        preds, target = unit_range(preds, whole=True)[0], unit_range(target, whole=True)[0]
    k, varies_x, _ = centered_gram(preds)
    l, varies_y = target_gram(target, weight)  # noqa: E741
    defined = varies_x & varies_y
    # To unit variance: averaged over batches, terms of all scales count alike.
    size_x, size_y = (torch.where(defined, m.diagonal().mean(), 1) for m in (k, l))
    cross, xx, yy = hsic_terms(k, l, debiased)
    cross, xx, yy = cross / size_x / size_y, xx / size_x**2, yy / size_y**2
    if voxel_corrected:
        p = preds.shape[1]
        xx = (xx - _same_voxel(center(preds) / size_x.sqrt()).sum()) * p / (p - 1) if p > 1 else 0 * xx
        w = weight[0]
        effective = 1 - w.square().sum() / w.sum().square()
        own = _same_voxel(center(target) / size_y.sqrt())
        yy = (yy - (own if uniform(weight) else w.square() * own).sum()) / torch.where(effective > 0, effective, 1)
    return HSICTerms(cross, xx, yy, defined)


def _median(d: Tensor, inside: Tensor) -> Tensor:
    """Mean of the two middle entries inside the mask, with their gradient; 0 without entries.

    They are found first and read out then, so that the gradient is of two entries and not of a sorted copy of all.
    """
    places = inside.flatten().nonzero()[:, 0]
    m = len(places)
    if not m:
        return d.new_zeros(())
    flat = d.flatten()
    order = flat.detach()[places].sort(stable=True).indices  # of equal entries the first, on every device
    return flat[places[order[[(m - 1) // 2, m // 2]]]].sum() / 2


def rbf_terms(
    preds: Tensor,
    target: Tensor,
    weight: Tensor,
    *,
    debiased: bool,
    bandwidth: float,
    median: tuple[float, float] | None,
) -> HSICTerms:
    """HSICs of prepared sets with Gaussian kernels."""
    n = len(preds)
    above = torch.ones(n, n, dtype=torch.bool, device=preds.device).triu(1)
    kernels, varies = [], []
    for side, (x, w) in enumerate(((preds, None), (target, weight))):
        d, known, unit = squared_distances(x, w)
        if median is None:
            middle = _median(d, above if known is None else above & known)
        else:
            middle, d = d.new_tensor(median[side]), d * unit**2
        varies.append(middle > 0)
        kernel = (d / (-2 * bandwidth**2 * torch.where(middle > 0, middle, 1))).exp()
        kernels.append(kernel if known is None else torch.where(known, kernel, 0))
    return HSICTerms(*hsic_terms(kernels[0], kernels[1], debiased), varies[0] & varies[1])


def ratio(terms: HSICTerms) -> tuple[Tensor, Tensor]:
    """CKA of HSICs, 0 with gradient 0 where undefined, and whether it is defined."""
    defined = terms.defined & (terms.preds > 0) & (terms.target > 0)
    scale = torch.where(defined, terms.preds, 1).sqrt() * torch.where(defined, terms.target, 1).sqrt()
    return torch.where(defined, terms.cross / scale, 0 * terms.cross), defined


def linear_cka(
    x: Tensor,
    y: Tensor,
    *,
    debiased: bool = True,
    voxel_corrected: bool = False,
    weight: Tensor | None = None,
    stimulus: Tensor | None = None,
) -> Tensor:
    r"""Centred kernel alignment with the linear kernel.

    .. math:: \mathrm{CKA} = \mathrm{HSIC}(K,L) / \sqrt{\mathrm{HSIC}(K,K)\,\mathrm{HSIC}(L,L)}

    Unchanged by rotating, shifting or (as a whole) scaling either side and by permuting the stimuli of both; *not* by
    scaling single columns. The voxel-corrected form depends on the axes: rotating a side changes it.

    Debiased (the default) it is near 0 for independent sides; it may be negative and is not clamped. Biased, it
    reads .96 for independent data of 512 and 2,000 columns and 32 stimuli: use it only to compare with others' numbers.
    Voxel-corrected, the terms of a voxel with itself drop out of the self-HSICs, so that regions of different size can
    be compared. It is for measuring: it may exceed 1 (also of a side with itself), and where the columns of a side
    share little it is erratic or has no value.

    Missing values: columns are centred over their valid stimuli, and :math:`L_{ij}` is the mean over the voxels
    valid in both i and j; a voxel or stimulus that is wholly missing is as if it had not been there. (The
    voxel-corrected form leaves out a voxel with any value missing.) Weights make that mean a weighted one: integer
    weights equal repeating voxels. (Not in the voxel-corrected form, to which a repeated voxel is still one: terms of v
    and v' count :math:`w_v w_{v'}`, of v and v nothing.)

    Args:
        x: (stimulus, feature).
        y: (stimulus, voxel), NaN where missing.
        debiased: Whether to use the debiased HSIC, which needs 4 stimuli.
        voxel_corrected: Whether to correct for the number of columns, on both sides. Implies the debiased HSIC.
        weight: (voxel,) or (stimulus, voxel), non-negative; a noise ceiling, for instance.
        stimulus: (stimulus,) integer identities, if a stimulus may occur twice: its rows are averaged first, since rows that
            are alike on both sides would read as similarity.

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
    x: Tensor,
    y: Tensor,
    *,
    bandwidth: float = 1.0,
    debiased: bool = True,
    median: tuple[float, float] | None = None,
    weight: Tensor | None = None,
    stimulus: Tensor | None = None,
) -> Tensor:
    r"""Centred kernel alignment with Gaussian kernels :math:`\exp(-d_{ij} / (2 b^2 m))`.

    Here d is the squared Euclidean distance and m its median over pairs of stimuli, separately for each side. The gradient
    flows through the median too, so that it is that of a scale-free function: orthogonal to the side that it moves. (With
    medians that are given, scale matters, and the gradient is not orthogonal.)

    Unchanged by rotating, shifting or scaling either side and by permuting the stimuli of both; *not* by scaling single
    columns. Missing values and weights as in :func:`linear_cka`: :math:`d_{ij}` is the (weighted) mean over voxels valid
    in both.

    Args:
        x: (stimulus, feature).
        y: (stimulus, voxel), NaN where missing.
        bandwidth: b, in units of the root of the median squared distance.
        debiased: Whether to use the debiased HSIC.
        median: The medians of the two sides, if they are not to be taken from the data; in the unit of the mean squared
            difference over columns.
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
    if bandwidth <= 0:
        raise ValueError(f"bandwidth must be positive; got {bandwidth}")
    preds, target, w = prepare(x, y, weight)
    check_valid(w)
    preds, target, w = average_repeats(preds, target, w, group_valid_rows(stimulus, y, weight))
    check_enough(len(preds), 4 if debiased else 2, "debiased CKA" if debiased else "CKA")
    value, defined = ratio(rbf_terms(preds, target, w, debiased=debiased, bandwidth=bandwidth, median=median))
    return torch.where(defined, value, torch.nan)
