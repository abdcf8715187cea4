"""Nuclear norms, the sums of singular values, with finite gradients at any rank."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

__all__: list[str] = []


def nuclear_norms(
    matrices: Float[Tensor, "matrix row column"], *, size: Float[Tensor, ""] | None = None
) -> Float[Tensor, " matrix"]:
    """The sum of the singular values of each matrix; those at rounding level count as 0 and have no gradient.

    Args:
        matrices: (matrix, row, column).
        size: Scalar, the magnitude of the numbers from which the matrices were computed, whose rounding error they contain;
            None means the largest singular value of all.

    Returns:
        (matrix,).

    Example:
        >>> nuclear_norms(torch.stack([torch.eye(2), torch.ones(2, 2)])).round(decimals=4)
        tensor([2., 2.])
    """
    s = torch.linalg.svdvals(matrices)
    size = s.amax() if size is None else size
    floor = max(matrices.shape[1:]) * torch.finfo(s.dtype).eps * size.detach()
    return torch.where(s > floor, s, 0 * s).sum(1)


def _half_inverse(a: Tensor) -> tuple[Tensor, Tensor]:
    """The sum of the square roots of the eigenvalues of ``a``, and the inverse root of ``a`` on its range."""
    values, vectors = torch.linalg.eigh(a)
    root = values.clamp_min(0).sqrt()
    # An eigenvalue of 0 is computed as rounding error; its root would be a singular value near 1e-8, with a huge inverse.
    kept = root > root[-1] * (len(a) * torch.finfo(a.dtype).eps) ** 0.5
    inverse = torch.where(kept, 1 / torch.where(kept, root, 1), 0)
    return torch.where(kept, root, 0).sum(), (vectors * inverse) @ vectors.T


class _NuclearNorm(torch.autograd.Function):
    """Sum of the singular values of x'y, from an eigenproblem of the smallest size: stimuli, features or voxels.

    The gradient is that of the polar factor on the range of x'y. Autograd's gradient, through the singular vectors, would be
    NaN wherever singular values coincide, as those of a rank-deficient product do.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor) -> Tensor:
        n = len(x)
        ctx.swap = x.shape[1] > y.shape[1]
        a, b = (y, x) if ctx.swap else (x, y)
        ctx.by_stimulus = n < a.shape[1]
        if ctx.by_stimulus:
            a64, b64 = a.double(), b.double()
            values, vectors = torch.linalg.eigh(a64 @ a64.T)
            root = values.clamp_min(0).sqrt()
            kept = root > root[-1] * (n * torch.finfo(root.dtype).eps) ** 0.5
            root = torch.where(kept, root, 0)
            factor = vectors * root
            inverse = vectors * torch.where(kept, 1 / torch.where(kept, root, 1), 0)
            k = b64 @ b64.T
            norm, half = _half_inverse(factor.T @ k @ factor)
            ctx.save_for_backward(a, b, k, factor, inverse, half)
        else:
            m = (a.T @ b).double()
            norm, half = _half_inverse(m @ m.T)
            ctx.save_for_backward(a, b, (half @ m).to(x.dtype))
        return norm.to(x.dtype)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None]:
        need_a, need_b = ctx.needs_input_grad[::-1] if ctx.swap else ctx.needs_input_grad
        a, b, *rest = ctx.saved_tensors
        grad_a = grad_b = None
        if ctx.by_stimulus:
            k, factor, inverse, half = rest
            if need_a:
                grad_a = grad * ((k @ factor @ half @ inverse.T).to(a.dtype) @ a)
            if need_b:
                grad_b = grad * ((factor @ half @ factor.T).to(b.dtype) @ b)
        else:
            (polar,) = rest
            if need_a:
                grad_a = grad * (b @ polar.T)
            if need_b:
                grad_b = grad * (a @ polar)
        return (grad_b, grad_a) if ctx.swap else (grad_a, grad_b)


def nuclear_norm(x: Float[Tensor, "stimulus feature"], y: Float[Tensor, "stimulus voxel"]) -> Float[Tensor, ""]:
    """The sum of the singular values of x'y, with finite gradients at any rank.

    Args:
        x: (stimulus, feature).
        y: (stimulus, voxel).

    Returns:
        Scalar.

    Example:
        >>> nuclear_norm(torch.eye(3), 2 * torch.eye(3))
        tensor(6.)
    """
    result: Tensor = _NuclearNorm.apply(x, y)
    return result
