"""Alignment with published dissimilarity matrices and with people's choices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from neuroalign.functional.checks import all_finite
from neuroalign.functional.dissimilarity import Dissimilarity, rdm, rdm_vectors, square_rdm, upper
from neuroalign.functional.identities import NAMES_REMEDY, find_rows, refuse_unnamed, row_identities
from neuroalign.functional.rdm_comparison import (
    Comparison,
    check_options,
    compare_rdms,
    rdm_noise_ceiling,
    warn_of_cosine,
)
from neuroalign.functional.triplets import Similarity, check_triplets, odd_one_out_correct
from neuroalign.functional.variation import power_of_two
from neuroalign.metrics.base import EpochMetric, check_tensors
from neuroalign.metrics.stimuli import StimulusMetric

__all__ = ["OddOneOutAccuracy", "RDMSimilarity"]


class RDMSimilarity(StimulusMetric):
    """Similarity of the features' RDM to given RDMs, with the noise ceiling that follows from differences between subjects.

    Args:
        rdms: (pair,), (stimulus, stimulus), (subject, pair) or (subject, stimulus, stimulus).
        stimuli: (stimulus,) identities of the RDMs' rows; other stimuli are left out. None means 0, 1, 2, ..., and any other
            stimulus is then an error: otherwise lists that count from 1 would be one row off without notice.
        dissimilarity: Dissimilarity of the features: "sqeuclidean", "correlation" or "cosine".
        comparison: "pearson", "cosine", "whitened_cosine" or "spearman".
        **kwargs: Of ``torchmetrics.Metric``.

    Shapes:
        update(features (stimulus, feature), stimulus (stimulus,)) -> dict: ``similarity``, the mean over subjects; for two or
        more subjects also ``lower`` and ``upper``, the bounds of :func:`neuroalign.functional.rdm_noise_ceiling`. All use the
        stimuli that were added; the attribute ``num_stimuli`` is their number.

    Warns:
        UserWarning: For "cosine" with RDMs without negative distances: noise in such RDMs counts as structure.

    Raises:
        TypeError: If the RDMs are not floating point.
        ValueError: If an RDM is not symmetric or an option unknown; on ``update``, if ``stimuli`` is None and a stimulus has
            no row; on ``compute``, if fewer than three stimuli were added.

    Example:
        >>> from neuroalign.functional import rdm
        >>> y = torch.randn(10, 5)
        >>> metric = RDMSimilarity(torch.stack([rdm(y), rdm(y + 0.1 * torch.randn(10, 5))]))
        >>> metric.update(y, torch.arange(10))
        >>> sorted(metric.compute())
        ['lower', 'similarity', 'upper']

    Source:
        Nili et al. 2014, PLoS Computational Biology 10(4).
    """

    higher_is_better = True
    rdms: Tensor
    rows: Tensor
    kept = ("features",)
    features: list[Tensor]

    def __init__(
        self,
        rdms: Tensor,
        *,
        stimuli: Sequence[int] | Tensor | None = None,
        dissimilarity: Dissimilarity = "sqeuclidean",
        comparison: Comparison = "pearson",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        check_options(dissimilarity, comparison)
        if comparison == "soft_spearman":
            raise ValueError("measure with 'spearman'; 'soft_spearman' is for training")
        vectors = rdm_vectors(rdms)
        warn_of_cosine(comparison, vectors)
        self.register_buffer("rdms", square_rdm(vectors), persistent=False)
        self.register_buffer("rows", row_identities(stimuli, self.rdms.shape[1]), persistent=False)
        self._named = stimuli is not None
        self.dissimilarity, self.comparison = dissimilarity, comparison
        self.num_stimuli = 0

    def update(self, features: Tensor, stimulus: Tensor) -> None:
        """Add a batch; stimuli that are not among the RDMs' ``stimuli`` are left out."""
        if not isinstance(features, Tensor) or not isinstance(stimulus, Tensor):
            raise TypeError(
                f"features and stimulus must be tensors: torch.as_tensor(array) makes one of numbers; {NAMES_REMEDY}"
            )
        if len(features) != len(stimulus):
            raise ValueError(f"{len(features)} rows of features but {len(stimulus)} stimuli")
        check_tensors(features=features)
        if features.ndim < 2:
            raise ValueError(f"features must be (stimulus, feature); got {tuple(features.shape)}")
        if not all_finite(features):
            raise ValueError("features have NaN or infinite values: has the network diverged?")
        if not self._named and not stimulus.is_floating_point():
            refuse_unnamed(stimulus, self.rdms.shape[1])
        self.add(stimulus, features=features.flatten(1))

    @property
    def _names(self) -> tuple[str, ...]:
        return ("similarity", "lower", "upper") if len(self.rdms) > 1 else ("similarity",)

    def compute(self) -> dict[str, Tensor]:
        """The similarity and its noise ceiling."""
        rows, number, _ = self.seen()
        row, found = find_rows(number, self.rows)
        kept, row = rows[found], row[found]
        self.num_stimuli = len(kept)
        if len(kept) < 3:
            if self.in_forward:
                return dict.fromkeys(self._names, self.rdms.new_tensor(torch.nan))
            raise ValueError(f"an RDM needs at least 3 stimuli of those it was measured for; {len(kept)} were seen")
        features = self.joined("features")[kept]
        ours = rdm(features / power_of_two(features), dissimilarity=self.dissimilarity)  # no comparison sees the scale
        theirs = self.rdms[:, row][:, :, row][:, upper(len(row), row.device)]
        each = torch.stack([compare_rdms(ours, d, comparison=self.comparison) for d in theirs])
        out = {"similarity": each.nanmean()}
        if len(theirs) > 1:
            out["lower"], out["upper"] = rdm_noise_ceiling(theirs, comparison=self.comparison)
        return out


class OddOneOutAccuracy(EpochMetric):
    """Share of people's odd-one-out choices for which the other two objects have the most similar embeddings; chance is 1/3.

    Args:
        similarity: "dot", "cosine", or "sqeuclidean" (minus the squared distance).
        **kwargs: Of ``torchmetrics.Metric``.

    Shapes:
        update(embeddings (object, feature), triplets (triplet, 3), the odd one last) -> scalar in [0, 1].

    Raises:
        ValueError: If an index is out of range or the similarity unknown.

    Example:
        >>> metric = OddOneOutAccuracy()
        >>> metric.update(
        ...     torch.tensor([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0]]),
        ...     torch.tensor([[0, 1, 2], [0, 2, 1]]),
        ... )
        >>> metric.compute()
        tensor(0.5000)

    Source:
        Hebart et al. 2020, Nature Human Behaviour 4.
    """

    higher_is_better = True
    plot_lower_bound = 0.0
    plot_upper_bound = 1.0
    correct: Tensor
    total: Tensor

    def __init__(self, similarity: Similarity = "dot", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        check_triplets(torch.zeros(1, 1), torch.zeros(0, 3, dtype=torch.long), similarity)
        self.similarity = similarity
        self.add_state("correct", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("total", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, embeddings: Tensor, triplets: Tensor) -> None:
        """Add triplets (triplet, 3) of indices of these embeddings (object, feature)."""
        right = odd_one_out_correct(embeddings, triplets, similarity=self.similarity)
        self.correct = self.correct + right.double().sum()  # not in place: the states are shared by reference
        self.total = self.total + len(right)

    def compute(self) -> Tensor:
        """The accuracy over all triplets.

        Raises:
            ValueError: If none was seen.
        """
        if not self.in_forward:
            self.refuse_empty(int(self.total), "triplets")
        return (self.correct / self.total).float()
