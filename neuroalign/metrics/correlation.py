"""Correlation of predicted with measured responses over a whole data set."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from neuroalign.functional.checks import all_finite, check_ceiling, check_choice, check_infinite, check_pair
from neuroalign.functional.correlation import pearson, pooled_normalized_correlation
from neuroalign.functional.correlation_moments import correlation_from_moments, correlation_moments, pool_moments
from neuroalign.functional.median import nanmedian
from neuroalign.metrics.base import EpochMetric

__all__ = ["NoiseNormalizedCorrelation", "VoxelCorrelation"]

Reduction = Literal["median", "mean", "none"]


def _reduce(values: Tensor, reduction: str) -> Tensor:
    if reduction == "median":
        return nanmedian(values)
    return values.nanmean() if reduction == "mean" else values


class VoxelCorrelation(EpochMetric):
    """Pearson correlation between predicted and measured responses over a whole data set.

    A NaN in the target is left out for its voxel only. A voxel whose correlation is undefined (constant, or fewer than two
    valid stimuli) is NaN, and left out of the median and mean; ``num_undefined`` counts such voxels. Over stimuli the metric
    keeps only sums per voxel in float64, not the data.

    Args:
        over: "stimuli" gives one value per voxel, "voxels" one value per stimulus (pattern correlation).
        reduction: "median", "mean" or "none" of these values.
        **kwargs: Of ``torchmetrics.Metric``.

    Shapes:
        preds (stimulus, voxel), target (stimulus, voxel) -> scalar, or (voxel,) / (stimulus,) with "none".

    Raises:
        TypeError: If preds or target are not floating-point tensors.
        ValueError: If an option is unknown, shapes don't fit, a prediction is not finite, a target is infinite, or, on
            ``compute``, no data were added.

    Example:
        >>> metric = VoxelCorrelation(reduction="none")
        >>> x = torch.tensor([[1.0, 5.0], [2.0, 5.0], [3.0, 5.0]])
        >>> metric.update(x[:2], x[:2])
        >>> metric.update(x[2:], x[2:])
        >>> metric.compute(), metric.num_undefined
        (tensor([1., nan]), 1)
    """

    higher_is_better = True
    plot_lower_bound = -1.0
    plot_upper_bound: float | None = 1.0
    reductions: tuple[str, ...] = ("median", "mean", "none")
    moments: list[Tensor]
    patterns: list[Tensor]

    def __init__(
        self, *, over: Literal["stimuli", "voxels"] = "stimuli", reduction: Reduction = "median", **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        check_choice("over", over, ("stimuli", "voxels"))
        check_choice("reduction", reduction, self.reductions)
        self.over, self.reduction = over, str(reduction)
        self.num_undefined = 0
        self.add_state("moments" if over == "stimuli" else "patterns", [], dist_reduce_fx="cat")

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Add a batch."""
        check_pair(preds, target)
        if not all_finite(preds):
            raise ValueError("preds has NaN or infinite values; only the target may have missing values, as NaN")
        if self.over == "voxels":
            self.patterns = [*self.patterns, pearson(preds.detach(), target.detach(), dim=1).double()]
            return
        check_infinite(target=target)
        if self.moments and self.moments[0].shape[2] != target.shape[1]:
            raise ValueError(f"earlier batches had {self.moments[0].shape[2]} voxels, this one {target.shape[1]}")
        self.moments = self._pooled([*self.moments, correlation_moments(preds, target)[None]])

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Add a batch, and return the value of that batch alone."""
        value = super().forward(*args, **kwargs)
        if self.over == "stimuli":
            self.moments = self._pooled(self.moments)
        return value

    @staticmethod
    def _pooled(parts: Sequence[Tensor] | Tensor) -> list[Tensor]:
        return [pool_moments(torch.cat(list(parts)).double())[None]]

    def _total(self) -> Tensor:
        self.refuse_empty(len(self.moments))
        parts = [self.moments] if isinstance(self.moments, Tensor) else self.moments
        return self._pooled(parts)[0][0]

    def _per_voxel(self) -> Tensor:
        return correlation_from_moments(self._total())

    def compute(self) -> Tensor:
        """The correlation over all stimuli that were added."""
        if self.over == "stimuli":
            values = self._per_voxel()
        else:
            self.refuse_empty(len(self.patterns))
            values = torch.cat(list(self.patterns)) if isinstance(self.patterns, list) else self.patterns
        self.num_undefined = int(values.isnan().sum())
        return _reduce(values, self.reduction).float()


class NoiseNormalizedCorrelation(VoxelCorrelation):
    r"""Correlation over stimuli relative to the noise ceiling: :math:`r / \sqrt{\mathrm{NC}}` per voxel, or pooled.

    "pooled", the default, does not select voxels by their ceiling: with unclamped ceilings the true signal scores 1 in
    expectation (:func:`neuroalign.functional.pooled_normalized_correlation`). With ceilings cut at 0 the true signal scores
    less, the more ceilings were cut. The median and the mean over voxels are right where ceilings are well above their
    standard error. Elsewhere the threshold ``min_ceiling`` keeps voxels whose ceiling is too high because of noise, and these
    score too low. A ``selection`` from other data is independent of this noise and removes most of the bias of the median.

    In simulations (1,000 voxels, 3 repeats, ceilings of the scored responses themselves, selection by as many other stimuli)
    the true signal scores:

    ================================ ===== ===== ===== =====
    stimuli                             50   100   515 1,000
    ================================ ===== ===== ===== =====
    all ceilings .058: pooled         1.00  1.00   .99  1.01
    pooled, ceilings cut at 0          .67   .76   .91   .98
    median                             .56   .61   .76   .82
    mean                               .59   .65   .78   .83
    median, with ``selection``         .87   .96  1.00  1.00
    ceilings of beta(.5, 4): pooled   1.00  1.00  1.00  1.00
    pooled, ceilings cut at 0          .80   .86   .94   .97
    median                             .69   .77   .92   .96
    mean                               .66   .72   .83   .88
    median, with ``selection``         .92   .96   .99  1.00
    all ceilings .25: pooled          1.00  1.00  1.00  1.00
    median                             .93   .97  1.00  1.00
    mean                               .99  1.03  1.02  1.01
    ================================ ===== ===== ===== =====

    With ceilings of .56 all are within .02 of 1. A model of true value .5 scores .49 to .51 pooled, and about half of the
    table's median and mean.

    Args:
        noise_ceiling: (voxel,) at most 1: noise ceilings of the target's responses (of their average over repeats). Negative
            values are unclamped estimates of low ceilings, as ``noise_ceiling(..., clamp=False)`` returns them.
        min_ceiling: Voxels with a ceiling at or below this value are left out, since their ratio is noise divided by a number
            near 0. Not used by "pooled" without ``selection``.
        selection: (voxel,) a mask of the voxels to use, or ceilings from other stimuli or repeats, to which ``min_ceiling``
            is then applied. None selects by ``noise_ceiling``.
        reduction: "pooled", the default, which leaves out voxels with fewer than 10 valid stimuli and is NaN where the sum of
            the ceilings is not above 0; or "median", "mean" or "none" over voxels.
        **kwargs: Of ``torchmetrics.Metric``.

    Raises:
        UserWarning: With "pooled", if ceilings are exactly 0, which means that they were clamped.
        TypeError: As for :class:`VoxelCorrelation`.
        ValueError: As for :class:`VoxelCorrelation`; or if a ceiling is above 1, no ceiling is above 0, ``noise_ceiling`` or
            ``selection`` has another number of voxels, ``selection`` is empty, or ``reduction`` is "mean" and a selected
            voxel has no ceiling above 0.

    Example:
        >>> metric = NoiseNormalizedCorrelation(torch.tensor([0.25, 0.0]), reduction="none")
        >>> x = torch.tensor([[1.0, 1.0], [2.0, 2.0], [3.0, 3.0]])
        >>> y = torch.tensor([[1.0, 1.0], [0.0, 0.0], [2.0, 2.0]])
        >>> metric.update(x, y)
        >>> metric.compute()
        tensor([1., nan])
    """

    plot_upper_bound = None
    reductions = (*VoxelCorrelation.reductions, "pooled")
    noise_ceiling: Tensor
    used: Tensor

    def __init__(
        self,
        noise_ceiling: Tensor,
        *,
        min_ceiling: float = 0.05,
        selection: Tensor | None = None,
        reduction: Reduction | Literal["pooled"] = "pooled",
        **kwargs: Any,
    ) -> None:
        super().__init__(reduction=reduction, **kwargs)  # type: ignore[arg-type]
        noise_ceiling = torch.as_tensor(noise_ceiling).double()
        check_infinite(noise_ceiling=noise_ceiling)
        check_ceiling(noise_ceiling.clamp_min(0))
        if selection is None:
            used = ~noise_ceiling.isnan() if reduction == "pooled" else noise_ceiling > min_ceiling
        else:
            used = _mask(torch.as_tensor(selection), min_ceiling, noise_ceiling)
        self.register_buffer("noise_ceiling", noise_ceiling, persistent=False)
        self.register_buffer("used", used, persistent=False)
        self.min_ceiling = min_ceiling
        if reduction == "pooled" and bool((noise_ceiling[used] == 0).any()):
            warnings.warn(
                f"{int((noise_ceiling[used] == 0).sum())} noise ceilings are exactly 0, so they were clamped: their sum is "
                "too large, and the pooled value too small. Estimate them with clamp=False",
                UserWarning,
                stacklevel=2,
            )
        lost = int((used & (noise_ceiling <= 0)).sum())
        if reduction == "mean" and lost:
            raise ValueError(
                f"the noise ceiling of {lost} selected voxels isn't above 0, and r / sqrt(0) has no mean: take reduction "
                "'pooled' or 'median'"
            )

    def _per_voxel(self) -> Tensor:
        r, ceiling = super()._per_voxel(), self.noise_ceiling.double()
        if r.numel() != ceiling.numel():
            raise ValueError(f"noise_ceiling has {ceiling.numel()} voxels, the responses {r.numel()}")
        if self.reduction == "pooled":
            return torch.where(self.used, r, torch.nan)
        # A selected voxel without a ceiling is infinite, not missing: leaving it out would again select by noise.
        return torch.where(self.used, r / torch.where(self.used, ceiling, 1).clamp_min(0).sqrt(), torch.nan)

    def compute(self) -> Tensor:
        """The normalised correlation over all stimuli that were added."""
        if self.reduction != "pooled":
            return super().compute()
        r = self._per_voxel()
        self.num_undefined = int(r.isnan().sum())
        return pooled_normalized_correlation(r, self.noise_ceiling.double(), self._total()[0]).float()


def _mask(selection: Tensor, min_ceiling: float, ceiling: Tensor) -> Tensor:
    """A mask of the voxels that are selected and have a ceiling.

    Raises:
        ValueError: If the selection has another number of voxels, or leaves none.
    """
    if selection.shape != ceiling.shape:
        raise ValueError(
            f"selection is {tuple(selection.shape)}, noise_ceiling {tuple(ceiling.shape)}: one value per voxel"
        )
    used = selection.to(ceiling.device) if selection.dtype == torch.bool else selection.to(ceiling) > min_ceiling
    used = used & ~ceiling.isnan()
    if not bool(used.any()):
        raise ValueError("selection leaves no voxel that has a noise ceiling")
    return used
