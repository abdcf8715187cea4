"""Measures of sets of stimuli, whose widths may differ: formulas of ``functional`` as functions to minimise."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from neuroalign.functional.cka import HSICTerms, linear_terms, ratio, rbf_terms
from neuroalign.functional.dissimilarity import Dissimilarity
from neuroalign.functional.host import FirstBatch
from neuroalign.functional.likelihood import weighted_mean
from neuroalign.functional.matching import soft_matching_terms
from neuroalign.functional.predictivity import PENALTIES, check_folds, predictivity_terms
from neuroalign.functional.rdm_comparison import Comparison, check_options, warn_of_cosine
from neuroalign.functional.regression import check_penalty
from neuroalign.functional.representational_similarity import rsa_terms
from neuroalign.functional.shape_distances import angle, check_alpha, procrustes_terms
from neuroalign.losses.registry import register_measure

__all__: list[str] = []


class _AveragedHSIC(nn.Module):
    """HSICs averaged over batches before their ratio is taken, since the ratio of a small batch's HSICs is far noisier.

    The value is the bias-corrected exponential mean, this batch included. The gradient is that of the CKA at these averages
    with this batch's terms as the variables: past batches are constants, and a factor 1 - momentum would only rescale the
    learning rate.
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
        now, m, defined = torch.stack(terms[:3]), self.momentum, terms.defined
        # An undefined batch leaves the averages as they are. Asking for that would make a device's host wait.
        steps = self.steps + defined
        mean = torch.where(defined, m * self.mean.double() + (1 - m) * now.detach().double(), self.mean)
        if self.training:
            self.mean.copy_(mean)
            self.steps.copy_(steps)
        average = mean / (1 - torch.pow(m, steps.clamp_min(1).double()))
        average = torch.where(defined, average.to(now.dtype), now.detach())
        cross, own_preds, own_target = (average + (now - now.detach())).unbind()
        return HSICTerms(cross, own_preds, own_target, terms.defined)


class _KernelMeasure(nn.Module):
    paired = False

    def __init__(self, debiased: bool, momentum: float | None) -> None:
        super().__init__()
        self.debiased = debiased
        self.min_stimuli = 4 if debiased else 2
        self.min_valid = max(3, self.min_stimuli)  # up to scale, all pairs of points have the same centred kernel
        self.average = None if momentum is None else _AveragedHSIC(momentum)

    def _value(self, terms: HSICTerms) -> Tensor:
        return 1 - ratio(terms if self.average is None else self.average(terms))[0]


@register_measure("cka", paired=False, min_stimuli=4, scale_free=True)
class CKAMeasure(_KernelMeasure):
    """1 - linear CKA; see :func:`neuroalign.functional.linear_cka`.

    Args:
        debiased: Whether to use the debiased HSIC. The biased HSIC learns too many dimensions unless the batch has several
            times as many stimuli as columns.
        voxel_corrected: Whether to correct for the number of columns. Better for measuring than for training: the value has
            no lower bound, and where the columns of preds or of target share no positive signal it is 1 without a gradient.
        momentum: Average the three HSICs over batches with this momentum before taking their ratio; None uses the batch
            alone.
    """

    def __init__(self, debiased: bool = True, voxel_corrected: bool = False, momentum: float | None = None) -> None:
        super().__init__(debiased or voxel_corrected, momentum)
        self.voxel_corrected = voxel_corrected
        self.last_valid: Tensor | None = None

    def forward(
        self,
        preds: Float[Tensor, "stimulus feature"],
        target: Float[Tensor, "stimulus voxel"],
        weight: Float[Tensor, "stimulus voxel"],
        kept: Bool[Tensor, " stimulus"] | None = None,
    ) -> Float[Tensor, ""]:
        """The loss; ``kept`` says which rows count."""
        if not self.voxel_corrected:
            return self._value(self._terms(preds, target, weight, kept))
        present = weight > 0 if kept is None else (weight > 0) | ~kept[:, None]
        self.last_valid = present.all(0).any()  # this form uses complete voxels only
        if kept is None and not bool(self.last_valid):
            return 0 * preds.sum()
        return torch.where(self.last_valid, self._value(self._terms(preds, target, weight, kept)), 0)

    def _terms(self, preds: Tensor, target: Tensor, weight: Tensor, kept: Tensor | None) -> HSICTerms:
        corrected = self.voxel_corrected
        return linear_terms(preds, target, weight, debiased=self.debiased, voxel_corrected=corrected, kept=kept)


@register_measure("rbf_cka", paired=False, min_stimuli=4, scale_free=True)
class RBFCKAMeasure(_KernelMeasure):
    """1 - CKA with Gaussian kernels; see :func:`neuroalign.functional.rbf_cka`.

    Args:
        bandwidth: Bandwidth in units of the root of the median squared distance. The gradient flows through the median.
        debiased: Whether to use the debiased HSIC.
        median: Medians of preds and of target; None takes them from each batch.
        momentum: As for ``"cka"``.
    """

    def __init__(
        self,
        bandwidth: float = 1.0,
        debiased: bool = True,
        median: tuple[float, float] | None = None,
        momentum: float | None = None,
    ) -> None:
        super().__init__(debiased, momentum)
        if not 0 < bandwidth < math.inf:
            raise ValueError(f"bandwidth must be positive and finite; got {bandwidth}")
        self.bandwidth = bandwidth
        self.median = None if median is None else (float(median[0]), float(median[1]))

    def forward(
        self,
        preds: Float[Tensor, "stimulus feature"],
        target: Float[Tensor, "stimulus voxel"],
        weight: Float[Tensor, "stimulus voxel"],
        kept: Bool[Tensor, " stimulus"] | None = None,
    ) -> Float[Tensor, ""]:
        """The loss; ``kept`` says which rows count."""
        debiased, bandwidth, median = self.debiased, self.bandwidth, self.median
        return self._value(
            rbf_terms(preds, target, weight, debiased=debiased, bandwidth=bandwidth, median=median, kept=kept)
        )


@register_measure("rsa", paired=False, min_stimuli=3, scale_free=True)
class RSAMeasure(nn.Module):
    """1 - similarity of the two RDMs; see :func:`neuroalign.functional.rsa`.

    Args:
        dissimilarity: "sqeuclidean", "correlation" or "cosine".
        comparison: "pearson", "soft_spearman", "whitened_cosine" (which learns too many dimensions in small batches), or
            "cosine": only for responses without noise, since with noise it ranks a random code above the true one.
        temperature: Temperature of the soft ranks of "soft_spearman".

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
        warn_of_cosine(comparison, stacklevel=6)  # the line that made the NeuralAlignmentLoss
        self.dissimilarity, self.comparison, self.temperature = dissimilarity, comparison, temperature
        self._looks = FirstBatch()

    def forward(
        self,
        preds: Float[Tensor, "stimulus feature"],
        target: Float[Tensor, "stimulus voxel"],
        weight: Float[Tensor, "stimulus voxel"],
        stimulus: Int[Tensor, " stimulus"] | None = None,
        kept: Bool[Tensor, " stimulus"] | None = None,
    ) -> Float[Tensor, ""]:
        """The loss; ``stimulus`` gives the number of each row's stimulus if one occurs twice, ``kept`` which rows count."""
        options = self.dissimilarity, self.comparison, self.temperature
        looks = self._looks(target)
        return 1 - rsa_terms(preds, target, weight, *options, group=stimulus, kept=kept, looks=looks)[0]


def check_differentiable(dissimilarity: str, comparison: str) -> None:
    """Refuse options of RSA that are unknown or have no gradient.

    Raises:
        ValueError: If an option is unknown or has no gradient; the message names one that has.
    """
    check_options(dissimilarity, comparison)
    if comparison == "spearman":
        raise ValueError("'spearman' has no gradient: train with 'soft_spearman', and measure with 'spearman'")


@register_measure("procrustes", paired=False, min_stimuli=2, scale_free=True)
class ProcrustesMeasure(nn.Module):
    """1 - Procrustes similarity, or the angle; see :func:`neuroalign.functional.procrustes`.

    With ``alpha`` below 1 it is better for measuring than for training. At 0, whitening makes all features that fill the
    stimuli - 1 dimensions the same, so that the value is constant there. And with more features than voxels the minimum is
    above 0, where all dimensions of the features are filled. To minimise, take ``"cka"`` or ``"ridge"``.

    Args:
        alpha: 1 for Procrustes, 0 for whitened preds and target, a number in between for partial whitening.
        angular: Whether to minimise the angular shape distance (radians) instead of 1 - the cosine of this angle.

    Warns:
        UserWarning: Once, with ``alpha`` below 1, if there are too many features to minimise it.
    """

    min_valid = 3  # any two points can be moved onto any two others, so two say nothing

    def __init__(self, alpha: float = 1.0, angular: bool = False) -> None:
        super().__init__()
        check_alpha(alpha)
        self.alpha, self.angular = alpha, angular
        self._warned = alpha == 1

    def forward(
        self,
        preds: Float[Tensor, "stimulus feature"],
        target: Float[Tensor, "stimulus voxel"],
        weight: Float[Tensor, "stimulus voxel"],
        kept: Bool[Tensor, " stimulus"] | None = None,
    ) -> Float[Tensor, ""]:
        """The loss; ``kept`` says which rows count."""
        if not self._warned and preds.requires_grad:
            self._check_width(preds.shape[0], preds.shape[1], target.shape[1])
        similarity, _ = procrustes_terms(preds, target, weight, self.alpha, kept)
        return angle(similarity) if self.angular else 1 - similarity

    def _check_width(self, stimuli: int, features: int, voxels: int) -> None:
        """Warn if whitened features can't reach the minimum."""
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
        temperature: Temperature of the soft assignment, in units of correlation.
    """

    def __init__(self, temperature: float = 0.05) -> None:
        super().__init__()
        if not 0 < temperature < math.inf:
            raise ValueError(f"temperature must be positive and finite; got {temperature}")
        self.temperature = temperature

    def forward(
        self,
        preds: Float[Tensor, "stimulus feature"],
        target: Float[Tensor, "stimulus voxel"],
        weight: Float[Tensor, "stimulus voxel"],
        kept: Bool[Tensor, " stimulus"] | None = None,
    ) -> Float[Tensor, ""]:
        """The loss; ``kept`` says which rows count."""
        value, defined = soft_matching_terms(preds, target, weight, self.temperature, kept)
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
    """1 - mean held-out correlation of ridge predictions; at perfect alignment near 0, above it only by the shrinkage.

    Correlations are computed within each fold, then averaged: 1 on average if preds and target are independent. See
    :func:`neuroalign.functional.ridge_predictivity`.

    Args:
        penalty: Ridge penalty in units of the features' mean squared length. If several are given, generalised
            cross-validation on the training folds chooses one per voxel; the choice has no gradient.
        num_folds: Number of folds; stimulus i is in fold i modulo this number. Each fold is predicted from the other folds,
            and needs three stimuli.
    """

    def __init__(self, penalty: float | Sequence[float] = PENALTIES, num_folds: int = 2) -> None:
        super().__init__()
        check_penalty(penalty)
        check_folds(3 * num_folds, num_folds)
        self.penalty = float(penalty) if isinstance(penalty, (int, float)) else tuple(map(float, penalty))
        self.num_folds = num_folds
        self.min_stimuli = 3 * num_folds

    def forward(
        self,
        preds: Float[Tensor, "stimulus feature"],
        target: Float[Tensor, "stimulus voxel"],
        weight: Float[Tensor, "stimulus voxel"],
    ) -> Float[Tensor, ""]:
        """The loss."""
        r, _ = predictivity_terms(preds, target, weight, self.penalty, self.num_folds)
        return weighted_mean(1 - r, weight.amax(0))
