"""The measures that come with the library: each formula of ``functional`` as something to minimise."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from neuroalign.functional.cka import HSICTerms, linear_terms, ratio, rbf_terms
from neuroalign.functional.correlation import masked_correlation
from neuroalign.functional.dissimilarity import Dissimilarity
from neuroalign.functional.gram import check_infinite, uniform
from neuroalign.functional.likelihood import check_counts, gaussian_terms, poisson_terms, weighted_mean
from neuroalign.functional.matching import soft_matching_terms
from neuroalign.functional.rdm_comparison import Comparison, check_options, rsa_terms, warn_of_cosine
from neuroalign.functional.regression import PENALTIES, check_folds, check_penalty, predictivity_terms
from neuroalign.functional.shape import angle, check_alpha, procrustes_terms
from neuroalign.functional.variation import unit_magnitude
from neuroalign.losses.registry import register_measure


@register_measure("mse", averages_over="entry")
def mse(preds: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Mean squared difference over valid entries."""
    return weighted_mean((preds - target).square(), weight)


@register_measure("pearson", averages_over="voxel", scale_free=True)
class PearsonMeasure(nn.Module):
    """1 - mean correlation.

    Over stimuli, voxels count that have at least 3 valid ones: through two points every correlation is 1 or -1, which says
    nothing and sends no gradient.

    Args:
        over: "stimuli" correlates each voxel's responses over the stimuli, "voxels" each stimulus's pattern over the voxels.

    Attributes:
        last_valid: Whether anything counted in the last call, a scalar bool tensor.
    """

    def __init__(self, over: Literal["stimuli", "voxels"] = "stimuli") -> None:
        super().__init__()
        if over not in ("stimuli", "voxels"):
            raise ValueError(f"over must be 'stimuli' or 'voxels'; got {over!r}")
        self.over = over
        self.averages_over = "voxel" if over == "stimuli" else "stimulus"
        self.min_valid = 3 if over == "stimuli" else 1
        self.last_valid: Tensor | None = None

    def forward(
        self, preds: Tensor, target: Tensor, weight: Tensor, total: Callable[[Tensor], Tensor] | None = None
    ) -> Tensor:
        """The loss."""
        whole = uniform(weight)  # neither missing values nor a ceiling: nothing to mask
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
    # 1 - cos as half the squared distance of unit vectors: of responses with a large mean it is a small difference.
    square = (p - t).square() if uniform(weight) else weight * (p - t).square()
    distance = torch.where(defined, square.sum(1) / 2, 1 + 0 * size_p * size_t)
    return weighted_mean(distance, (weight > 0).any(1).to(distance.dtype))


class _FloorOfParameter(torch.autograd.Function):
    """max(x, floor) of a parameter that is being minimised over: below the floor only a step upwards has a gradient.

    With no gradient there a parameter could never come back, and with all of it one would run away downwards.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, floor: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.floor = floor
        return x.clamp_min(floor)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        (x,) = ctx.saved_tensors
        return torch.where((x >= ctx.floor) | (grad < 0), grad, 0), None


@register_measure("gaussian_nll", averages_over="entry")
class GaussianNLLMeasure(nn.Module):
    """Gaussian negative log likelihood, without its constant.

    Its minimum is at perfect alignment: the mean of half the log of a given variance, and half the log of ``min_variance``
    where the variance is learned. Without a floor a learned variance has no minimum: of a voxel that can be fitted exactly,
    such as a dead one, which is 0 in all stimuli, it falls for ever, and that voxel's gradient grows over all others'.

    Args:
        variance: Of the noise: "learned", or a number, or one a voxel.
        num_voxels: V for one learned variance a voxel; None learns one for all.
        min_variance: Learned variances act as no smaller ones. In squared units of the responses, and meant for
            standardised ones: a noise of 0.03 belongs to a voxel whose responses repeat with r = 0.97. For responses in
            another unit give 0.03 times their variance.

    Warns:
        UserWarning: Once, where responses vary by less than ``min_variance``, so that nothing is left to learn.
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

    def forward(self, preds: Tensor, target: Tensor, weight: Tensor) -> Tensor:
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
        """Say, at the first batch of more than one stimulus, if the floor is above all that the responses vary by."""
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
    """Half the Poisson deviance: the negative log likelihood of counts, above that of rates equal to them.

    Args:
        log_input: Whether preds are log rates.
    """

    def __init__(self, log_input: bool = True) -> None:
        super().__init__()
        self.log_input = log_input

    def forward(self, preds: Tensor, target: Tensor, weight: Tensor) -> Tensor:
        """The loss."""
        check_counts(target, weight)
        return poisson_terms(preds, target, weight, self.log_input)


class _AveragedHSIC(nn.Module):
    """HSICs averaged over batches before their ratio is taken: in small batches the ratio of noisy terms is far noisier.

    The value is that of the bias-corrected exponential mean, this batch included. The gradient is that of the CKA at
    these averages with this batch's terms as the variables: past batches can't be changed any more, and a factor
    1 - momentum would only rescale the learning rate.
    """

    mean: Tensor
    steps: Tensor

    def __init__(self, momentum: float) -> None:
        super().__init__()
        if not 0 <= momentum < 1:
            raise ValueError(f"momentum must be in [0, 1); got {momentum}")
        self.momentum = momentum
        self.register_buffer("mean", torch.zeros(3, dtype=torch.float64))
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))

    def forward(self, terms: HSICTerms) -> HSICTerms:
        now = torch.stack(terms[:3])
        if not bool(terms.defined):
            return terms
        m = self.momentum
        mean = m * self.mean.double() + (1 - m) * now.detach().double()
        steps = self.steps + 1
        if self.training:
            self.mean.copy_(mean)
            self.steps.copy_(steps)
        average = (mean / (1 - m ** int(steps))).to(now.dtype)
        return HSICTerms(*(average + (now - now.detach())).unbind(), terms.defined)


class _KernelMeasure(nn.Module):
    paired = False

    def __init__(self, debiased: bool, momentum: float | None) -> None:
        super().__init__()
        self.debiased = debiased
        self.min_stimuli = 4 if debiased else 2
        self.min_valid = max(3, self.min_stimuli)  # any two points have the kernel of any two others
        self.average = None if momentum is None else _AveragedHSIC(momentum)

    def _value(self, terms: HSICTerms) -> Tensor:
        return 1 - ratio(terms if self.average is None else self.average(terms))[0]


@register_measure("cka", paired=False, min_stimuli=4, scale_free=True)
class CKAMeasure(_KernelMeasure):
    """1 - linear CKA; see :func:`neuroalign.functional.linear_cka`.

    Args:
        debiased: Whether to use the debiased HSIC. The biased one learns too many dimensions from batches that are not
            several times the number of columns.
        voxel_corrected: Whether to correct for the number of columns. A measurement more than a loss: it has no lower
            bound, and where what a side's columns share is not positive it is 1 and has no gradient.
        momentum: Average the three HSICs over batches with this momentum before taking their ratio; None for the
            batch's own.
    """

    def __init__(self, debiased: bool = True, voxel_corrected: bool = False, momentum: float | None = None) -> None:
        super().__init__(debiased or voxel_corrected, momentum)
        self.voxel_corrected = voxel_corrected
        self.last_valid: Tensor | None = None

    def forward(self, preds: Tensor, target: Tensor, weight: Tensor) -> Tensor:
        """The loss."""
        if self.voxel_corrected:
            self.last_valid = (weight > 0).all(0).any()
            if not bool(self.last_valid):
                return 0 * preds.sum()  # it uses complete voxels, and there are none
        return self._value(
            linear_terms(preds, target, weight, debiased=self.debiased, voxel_corrected=self.voxel_corrected)
        )


@register_measure("rbf_cka", paired=False, min_stimuli=4, scale_free=True)
class RBFCKAMeasure(_KernelMeasure):
    """1 - CKA with Gaussian kernels; see :func:`neuroalign.functional.rbf_cka`.

    Args:
        bandwidth: In units of the root of the median squared distance. The gradient flows through the median.
        debiased: Whether to use the debiased HSIC.
        median: Medians of the two sides, if they are not to be taken from each batch.
        momentum: As in ``"cka"``.
    """

    def __init__(
        self,
        bandwidth: float = 1.0,
        debiased: bool = True,
        median: tuple[float, float] | None = None,
        momentum: float | None = None,
    ) -> None:
        super().__init__(debiased, momentum)
        if bandwidth <= 0:
            raise ValueError(f"bandwidth must be positive; got {bandwidth}")
        self.bandwidth = bandwidth
        self.median = None if median is None else (float(median[0]), float(median[1]))

    def forward(self, preds: Tensor, target: Tensor, weight: Tensor) -> Tensor:
        """The loss."""
        options = {"debiased": self.debiased, "bandwidth": self.bandwidth, "median": self.median}
        return self._value(rbf_terms(preds, target, weight, **options))


@register_measure("rsa", paired=False, min_stimuli=3, scale_free=True)
class RSAMeasure(nn.Module):
    """1 - similarity of the two RDMs; see :func:`neuroalign.functional.rsa`.

    Args:
        dissimilarity: "sqeuclidean", "correlation" or "cosine".
        comparison: "pearson", "soft_spearman", "whitened_cosine" (which learns too many dimensions in small batches), or
            "cosine": for responses without noise alone, as it ranks a random code above the truth where they are noisy.
        temperature: Of soft ranks.

    Warns:
        UserWarning: For "cosine".
    """

    def __init__(
        self,
        dissimilarity: Dissimilarity = "sqeuclidean",
        comparison: Comparison = "pearson",
        temperature: float = 0.05,
    ) -> None:
        super().__init__()
        check_differentiable(dissimilarity, comparison)
        warn_of_cosine(comparison, stacklevel=5)  # whoever made the NeuralAlignmentLoss
        self.dissimilarity, self.comparison, self.temperature = dissimilarity, comparison, temperature

    def forward(self, preds: Tensor, target: Tensor, weight: Tensor, stimulus: Tensor | None = None) -> Tensor:
        """The loss; ``stimulus`` numbers the rows' stimuli where one occurs twice."""
        options = self.dissimilarity, self.comparison, self.temperature
        return 1 - rsa_terms(preds, target, weight, *options, group=stimulus)[0]


def check_differentiable(dissimilarity: str, comparison: str) -> None:
    """Refuse options of RSA that are unknown or have no gradient.

    Raises:
        ValueError: Naming the one that has.
    """
    check_options(dissimilarity, comparison)
    if comparison == "spearman":
        raise ValueError("'spearman' has no gradient: train with 'soft_spearman', and measure with 'spearman'")


@register_measure("procrustes", paired=False, min_stimuli=2, scale_free=True)
class ProcrustesMeasure(nn.Module):
    """1 - Procrustes similarity, or the angle; see :func:`neuroalign.functional.procrustes`.

    With ``alpha`` below 1 it is a measurement more than a loss. Whitened, features that span all that the stimuli can
    differ in are the same whatever they were: at 0 the value is constant there. And of more features than voxels it falls
    only to where all dimensions of the features are filled, short of 0. To minimise, take ``"cka"`` or ``"ridge"``.

    Args:
        alpha: 1 for Procrustes, 0 for whitened sides, between them for partial whitening.
        angular: Whether to minimise the angular shape distance (radians) instead of 1 - its cosine.

    Warns:
        UserWarning: Once, with ``alpha`` below 1, where the features are too many for it to be minimised.
    """

    min_valid = 3  # any two points can be moved onto any two others

    def __init__(self, alpha: float = 1.0, angular: bool = False) -> None:
        super().__init__()
        check_alpha(alpha)
        self.alpha, self.angular = alpha, angular
        self._warned = alpha == 1

    def forward(self, preds: Tensor, target: Tensor, weight: Tensor) -> Tensor:
        """The loss."""
        if not self._warned and preds.requires_grad:
            self._check_width(*preds.shape, target.shape[1])
        similarity, _ = procrustes_terms(preds, target, weight, self.alpha)
        return angle(similarity) if self.angular else 1 - similarity

    def _check_width(self, stimuli: int, features: int, voxels: int) -> None:
        """Say if whitened features can't be moved to the minimum."""
        most = stimuli - 1  # dimensions in which they can differ
        if self.alpha == 0 and features >= most:
            reason = f"whitened, {features} features of {stimuli} stimuli are the same whatever they were: no gradient"
        elif min(features, most) > min(voxels, most):
            reason = f"of {features} features, more than the {voxels} voxels, it stays above its minimum"
        else:
            return
        self._warned = True
        warnings.warn(
            f"'procrustes' with alpha={self.alpha:g} can't be minimised here: {reason}. Use 'cka' or 'ridge', alpha=1, "
            "fewer features or larger batches",
            stacklevel=2,
        )


@register_measure("soft_matching", paired=False, min_stimuli=3, attains_zero=False, scale_free=True)
class SoftMatchingMeasure(nn.Module):
    """1 - soft matching; at perfect alignment about temperature * log(voxels).

    See :func:`neuroalign.functional.soft_matching`.

    Args:
        temperature: In units of correlation.
    """

    def __init__(self, temperature: float = 0.05) -> None:
        super().__init__()
        if temperature <= 0:
            raise ValueError(f"temperature must be positive; got {temperature}")
        self.temperature = temperature

    def forward(self, preds: Tensor, target: Tensor, weight: Tensor) -> Tensor:
        """The loss."""
        value, defined = soft_matching_terms(preds, target, weight, self.temperature)
        return 1 - torch.where(defined, value, 0 * value)


@register_measure(
    "ridge",
    paired=False,
    min_stimuli=6,
    attains_zero=False,
    order_matters=True,
    scale_free=True,
    exact_options={"penalty": 0.1},
)
class RidgeMeasure(nn.Module):
    """1 - mean held-out correlation of ridge predictions; near 0 at perfect alignment, where only shrinkage is lost.

    Correlated within each fold, then averaged: 1 on average where preds say nothing about the target. See
    :func:`neuroalign.functional.ridge_predictivity`.

    Args:
        penalty: In units of the features' mean squared length; of several, each voxel's is chosen by generalised
            cross-validation on the support, a choice without gradient.
        num_folds: Stimulus i is in fold i modulo this number; each fold is the query of the others' support, and needs three
            stimuli.
    """

    def __init__(self, penalty: float | Sequence[float] = PENALTIES, num_folds: int = 2) -> None:
        super().__init__()
        check_penalty(penalty)
        check_folds(3 * num_folds, num_folds)
        self.penalty = float(penalty) if isinstance(penalty, (int, float)) else tuple(map(float, penalty))
        self.num_folds = num_folds
        self.min_stimuli = 3 * num_folds

    def forward(self, preds: Tensor, target: Tensor, weight: Tensor) -> Tensor:
        """The loss."""
        r, _ = predictivity_terms(preds, target, weight, self.penalty, self.num_folds)
        return weighted_mean(1 - r, weight.amax(0))
