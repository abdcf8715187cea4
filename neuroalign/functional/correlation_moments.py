"""Pearson correlation from sums over stimuli that can be pooled over batches and processes, so that no responses are kept.

A voxel counts as constant by the rule of :func:`neuroalign.functional.pearson`.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from neuroalign.functional.checks import widen
from neuroalign.functional.variation import extremes, is_constant

__all__: list[str] = []


def correlation_moments(
    preds: Float[Tensor, "stimulus voxel"], target: Float[Tensor, "stimulus voxel"]
) -> Float[Tensor, "11 voxel"]:
    """Moments of the valid stimuli of each voxel, from which its correlation is computed: (11, voxel) in float64.

    In order: the count; the means of predictions and responses; their sums of squares about the means; the sum of products;
    minus the smallest and the largest prediction; the same of the responses; and the machine epsilon of their dtype.
    """
    eps = torch.finfo(widen(preds, target)[0].dtype).eps
    x, y = preds.detach().double(), target.detach().double()
    valid = ~y.isnan()
    n = valid.sum(0).double()
    (low_x, high_x), (low_y, high_y) = extremes(x, valid), extremes(y, valid)
    x, y = torch.where(valid, x, 0), torch.where(valid, y, 0)
    mx, my = x.sum(0) / n.clamp_min(1), y.sum(0) / n.clamp_min(1)
    dx, dy = torch.where(valid, x - mx, 0), torch.where(valid, y - my, 0)
    sums = [n, mx, my, (dx * dx).sum(0), (dy * dy).sum(0), (dx * dy).sum(0)]
    return torch.stack([*sums, -low_x, high_x, -low_y, high_y, torch.full_like(n, eps)])


def pool_moments(parts: Float[Tensor, "part 11 voxel"]) -> Float[Tensor, "11 voxel"]:
    """Moments (11, voxel) of all stimuli from those of several parts of them, (part, 11, voxel) (Chan et al. 1979)."""
    total = parts[0]
    for part in parts[1:]:
        n = total[0] + part[0]
        dx, dy = part[1] - total[1], part[2] - total[2]
        share = part[0] / n.clamp_min(1)
        cross = total[0] * share
        total = torch.cat(
            [
                torch.stack(
                    [
                        n,
                        total[1] + dx * share,
                        total[2] + dy * share,
                        total[3] + part[3] + dx * dx * cross,
                        total[4] + part[4] + dy * dy * cross,
                        total[5] + part[5] + dx * dy * cross,
                    ]
                ),
                torch.maximum(total[6:], part[6:]),
            ]
        )
    return total


def correlation_from_moments(moments: Float[Tensor, "11 voxel"]) -> Float[Tensor, " voxel"]:
    """Correlation (voxel,) from moments (11, voxel).

    NaN for a constant side, for fewer than two valid stimuli, and where sums of squares leave float64.

    Example:
        >>> x = torch.tensor([[1.0, 5.0], [2.0, 5.0], [3.0, 5.0]])
        >>> parts = torch.stack(
        ...     [correlation_moments(part, 2 * part) for part in (x[:2], x[2:])]
        ... )
        >>> correlation_from_moments(pool_moments(parts)).round(decimals=6)
        tensor([1., nan], dtype=torch.float64)
    """
    n, _, _, xx, yy, xy, low_x, high_x, low_y, high_y, eps = moments
    defined = (n >= 2) & _varies(-low_x, high_x, eps) & _varies(-low_y, high_y, eps)
    # The squares of float64 numbers below about 1e-154 underflow.
    defined = defined & (xx >= torch.finfo(xx.dtype).tiny) & (yy >= torch.finfo(yy.dtype).tiny)
    xx, yy = torch.where(defined, xx, 1), torch.where(defined, yy, 1)
    return torch.where(defined, xy / xx.sqrt() / yy.sqrt(), torch.nan)


def _varies(low: Tensor, high: Tensor, eps: Tensor) -> Tensor:
    single, double = torch.finfo(torch.float32), torch.finfo(torch.float64)
    # Smaller numbers have lost digits. (torch.where of two Python numbers is float32, in which double.tiny is 0.)
    tiny = torch.where(eps > double.eps, eps.new_tensor(single.tiny), eps.new_tensor(double.tiny))
    precision: Any = eps  # for each number, where they come of several dtypes
    varies: Tensor = ~is_constant(low, high, precision) & ~(high - low < tiny)
    return varies
