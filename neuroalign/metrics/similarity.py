"""Similarity of two representations over a whole data set: formulas of ``functional`` as metrics."""

from __future__ import annotations

import math
import warnings
from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from neuroalign.functional.canonical import cca, pwcca, svcca
from neuroalign.functional.checks import all_finite, check_ceiling, check_choice, check_infinite, check_sets
from neuroalign.functional.cka import linear_cka, rbf_cka
from neuroalign.functional.dissimilarity import Dissimilarity
from neuroalign.functional.distributed import alone
from neuroalign.functional.matching import soft_matching
from neuroalign.functional.median import nanmedian
from neuroalign.functional.predictivity import PENALTIES, check_folds, ridge_predictivity
from neuroalign.functional.rdm_comparison import Comparison, check_options, warn_of_cosine
from neuroalign.functional.regression import check_penalty
from neuroalign.functional.representational_similarity import rsa
from neuroalign.functional.shape_distances import check_alpha, procrustes, shape_distance
from neuroalign.metrics.stimuli import StimulusMetric

__all__ = ["AlignmentMetric", "CCA", "CKA", "ProcrustesSimilarity", "RSA", "RidgePredictivity", "SoftMatching"]


class AlignmentMetric(StimulusMetric):
    """Any function or loss of two sets of responses, over all stimuli of an epoch instead of one batch.

    Keeps the responses of every stimulus and calls the function once. A row without an ``index`` is a separate stimulus; rows
    with the same index, which distributed samplers repeat, count once. Stimuli are ordered by their index, or without an
    index by arrival, process after process: a function that depends on the order (ridge, because of its folds) needs the
    index to give the same value on several processes.

    Args:
        function: ``(preds, target) -> Tensor``, for instance a ``NeuralAlignmentLoss``.
        **kwargs: Of ``torchmetrics.Metric``.

    Shapes:
        update(preds (stimulus, feature), target (stimulus, voxel), index (stimulus,)) -> what the function returns.
        ``forward`` gives the value of its batch, NaN where the batch is too small for the function. Where a
        ``NeuralAlignmentLoss`` has nothing to compare, the value is NaN, not 0.

    Raises:
        TypeError: If preds or target are not floating-point tensors.
        ValueError: If their shapes don't fit, a target is infinite, or, on ``compute``, no data were added.

    Example:
        >>> metric = AlignmentMetric(torch.nn.functional.mse_loss)
        >>> metric.update(torch.zeros(2, 3), torch.ones(2, 3))
        >>> metric.update(torch.zeros(1, 3), torch.zeros(1, 3))
        >>> metric.compute()
        tensor(0.6667)
    """

    kept = ("preds", "target")
    preds: list[Tensor]
    target: list[Tensor]

    def __init__(self, function: Callable[[Tensor, Tensor], Tensor], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.function = function

    @property
    def higher_is_better(self) -> bool | None:  # type: ignore[override]
        """The function's own attribute, False for losses of neuroalign, or None (unknown)."""
        return getattr(self.function, "higher_is_better", None)

    def update(self, preds: Tensor, target: Tensor, index: Tensor | None = None) -> None:
        """Add a batch; ``index`` (stimulus,) identifies the stimuli."""
        check_sets(preds, target)
        check_infinite(target=target)
        self.add(index, preds=preds, target=target)

    @torch.no_grad()
    def compute(self) -> Tensor:
        """The value of the function for all stimuli.

        Raises:
            ValueError: If no data were added.
        """
        rows = self.seen().rows
        preds, target = self.joined("preds")[rows], self.joined("target")[rows]
        with alone():  # the data are gathered already; a loss must not gather them again
            if not self.in_forward:
                return self._told(self.function(preds, target))
            with warnings.catch_warnings():  # warnings about one small batch; compute gives the epoch's
                warnings.simplefilter("ignore")
                try:
                    return self._told(self.function(preds, target))
                except ValueError:
                    return self._undefined(target)

    def _told(self, value: Tensor) -> Tensor:
        """The function's value; NaN if the function is a loss that had nothing to compare."""
        valid = getattr(self.function, "last_valid", None)
        return torch.where(valid, value, torch.nan) if isinstance(valid, Tensor) else value

    def _undefined(self, target: Tensor) -> Tensor:
        return target.new_tensor(torch.nan)


class _WeightedMetric(AlignmentMetric):
    """A similarity of sets, with optional weights of the target's voxels by their noise ceiling."""

    noise_ceiling: Tensor | None

    def __init__(self, noise_ceiling: Tensor | None, **kwargs: Any) -> None:
        super().__init__(self._similarity, **kwargs)
        if noise_ceiling is not None:
            noise_ceiling = check_ceiling(torch.as_tensor(noise_ceiling))
        self.register_buffer("noise_ceiling", noise_ceiling, persistent=False)

    @property
    def higher_is_better(self) -> bool | None:  # type: ignore[override]
        """True, since it is a similarity."""
        return True

    def update(self, preds: Tensor, target: Tensor, index: Tensor | None = None) -> None:
        """Add a batch; ``index`` (stimulus,) identifies the stimuli."""
        check_sets(preds, target)
        if not all_finite(preds):
            raise ValueError("preds has NaN or infinite values; only the target may have missing values, as NaN")
        super().update(preds, target, index)

    @abstractmethod
    def _similarity(self, preds: Tensor, target: Tensor) -> Tensor:
        """The similarity of all stimuli."""


class CKA(_WeightedMetric):
    """Centred kernel alignment over a data set; see :func:`neuroalign.functional.linear_cka` and ``rbf_cka``.

    Args:
        kernel: "linear" or "rbf".
        debiased: Whether to use the debiased HSIC.
        voxel_corrected: Whether to correct the linear form for the number of columns.
        bandwidth: Bandwidth of the "rbf" kernel, in units of the root of the median squared distance.
        noise_ceiling: (voxel,) in [0, 1], weights the target's voxels.

    Raises:
        ValueError: If an option is unknown or doesn't go with the kernel.

    Example:
        >>> metric = CKA()
        >>> x = torch.randn(20, 5)
        >>> metric.update(x, 2 * x + 1)
        >>> metric.compute().round(decimals=4)
        tensor(1.)
    """

    def __init__(
        self,
        *,
        kernel: Literal["linear", "rbf"] = "linear",
        debiased: bool = True,
        voxel_corrected: bool = False,
        bandwidth: float = 1.0,
        noise_ceiling: Tensor | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(noise_ceiling, **kwargs)
        check_choice("kernel", kernel, ("linear", "rbf"))
        if voxel_corrected and kernel != "linear":
            raise ValueError("the correction for the number of columns is known for the linear kernel only")
        self.kernel, self.debiased = kernel, debiased
        self.voxel_corrected, self.bandwidth = voxel_corrected, bandwidth

    def _similarity(self, preds: Tensor, target: Tensor) -> Tensor:
        options: dict[str, Any] = {"debiased": self.debiased, "weight": self.noise_ceiling}
        if self.kernel == "rbf":
            return rbf_cka(preds, target, bandwidth=self.bandwidth, **options)
        return linear_cka(preds, target, voxel_corrected=self.voxel_corrected, **options)


class RSA(_WeightedMetric):
    """Similarity of RDMs over a data set; see :func:`neuroalign.functional.rsa`.

    Args:
        dissimilarity: "sqeuclidean", "correlation" or "cosine".
        comparison: "pearson", "cosine", "whitened_cosine", "spearman" or "soft_spearman".
        noise_ceiling: (voxel,) in [0, 1], weights the target's voxels.

    Warns:
        UserWarning: For "cosine", which ranks a random code above the true one if responses are noisy.

    Raises:
        ValueError: If an option is unknown.

    Example:
        >>> metric = RSA(dissimilarity="correlation", comparison="spearman")
        >>> x = torch.randn(20, 5)
        >>> metric.update(x, 2 * x + 1)
        >>> bool(metric.compute() > 0.99)
        True
    """

    def __init__(
        self,
        *,
        dissimilarity: Dissimilarity = "sqeuclidean",
        comparison: Comparison = "pearson",
        noise_ceiling: Tensor | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(noise_ceiling, **kwargs)
        check_options(dissimilarity, comparison)
        warn_of_cosine(comparison)
        self.dissimilarity, self.comparison = dissimilarity, comparison

    def _similarity(self, preds: Tensor, target: Tensor) -> Tensor:
        return rsa(
            preds,
            target,
            dissimilarity=self.dissimilarity,
            comparison=self.comparison,
            weight=self.noise_ceiling,
        )


class ProcrustesSimilarity(_WeightedMetric):
    """Procrustes similarity, or the angular shape distance, over a data set; see :func:`neuroalign.functional.procrustes`.

    Args:
        alpha: 1 for Procrustes, 0 for whitened preds and target.
        angular: Whether to return the angle in radians, which is a distance.
        noise_ceiling: (voxel,) in [0, 1], weights the target's voxels.

    Raises:
        ValueError: If alpha is outside [0, 1].

    Example:
        >>> metric = ProcrustesSimilarity()
        >>> x = torch.randn(20, 5)
        >>> metric.update(x, 2 * x.flip(1) + 1)
        >>> metric.compute().round(decimals=4)
        tensor(1.)
    """

    def __init__(
        self, *, alpha: float = 1.0, angular: bool = False, noise_ceiling: Tensor | None = None, **kwargs: Any
    ) -> None:
        super().__init__(noise_ceiling, **kwargs)
        check_alpha(alpha)
        self.alpha, self.angular = alpha, angular

    @property
    def higher_is_better(self) -> bool | None:  # type: ignore[override]
        """True for the similarity, False for the angle."""
        return not self.angular

    def _similarity(self, preds: Tensor, target: Tensor) -> Tensor:
        measure = shape_distance if self.angular else procrustes
        return measure(preds, target, alpha=self.alpha, weight=self.noise_ceiling)


class SoftMatching(_WeightedMetric):
    """Soft matching of units with voxels over a data set; see :func:`neuroalign.functional.soft_matching`.

    Args:
        temperature: Temperature of the soft assignment, in units of correlation; smaller values are nearer to the exact
            matching and slower.
        noise_ceiling: (voxel,) in [0, 1], weights the target's voxels.

    Raises:
        ValueError: If the temperature is not positive.

    Example:
        >>> metric = SoftMatching(temperature=0.01)
        >>> x = torch.randn(50, 5)
        >>> metric.update(x, 2 * x.flip(1) + 1)
        >>> bool(metric.compute() > 0.95)
        True
    """

    def __init__(self, *, temperature: float = 0.01, noise_ceiling: Tensor | None = None, **kwargs: Any) -> None:
        super().__init__(noise_ceiling, **kwargs)
        if not 0 < temperature < math.inf:
            raise ValueError(f"temperature must be positive and finite; got {temperature}")
        self.temperature = temperature

    def _similarity(self, preds: Tensor, target: Tensor) -> Tensor:
        return soft_matching(preds, target, temperature=self.temperature, weight=self.noise_ceiling)


class RidgePredictivity(_WeightedMetric):
    """Held-out correlation of ridge predictions over a data set; see :func:`neuroalign.functional.ridge_predictivity`.

    Correlations are computed within each fold, then averaged over folds: 0 on average if preds and target are independent.

    Args:
        penalty: Ridge penalty: a number, or several from which generalised cross-validation chooses one per voxel.
        num_folds: Number of folds, of at least three stimuli each; stimulus i in the order of the index (or of arrival,
            without an index) is in fold i modulo this number.
        reduction: "median", "mean" (weighted by the noise ceiling) or "none" over voxels.
        noise_ceiling: (voxel,) in [0, 1]: voxels of ceiling 0 are left out.

    Raises:
        ValueError: If a penalty is not positive, there are fewer than two folds or the reduction is unknown; on ``compute``,
            if there are too few stimuli for the folds.

    Example:
        >>> metric = RidgePredictivity(num_folds=5)
        >>> x = torch.randn(50, 5)
        >>> metric.update(x, x @ torch.randn(5, 8))
        >>> bool(metric.compute() > 0.99)
        True
    """

    def __init__(
        self,
        *,
        penalty: float | Sequence[float] = PENALTIES,
        num_folds: int = 5,
        reduction: Literal["median", "mean", "none"] = "median",
        noise_ceiling: Tensor | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(noise_ceiling, **kwargs)
        check_penalty(penalty if isinstance(penalty, (int, float)) else torch.as_tensor(penalty))
        check_folds(3 * num_folds, num_folds)
        check_choice("reduction", reduction, ("median", "mean", "none"))
        self.penalty, self.num_folds, self.reduction = penalty, num_folds, reduction

    def _similarity(self, preds: Tensor, target: Tensor) -> Tensor:
        r = ridge_predictivity(preds, target, penalty=self.penalty, num_folds=self.num_folds, weight=self.noise_ceiling)
        if self.reduction == "median":
            return nanmedian(r)
        if self.reduction == "none":
            return r
        w = torch.ones_like(r) if self.noise_ceiling is None else self.noise_ceiling.to(r)
        defined = ~r.isnan()
        return (w * r)[defined].sum() / w[defined].sum()

    def _undefined(self, target: Tensor) -> Tensor:
        return target.new_full(target.shape[1:] if self.reduction == "none" else (), torch.nan)


class CCA(_WeightedMetric):
    """Canonical correlation over a data set; see :func:`neuroalign.functional.cca`, ``svcca`` and ``pwcca``.

    Args:
        kind: "cca" (the mean canonical correlation), "svcca" or "pwcca".
        variance: Share of the variance kept by "svcca".
        noise_ceiling: (voxel,) in [0, 1]: weights voxels for "svcca"; for the others, voxels of ceiling 0 are left out.

    Raises:
        ValueError: If the kind is unknown; on ``compute``, if the stimuli are not more than the columns.

    Example:
        >>> metric = CCA()
        >>> x = torch.randn(50, 5)
        >>> metric.update(x, x @ torch.randn(5, 5))
        >>> metric.compute().round(decimals=3)
        tensor(1.)
    """

    def __init__(
        self,
        *,
        kind: Literal["cca", "svcca", "pwcca"] = "cca",
        variance: float = 0.99,
        noise_ceiling: Tensor | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(noise_ceiling, **kwargs)
        check_choice("kind", kind, ("cca", "svcca", "pwcca"))
        self.kind, self.variance = kind, variance

    def _similarity(self, preds: Tensor, target: Tensor) -> Tensor:
        if self.kind == "svcca":
            return svcca(preds, target, variance=self.variance, weight=self.noise_ceiling)
        if self.kind == "pwcca":
            return pwcca(preds, target, weight=self.noise_ceiling)
        return cca(preds, target, weight=self.noise_ceiling).mean()
