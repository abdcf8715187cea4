"""Principal directions that hold a share of the variance: their number, and the directions."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

__all__: list[str] = []

_WIDE = 1e-12  # share of the variance, well above the rounding error of sums of float64 squares
_SINGLE = 1e-6  # the same for float32


def num_leading(s: Float[Tensor, " direction"], variance: float) -> int:
    """Number of leading directions that hold a share of the variance.

    Sums of squares are rounded, so that directions which hold the share exactly may come out just below it, and one
    direction of noise would be added. A shortfall at rounding level is therefore allowed: 1e-6 of the variance for float32,
    which is above the rounding error of squares summed over thousands of directions, and 1e-12 for float64.

    Args:
        s: (direction,) singular values, descending.
        variance: Share of the sum of squares to hold, in (0, 1].

    Returns:
        At least 1, and 0 where all singular values are 0.

    Example:
        >>> (
        ...     num_leading(torch.tensor([3.0, 1.0]), 0.9),
        ...     num_leading(torch.tensor([3.0, 1.0]), 0.95),
        ... )
        (1, 2)
    """
    energy = s.square().cumsum(0)
    if not len(energy) or not float(energy[-1]) > 0:
        return 0
    forgiven = _WIDE if s.dtype == torch.float64 else _SINGLE
    return int((energy < variance * energy[-1] * (1 - forgiven)).sum()) + 1


def leading_directions(
    x: Float[Tensor, "stimulus feature"], variance: float, *, size: Float[Tensor, ""] | None = None
) -> Float[Tensor, "direction feature"]:
    """Orthonormal directions that hold a share of the variance of centred numbers.

    Computed by the thin singular value decomposition; a Gram matrix would square the condition number.

    Args:
        x: (stimulus, feature), centred.
        variance: Share to hold, in (0, 1].
        size: Scalar, the magnitude of the numbers before they were centred, whose rounding error is still in ``x``; None
            means the largest singular value. Directions at the level of this rounding error don't count.

    Returns:
        (direction, feature), the strongest first; no rows where nothing varies.

    Example:
        >>> leading_directions(
        ...     torch.tensor([[0.0, 2.0], [0.0, -2.0], [1.0, 0.0], [-1.0, 0.0]]), 0.7
        ... ).abs()
        tensor([[0., 1.]])
    """
    _, s, vh = torch.linalg.svd(x, full_matrices=False)
    s = torch.where(s > max(x.shape) * torch.finfo(s.dtype).eps * (s[:1] if size is None else size), s, 0)
    result: Tensor = vh[: num_leading(s, variance)]
    return result
