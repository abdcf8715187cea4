"""Correlation of predicted with measured responses over a whole data set."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor
from torchmetrics import Metric

from neuroalign.functional.correlation import check_pair, pearson

Reduction = Literal["median", "mean", "none"]


def _reduce(values: Tensor, reduction: Reduction) -> Tensor:
    if reduction == "median":
        return values.nanmedian() if values.numel() else values.new_tensor(torch.nan)
    return values.nanmean() if reduction == "mean" else values


def _merge_moments(parts: Tensor) -> Tensor:
    """Pool (part, 6, voxel) moments: count, two means, two sums of squares, the sum of products (Chan et al. 1979)."""
    total = parts[0]
    for part in parts[1:]:
        n = total[0] + part[0]
        dx, dy = part[1] - total[1], part[2] - total[2]
        share = part[0] / n.clamp_min(1)
        cross = total[0] * share
        total = torch.stack(
            [
                n,
                total[1] + dx * share,
                total[2] + dy * share,
                total[3] + part[3] + dx * dx * cross,
                total[4] + part[4] + dy * dy * cross,
                total[5] + part[5] + dx * dy * cross,
            ]
        )
    return total


class VoxelCorrelation(Metric):
    """Pearson correlation between predicted and measured responses over a whole data set.

    NaN targets are left out of their own voxel. A voxel whose correlation is undefined (constant, or fewer than two
    valid stimuli) is NaN, and left out of the median and mean; ``num_undefined`` counts such voxels.

    Args:
        over: "stimuli" gives one value a voxel, "voxels" one a stimulus (pattern correlation).
        reduction: "median", "mean" or "none" of these values.

    Shapes:
        preds (stimulus, voxel), target (stimulus, voxel) -> scalar, or (voxel,) / (stimulus,) with "none".

    Example:
        >>> metric = VoxelCorrelation(reduction="none")
        >>> x = torch.tensor([[1.0, 5.0], [2.0, 5.0], [3.0, 5.0]])
        >>> metric.update(x[:2], x[:2])
        >>> metric.update(x[2:], x[2:])
        >>> metric.compute(), metric.num_undefined
        (tensor([1., nan]), 1)
    """

    full_state_update = True
    is_differentiable = False
    higher_is_better = True
    moments: Tensor
    patterns: list[Tensor]

    def __init__(
        self, *, over: Literal["stimuli", "voxels"] = "stimuli", reduction: Reduction = "median", **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        if over not in ("stimuli", "voxels"):
            raise ValueError(f"over must be 'stimuli' or 'voxels'; got {over!r}")
        if reduction not in ("median", "mean", "none"):
            raise ValueError(f"reduction must be 'median', 'mean' or 'none'; got {reduction!r}")
        self.over, self.reduction = over, reduction
        self.num_undefined = 0
        if over == "stimuli":
            self.add_state("moments", torch.zeros(6, 1, dtype=torch.float64), dist_reduce_fx=_merge_moments)
        else:
            self.add_state("patterns", [], dist_reduce_fx="cat")

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Add a batch."""
        check_pair(preds, target)
        if self.over == "voxels":
            self.patterns.append(pearson(preds.detach(), target.detach(), dim=1).double())
            return
        x, y = preds.detach().double(), target.detach().double()
        valid = ~y.isnan()
        n = valid.sum(0).double()
        x, y = torch.where(valid, x, 0), torch.where(valid, y, 0)
        mx, my = x.sum(0) / n.clamp_min(1), y.sum(0) / n.clamp_min(1)
        dx, dy = torch.where(valid, x - mx, 0), torch.where(valid, y - my, 0)
        batch = torch.stack([n, mx, my, (dx * dx).sum(0), (dy * dy).sum(0), (dx * dy).sum(0)])
        seen = self.moments.double().expand(6, batch.shape[1])
        self.moments = _merge_moments(torch.stack([seen, batch]))

    def merge_state(self, incoming_state: dict[str, Any] | Metric) -> None:
        """Add what another metric of the same kind has seen."""
        other = incoming_state if isinstance(incoming_state, dict) else incoming_state.metric_state
        if self.over == "voxels":
            self.patterns.extend(other["patterns"])
            return
        width = max(self.moments.shape[1], other["moments"].shape[1])
        both = [state.double().expand(6, width) for state in (self.moments, other["moments"])]
        self.moments = _merge_moments(torch.stack(both))
        self._update_count += 1
        self._computed = None

    def _per_voxel(self) -> Tensor:
        n, mx, my, xx, yy, xy = self.moments.double()
        eps = 4 * torch.finfo(torch.float32).eps  # inputs are float32: below this a voxel is constant
        defined = (n >= 2) & (xx > n * (eps * mx) ** 2 * 1e-2) & (yy > n * (eps * my) ** 2 * 1e-2)
        return torch.where(defined, xy / torch.where(defined, xx * yy, 1).sqrt(), torch.nan)

    def compute(self) -> Tensor:
        """The correlation over all that was added."""
        if self.over == "stimuli":
            values = self._per_voxel()
        else:
            parts = self.patterns
            values = torch.cat(list(parts)) if isinstance(parts, list) else parts
        self.num_undefined = int(values.isnan().sum())
        return _reduce(values, self.reduction).float()


class NoiseNormalizedCorrelation(VoxelCorrelation):
    r"""Correlation over stimuli as a share of what noise allows: :math:`r / \sqrt{\mathrm{NC}}` per voxel.

    Args:
        noise_ceiling: (voxel,) in [0, 1], of the responses that are the target (their average over repeats).
        min_ceiling: Voxels at or below it are left out: there the ratio is noise over nearly nothing.
        reduction: "median", "mean" or "none" over voxels.

    Example:
        >>> metric = NoiseNormalizedCorrelation(torch.tensor([0.25, 0.0]), reduction="none")
        >>> x, y = torch.tensor([[1.0, 1.0], [2.0, 2.0], [3.0, 3.0]]), torch.tensor([[1.0, 1.0], [0.0, 0.0], [2.0, 2.0]])
        >>> metric.update(x, y)
        >>> metric.compute()
        tensor([1., nan])
    """

    noise_ceiling: Tensor

    def __init__(
        self, noise_ceiling: Tensor, *, min_ceiling: float = 0.05, reduction: Reduction = "median", **kwargs: Any
    ) -> None:
        super().__init__(reduction=reduction, **kwargs)
        self.register_buffer("noise_ceiling", torch.as_tensor(noise_ceiling).double(), persistent=False)
        self.min_ceiling = min_ceiling

    def _per_voxel(self) -> Tensor:
        r, ceiling = super()._per_voxel(), self.noise_ceiling.double()
        if r.numel() != ceiling.numel() and r.numel() > 1:
            raise ValueError(f"noise_ceiling has {ceiling.numel()} voxels, the responses {r.numel()}")
        used = ceiling > self.min_ceiling
        return torch.where(used, r / torch.where(used, ceiling, 1).sqrt(), torch.nan)
