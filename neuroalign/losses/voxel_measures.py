"""Measures that compare voxel by voxel: formulas of ``functional`` as functions to minimise."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from neuroalign.functional.block_correlation import block_correlation
from neuroalign.functional.checks import check_choice, check_infinite
from neuroalign.functional.correlation import masked_correlation, unit_distances
from neuroalign.functional.entry_sums import poisson_deviances, squared_differences, starts_incomplete
from neuroalign.functional.host import FirstBatch, spoil
from neuroalign.functional.likelihood import check_counts, check_rates, gaussian_terms, poisson_terms, weighted_mean
from neuroalign.functional.missing import uniform
from neuroalign.losses.registry import HostValue, register_measure

__all__: list[str] = []


def _mean(
    sums: tuple[Tensor, Tensor] | None, ceiling: Tensor | None, finish: Callable[[Tensor], Tensor] = lambda x: x
) -> HostValue | None:
    """The weighted mean over valid entries, from their sums (of all, or per voxel) and numbers per voxel.

    ``finish`` turns the mean of a voxel, or of all voxels, into its loss.
    """
    if sums is None:
        return None
    summed, counts = sums
    weighted = counts if ceiling is None else ceiling * counts
    total = weighted.sum()
    if float(total) <= 0:
        return None
    voxels = int((weighted > 0).sum())
    if not summed.ndim:
        return HostValue(finish(summed / total), voxels)
    each = finish(summed / counts.clamp_min(1))
    return HostValue((weighted * each).sum() / total, voxels)


def _mse_on_host(preds: Tensor, target: Tensor, ceiling: Tensor | None) -> HostValue | None:
    if ceiling is None and not starts_incomplete(target):
        value = torch.nn.functional.mse_loss(preds, target)
        if math.isfinite(value.item()):  # so nothing was missing
            return HostValue(value, target.shape[1])
    sums = squared_differences(preds, target, by_voxel=ceiling is not None, incomplete=ceiling is None)
    return _mean(sums, ceiling)


def _cosine_on_host(preds: Tensor, target: Tensor, ceiling: Tensor | None) -> HostValue | None:
    distance, count = block_correlation(preds, target, dim=1, centered=False, weight=ceiling)
    some = count > 0
    if not bool(some.any()):
        return None
    return HostValue(weighted_mean(distance, some.to(distance.dtype)), _voxels(count, ceiling, target))


def _voxels(count: Tensor, ceiling: Tensor | None, target: Tensor) -> int | None:
    """Number of voxels that are not left out, if the number of valid voxels of each stimulus shows that none is missing."""
    used = target.shape[1] if ceiling is None else int((ceiling > 0).sum())
    return used if bool((count == used).all()) else None


@register_measure("mse", averages_over="entry", squares=True, on_host=_mse_on_host)
def mse(preds: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Mean squared difference over valid entries."""
    return weighted_mean((preds - target).square(), weight)


@register_measure("pearson", averages_over="voxel", scale_free=True)
class PearsonMeasure(nn.Module):
    """1 - mean correlation.

    Over stimuli, only voxels with at least 3 valid stimuli count: with two points every correlation is 1 or -1 and has no
    gradient.

    Args:
        over: "stimuli" correlates each voxel's responses over the stimuli, "voxels" each stimulus's pattern over the voxels.

    Attributes:
        last_valid: Whether the last call had something to correlate, a scalar bool tensor; None before the first.
    """

    def __init__(self, over: Literal["stimuli", "voxels"] = "stimuli") -> None:
        super().__init__()
        check_choice("over", over, ("stimuli", "voxels"))
        self.over = over
        self.averages_over = "voxel" if over == "stimuli" else "stimulus"
        self.min_valid = 3 if over == "stimuli" else 1
        self.last_valid: Tensor | None = None

    def forward(
        self,
        preds: Float[Tensor, "stimulus voxel"],
        target: Float[Tensor, "stimulus voxel"],
        weight: Float[Tensor, "stimulus voxel"],
        total: Callable[[Tensor], Tensor] | None = None,
    ) -> Float[Tensor, ""]:
        """The loss."""
        whole = uniform(weight)  # no missing values and no ceiling: nothing to mask
        if self.over == "voxels":
            r, _ = masked_correlation(preds, target, 1, None if whole else weight, centered=True)
            counted = self.counted_stimuli(weight)
            self.last_valid = (counted > 0).any()
            return weighted_mean(1 - r, counted)
        valid = (weight > 0).to(preds.dtype)
        r, _ = masked_correlation(preds, target, 0, None if whole else valid, centered=True, total=total)
        if whole and total is None:
            enough = len(preds) >= self.min_valid
            self.last_valid = r.new_full((), enough, dtype=torch.bool)
            return (1 - r).mean() if enough else 0 * r.sum()
        sums = torch.stack([valid.sum(0), weight.sum(0)])
        count, sum_weight = sums if total is None else total(sums)
        weight = torch.where(count >= self.min_valid, sum_weight / count.clamp_min(1), 0)
        self.last_valid = (weight > 0).any()
        return weighted_mean(1 - r, weight)

    def on_host(self, preds: Tensor, target: Tensor, ceiling: Tensor | None) -> HostValue | None:
        """The loss on the CPU."""
        if self.over == "voxels":
            r, count = block_correlation(preds, target, dim=1, centered=True, weight=ceiling)
            weight, voxels = (count >= 2).to(r.dtype), _voxels(count, ceiling, target)
        else:
            used = torch.ones_like(target[0], dtype=torch.bool) if ceiling is None else ceiling > 0
            r, count = block_correlation(preds, target, dim=0, centered=True, wanted=used)
            weight = (count >= self.min_valid).to(r.dtype)
            if ceiling is not None:
                weight = weight * ceiling
            voxels = int((used & (count > 0)).sum())
        self.last_valid = (weight > 0).any()
        return HostValue(weighted_mean(1 - r, weight), voxels) if bool(self.last_valid) else None

    def counted_stimuli(self, weight: Tensor) -> Tensor:
        """Weight of each stimulus in the mean over stimuli: a pattern needs two valid voxels."""
        return ((weight > 0).sum(1) >= 2).to(weight.dtype)


@register_measure("cosine", averages_over="stimulus", scale_free=True, on_host=_cosine_on_host)
def cosine_measure(preds: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """1 - mean over stimuli of the cosine over voxels."""
    distance = unit_distances(preds, target, None if uniform(weight) else weight)
    return weighted_mean(distance, (weight > 0).any(1).to(distance.dtype))


class _FloorOfParameter(torch.autograd.Function):
    """max(x, floor) of a parameter that is optimised: below the floor, only a gradient that moves it upwards passes.

    Without any gradient there, the parameter could never come back; with the full gradient it would fall without end.
    """

    @staticmethod
    def forward(x: Tensor, floor: float) -> Tensor:
        return x.clamp_min(floor)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, float], output: Tensor) -> None:
        x, ctx.floor = inputs
        ctx.save_for_backward(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        return torch.where((x >= ctx.floor) | (grad < 0), grad, 0), None


@register_measure("gaussian_nll", averages_over="entry", squares=True)
class GaussianNLLMeasure(nn.Module):
    """Gaussian negative log likelihood, without its constant.

    Its minimum is at perfect alignment: the mean of half the log of a given variance, and half the log of ``min_variance``
    where the variance is learned. Without a floor the loss has no minimum: for a voxel that can be fitted exactly, such as a
    dead voxel (0 for all stimuli), the learned variance falls without end, and that voxel's gradient outgrows those of all
    other voxels.

    Args:
        variance: Variance of the noise: "learned", a number, or one number per voxel.
        num_voxels: Number of voxels, to learn one variance per voxel; None learns one variance for all.
        min_variance: Floor of learned variances, in squared units of the responses. The default is meant for standardised
            responses: a noise variance of 0.03 is that of a voxel whose responses to repeats correlate with r = 0.97. For
            responses in another unit give 0.03 times their variance.

    Warns:
        UserWarning: Once, if the responses' variance is below ``min_variance``, so that no variance can be learned.
    """

    variance: Tensor

    def __init__(
        self,
        variance: Literal["learned"] | float | Sequence[float] = "learned",
        num_voxels: int | None = None,
        min_variance: float = 0.03,
    ) -> None:
        super().__init__()
        if not (math.isfinite(min_variance) and min_variance > 0):
            raise ValueError(f"min_variance must be a positive number; got {min_variance}")
        self.stateful = variance == "learned"
        self.min_variance = float(min_variance)
        self._checked = False
        self.log_variance: nn.Parameter | None = None
        if variance == "learned":
            self.log_variance = nn.Parameter(torch.zeros(() if num_voxels is None else (num_voxels,)))
            return
        if isinstance(variance, str):
            raise ValueError(f"variance must be 'learned' or positive numbers; got {variance!r}")
        given = torch.as_tensor(variance, dtype=torch.float32)
        check_infinite(variance=given)
        if given.ndim > 1 or not bool((given > 0).all()):
            raise ValueError(f"variance must be a positive number or (voxel,) of them; got {tuple(given.shape)}, smallest "
                             f"{float(given.min()):.3g}")  # fmt: skip
        self.register_buffer("variance", given)

    def forward(
        self,
        preds: Float[Tensor, "stimulus voxel"],
        target: Float[Tensor, "stimulus voxel"],
        weight: Float[Tensor, "stimulus voxel"],
    ) -> Float[Tensor, ""]:
        """The loss."""
        if self.log_variance is not None:
            self._check_unit(target, weight)
        return gaussian_terms(preds, target, weight, self._variance(target))

    def on_host(self, preds: Tensor, target: Tensor, ceiling: Tensor | None) -> HostValue | None:
        """The loss on the CPU."""
        if self.log_variance is not None and not self._checked:
            used = ~target.isnan()
            weight = used.to(target.dtype) if ceiling is None else used * ceiling
            self._check_unit(torch.where(used, target, 0), weight)
        variance = self._variance(target)
        sums = squared_differences(preds, target, by_voxel=ceiling is not None or variance.ndim > 0)
        return _mean(sums, ceiling, lambda square: (square / variance + variance.log()) / 2)

    def _variance(self, target: Tensor) -> Tensor:
        if self.log_variance is None:
            variance = self.variance
        else:
            variance = _FloorOfParameter.apply(self.log_variance, math.log(self.min_variance)).exp()
        if variance.ndim and len(variance) != target.shape[1]:
            raise ValueError(f"the noise variance has {len(variance)} voxels, the responses {target.shape[1]}")
        return variance.to(target.dtype)

    def _check_unit(self, target: Tensor, weight: Tensor) -> None:
        """Warn, at the first batch of more than one stimulus, if the floor is above the variance of the responses."""
        if self._checked or len(target) < 2 or torch.compiler.is_compiling() or not bool((weight > 0).any()):
            return
        self._checked = True
        target = target.detach()
        mean = weighted_mean(target, weight)
        spread = float(weighted_mean((target - mean).square(), weight))
        if spread < self.min_variance:
            warnings.warn(
                f"the responses' variance is {spread:.3g}, below min_variance={self.min_variance:g} of 'gaussian_nll', so "
                "that no variance can be learned: standardise the responses, or give min_variance in their squared unit",
                stacklevel=2,
            )


@register_measure("poisson_nll", averages_over="entry", counts=True)
class PoissonNLLMeasure(nn.Module):
    """Half the Poisson deviance: the negative log likelihood of the counts minus its value for rates equal to the counts.

    Args:
        log_input: Whether preds are log rates.
    """

    def __init__(self, log_input: bool = True) -> None:
        super().__init__()
        self.log_input = log_input
        self._looks = FirstBatch()

    def forward(
        self,
        preds: Float[Tensor, "stimulus voxel"],
        target: Float[Tensor, "stimulus voxel"],
        weight: Float[Tensor, "stimulus voxel"],
    ) -> Float[Tensor, ""]:
        """The loss."""
        if self._looks(target):
            check_counts(target, weight)
            check_rates(preds, weight, self.log_input)
            return poisson_terms(preds, target, weight, self.log_input)
        negative = (target < 0) & (weight > 0)
        if not self.log_input:
            negative = negative | ((preds < 0) & (weight > 0))
        return spoil(poisson_terms(preds, target, weight, self.log_input), negative.any())

    def on_host(self, preds: Tensor, target: Tensor, ceiling: Tensor | None) -> HostValue | None:
        """The loss on the CPU."""
        if not self.log_input:
            return None
        return _mean(poisson_deviances(preds, target, by_voxel=ceiling is not None), ceiling)
