"""Measures that compare voxel by voxel: formulas of ``functional`` as functions to minimise."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from neuroalign.functional.checks import check_choice, check_infinite
from neuroalign.functional.correlation import masked_correlation
from neuroalign.functional.likelihood import check_counts, gaussian_terms, poisson_terms, weighted_mean
from neuroalign.functional.missing import uniform
from neuroalign.functional.variation import unit_magnitude
from neuroalign.losses.registry import register_measure

__all__: list[str] = []


@register_measure("mse", averages_over="entry", squares=True)
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

    def counted_stimuli(self, weight: Tensor) -> Tensor:
        """Weight of each stimulus in the mean over stimuli: a pattern needs two valid voxels."""
        return ((weight > 0).sum(1) >= 2).to(weight.dtype)


@register_measure("cosine", averages_over="stimulus", scale_free=True)
def cosine_measure(preds: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """1 - mean over stimuli of the cosine over voxels."""
    (p, some_p), (t, some_t) = unit_magnitude(preds, 1), unit_magnitude(target, 1)
    wp, wt = (p, t) if uniform(weight) else (weight * p, weight * t)
    size_p, size_t = (wp * p).sum(1), (wt * t).sum(1)
    defined = some_p & some_t
    p, t = (x / torch.where(defined, s, 1).sqrt()[:, None] for x, s in ((p, size_p), (t, size_t)))
    # 1 - cos as half the squared distance of unit vectors: 1 - cos itself cancels for responses with a large mean.
    square = (p - t).square() if uniform(weight) else weight * (p - t).square()
    distance = torch.where(defined, square.sum(1) / 2, 1 + 0 * size_p * size_t)
    return weighted_mean(distance, (weight > 0).any(1).to(distance.dtype))


class _FloorOfParameter(torch.autograd.Function):
    """max(x, floor) of a parameter that is optimised: below the floor, only a gradient that moves it upwards passes.

    Without any gradient there, the parameter could never come back; with the full gradient it would fall without end.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, floor: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.floor = floor
        return x.clamp_min(floor)

    @staticmethod
    @torch.autograd.function.once_differentiable
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
        if self.log_variance is None:
            variance = self.variance
        else:
            variance = _FloorOfParameter.apply(self.log_variance, math.log(self.min_variance)).exp()
            self._check_unit(target, weight)
        if variance.ndim and len(variance) != target.shape[1]:
            raise ValueError(f"the noise variance has {len(variance)} voxels, the responses {target.shape[1]}")
        return gaussian_terms(preds, target, weight, variance.to(preds.dtype))

    def _check_unit(self, target: Tensor, weight: Tensor) -> None:
        """Warn, at the first batch of more than one stimulus, if the floor is above the variance of the responses."""
        if self._checked or len(target) < 2:
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

    def forward(
        self,
        preds: Float[Tensor, "stimulus voxel"],
        target: Float[Tensor, "stimulus voxel"],
        weight: Float[Tensor, "stimulus voxel"],
    ) -> Float[Tensor, ""]:
        """The loss."""
        check_counts(target, weight)
        return poisson_terms(preds, target, weight, self.log_input)
