"""Hilbert-Schmidt independence criterion (HSIC): how much two kernel matrices of the same stimuli share."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from neuroalign.functional.checks import all_finite, check_enough, widen
from neuroalign.functional.gram import double_centered
from neuroalign.functional.row_masks import pairs
from neuroalign.functional.variation import power_of_two

__all__ = ["hsic"]


def hsic(
    k: Float[Tensor, "stimulus stimulus"],
    l: Float[Tensor, "stimulus stimulus"],  # noqa: E741 - the literature's names
    *,
    debiased: bool = True,
) -> Float[Tensor, ""]:
    r"""Hilbert-Schmidt independence criterion of two kernel matrices.

    Biased: :math:`\mathrm{tr}(KHLH)/(n-1)^2`. Debiased (the default): :math:`\langle\hat K,\hat L\rangle/(n(n-3))` of the
    U-centred matrices, without bias from n but possibly negative.

    Args:
        k: (stimulus, stimulus), symmetric. Its diagonal plays no part in the debiased form.
        l: (stimulus, stimulus), symmetric.
        debiased: Whether to compute the debiased form.

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
    unit_k, unit_l = power_of_two(k), power_of_two(l)  # so that no intermediate product leaves the dtype
    value = (centered(k / unit_k) * centered(l / unit_l)).sum() / count * unit_k * unit_l
    if not bool(value.detach().isfinite()):
        raise ValueError(f"HSIC leaves {value.dtype}: divide the matrices by a number, or give float64 ones")
    return value


def _u_center(k: Tensor, kept: Tensor | None = None) -> Tensor:
    if kept is not None:
        number = kept.sum().clamp_min(4)
        inside = pairs(kept) & ~torch.eye(len(k), dtype=torch.bool, device=k.device)
        k = torch.where(inside, k, 0)
        rows = k.sum(0) / (number - 2)
        return torch.where(inside, k - rows - rows[:, None] + rows.sum() / (number - 1), 0)
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
    """Inner products of U-centred symmetric matrices from sums alone; the gradient, U-centred too, is formed in one pass."""

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


def _masked_terms(k: Tensor, l: Tensor, debiased: bool, kept: Tensor) -> tuple[Tensor, Tensor, Tensor]:  # noqa: E741
    n = kept.sum().clamp_min(4 if debiased else 2)
    if debiased:
        a, b = _u_center(k, kept), _u_center(l, kept)
        a, b = a.flatten(), b.flatten()
        return a @ b / (n * (n - 3)), a @ a / (n * (n - 3)), b @ b / (n * (n - 3))
    a, b = (double_centered(matrix, kept).flatten() / (n - 1) for matrix in (k, l))
    return a @ b, a @ a, b @ b


def hsic_terms(
    k: Float[Tensor, "stimulus stimulus"],
    l: Float[Tensor, "stimulus stimulus"],  # noqa: E741
    debiased: bool,
    kept: Bool[Tensor, " stimulus"] | None = None,
) -> tuple[Float[Tensor, ""], Float[Tensor, ""], Float[Tensor, ""]]:
    """HSIC of (k, l), (k, k) and (l, l), for matrices of centred data: a large common part would cost digits.

    ``kept`` (stimulus,) says which rows count, None means all; the others must be 0 in both matrices.
    """
    if kept is not None:
        return _masked_terms(k, l, debiased, kept)
    n = len(k)
    if not debiased:
        k, l = double_centered(k).flatten(), double_centered(l).flatten()  # noqa: E741
        return k @ l / (n - 1) ** 2, k @ k / (n - 1) ** 2, l @ l / (n - 1) ** 2
    result: tuple[Tensor, Tensor, Tensor] = _DebiasedTerms.apply(k, l)
    return result
