"""Canonical correlation analysis (CCA) and its variants, for measuring; they have no gradient."""

from __future__ import annotations

import warnings

import torch
from jaxtyping import Float
from torch import Tensor

from neuroalign.functional.directions import num_leading
from neuroalign.functional.missing import check_valid, prepare

__all__ = ["cca", "pwcca", "svcca"]


def _complete(x: Tensor, y: Tensor, weight: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Centred float64 responses to the complete stimuli in the used voxels, and the weights of these voxels."""
    preds, target, w = prepare(x.detach(), y.detach(), weight)
    check_valid(w)
    voxels = (w > 0).any(0)
    target, w = target[:, voxels].double(), w[:, voxels].double()
    whole = (w > 0).all(1)
    if not bool(whole.any()):
        raise ValueError("no stimulus has all its responses: leave out the voxels with the most missing values")
    preds, target = preds[whole].double(), target[whole]
    return preds - preds.mean(0), target - target.mean(0), w.amax(0)


def _check_width(n: int, p: int, v: int, remedy: str) -> None:
    if n - 1 <= max(p, v):
        raise ValueError(
            f"CCA of {n} stimuli with {p} features and {v} voxels is undetermined: where a side has as many columns "
            f"as centred stimuli can differ in, every correlation is 1, whatever the data. {remedy}"
        )
    if n - 1 < p + v:
        warnings.warn(
            f"{p + v - (n - 1)} of the canonical correlations are 1 whatever the data: {n} stimuli, {p} + {v} columns",
            RuntimeWarning,
            stacklevel=3,
        )


def _directions(z: Tensor) -> tuple[Tensor, Tensor]:
    """Orthonormal directions over stimuli that span the columns, and their singular values, without rounding-level ones."""
    u, s, _ = torch.linalg.svd(z, full_matrices=False)
    kept = s > s.max() * max(z.shape) * torch.finfo(z.dtype).eps * 10
    return u[:, kept], s[kept]


_REMEDY = (
    "Use more stimuli, svcca (which keeps the leading components), or linear_cka and procrustes, which need no inverse"
)


def cca(
    x: Float[Tensor, "stimulus feature"],
    y: Float[Tensor, "stimulus voxel"],
    *,
    weight: Float[Tensor, " voxel"] | None = None,
) -> Float[Tensor, " direction"]:
    """Canonical correlations: the correlations of the best-matched pairs of directions, the highest first.

    Unchanged by any invertible linear map of either side, by shifts, and by permuting the stimuli of both. It has no
    gradient, and is biased upward unless there are far fewer columns than stimuli.

    Args:
        x: (stimulus, feature).
        y: (stimulus, voxel); stimuli with a missing value in a used voxel are left out.
        weight: (voxel,): a weight of 0 leaves a voxel out; otherwise weights change nothing.

    Returns:
        (direction,) in [0, 1], descending; one per dimension of the side of smaller rank, in float32 or the
            dtype of ``x``, whichever is wider.

    Raises:
        ValueError: If there are no more stimuli than features or voxels.

    Example:
        >>> x = torch.tensor([[0.0], [1.0], [2.0], [4.0]])
        >>> cca(x, -3 * x + 1).round(decimals=4)
        tensor([1.])

    Source:
        Hotelling 1936, Biometrika 28.
    """
    a, b, _ = _complete(x, y, weight)
    _check_width(len(a), a.shape[1], b.shape[1], _REMEDY)
    return _correlations(a, b).to(torch.promote_types(x.dtype, torch.float32))


def _correlations(a: Tensor, b: Tensor) -> Tensor:
    result: Tensor = torch.linalg.svdvals(_directions(a)[0].T @ _directions(b)[0]).clamp(max=1)
    return result


def svcca(
    x: Float[Tensor, "stimulus feature"],
    y: Float[Tensor, "stimulus voxel"],
    *,
    variance: float = 0.99,
    weight: Float[Tensor, " voxel"] | None = None,
) -> Float[Tensor, ""]:
    """Mean canonical correlation of the leading principal components of both sides.

    Unchanged by rotating, shifting or scaling a side as a whole; *not* by scaling single columns.

    Args:
        x: (stimulus, feature).
        y: (stimulus, voxel); stimuli with a missing value in a used voxel are left out.
        variance: Share of the variance that the kept components of each side explain, in (0, 1].
        weight: (voxel,): integer weights equal repeating voxels.

    Returns:
        Scalar in [0, 1].

    Raises:
        ValueError: If the variance is not in (0, 1], or as many components as stimuli are needed for it.

    Example:
        >>> x = torch.tensor(
        ...     [[0.0, 1.0], [1.0, 0.0], [2.0, 3.0], [4.0, 1.0], [3.0, 3.0], [0.0, 5.0]]
        ... )
        >>> svcca(x, x.flip(1)).round(decimals=4)
        tensor(1.)

    Source:
        Raghu et al. 2017, arXiv 1706.05806.
    """
    if not 0 < variance <= 1:
        raise ValueError(f"variance is the share to keep, in (0, 1]; got {variance}")
    a, b, w = _complete(x, y, weight)
    sides = []
    for z in (a, b * w.sqrt()):
        u, s, _ = torch.linalg.svd(z, full_matrices=False)
        sides.append(u[:, : max(1, num_leading(s, variance))])
    _check_width(len(a), sides[0].shape[1], sides[1].shape[1], "Keep less variance, or use more stimuli")
    r = torch.linalg.svdvals(sides[0].T @ sides[1]).clamp(max=1)
    result: Tensor = r.mean().to(torch.promote_types(x.dtype, torch.float32))
    return result


def pwcca(
    x: Float[Tensor, "stimulus feature"],
    y: Float[Tensor, "stimulus voxel"],
    *,
    weight: Float[Tensor, " voxel"] | None = None,
) -> Float[Tensor, ""]:
    r"""Canonical correlations weighted by how much of x each direction carries (projection weighted).

    .. math:: \sum_i \alpha_i \rho_i / \sum_i \alpha_i, \quad \alpha_i = \sum_j |\langle h_i, x_j\rangle|

    for the canonical variables h of x and its columns. Not symmetric in x and y.

    Args:
        x: (stimulus, feature).
        y: (stimulus, voxel); stimuli with a missing value in a used voxel are left out.
        weight: (voxel,): a weight of 0 leaves a voxel out; otherwise weights change nothing.

    Returns:
        Scalar in [0, 1].

    Raises:
        ValueError: If there are no more stimuli than features or voxels.

    Example:
        >>> x = torch.tensor(
        ...     [[0.0, 1.0], [1.0, 0.0], [2.0, 3.0], [4.0, 1.0], [3.0, 3.0], [0.0, 5.0]]
        ... )
        >>> pwcca(x, x.flip(1)).round(decimals=4)
        tensor(1.)

    Source:
        Morcos et al. 2018, arXiv 1806.05759.
    """
    a, b, _ = _complete(x, y, weight)
    _check_width(len(a), a.shape[1], b.shape[1], _REMEDY)
    qa, qb = _directions(a)[0], _directions(b)[0]
    left, r, _ = torch.linalg.svd(qa.T @ qb, full_matrices=False)
    alpha = ((qa @ left).T @ a).abs().sum(1)
    result: Tensor = ((alpha * r.clamp(max=1)).sum() / alpha.sum()).to(torch.promote_types(x.dtype, torch.float32))
    return result
