"""Monte-Carlo means with less variance, by regression on quantities whose mean is known (control variates)."""

from __future__ import annotations

import torch
from torch import Tensor

__all__: list[str] = []

FEWEST_DRAWS = 50  # with fewer, the regression adds more noise than it takes away


class Estimator:
    """Weighted means over draws that regress out controls of mean zero; without controls, plain means.

    Attributes:
        weights: (group, draw), summing to 1.
        spread: (group,), variance of an estimate over the variance that the controls leave in one draw.
        basis: (group, draw, control), orthonormal, spanning the constant and the controls.
        freedom: Number of draws minus number of regressors.
    """

    def __init__(self, template: Tensor, controls: list[Tensor]) -> None:
        """Prepare the weights.

        Args:
            template: (group, draw), any tensor of the shape, dtype and device of the draws.
            controls: Quantities of mean zero, of the same shape.
        """
        columns = [torch.ones_like(template)]
        for control in controls:
            scale = control.square().mean(1, keepdim=True).sqrt()
            columns.append(torch.where(scale > 1e-12, control / torch.where(scale > 0, scale, 1), 0))
        u, s, vh = torch.linalg.svd(torch.stack(columns, 2), full_matrices=False)
        kept = s > 1e-8 * s[:, :1]  # controls that are constant or dependent drop out
        self.basis = u * kept[:, None]
        intercept = vh[:, :, 0] / torch.where(kept, s, 1) * kept
        self.weights = (self.basis @ intercept[:, :, None])[:, :, 0]
        self.spread = self.weights.square().sum(1)
        self.freedom = template.shape[1] - len(columns)

    def mean(self, values: Tensor) -> Tensor:
        """Estimate of the mean, (group,), of values (group, draw)."""
        result: Tensor = (self.weights * values).sum(1)
        return result

    def error(self, values: Tensor) -> Tensor:
        """Standard error of :meth:`mean`."""
        rest = values - (self.basis @ (self.basis.mT @ values[:, :, None]))[:, :, 0]
        result: Tensor = (rest.square().sum(1) / self.freedom * self.spread).sqrt()
        return result
