"""Alignment with a published dissimilarity matrix, for data of which only the matrix is known."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from neuroalign.config import Described
from neuroalign.functional.checks import check_devices, has_nan, widen
from neuroalign.functional.classes import class_means
from neuroalign.functional.dissimilarity import Dissimilarity, dissimilarities, rdm_vectors, square_rdm
from neuroalign.functional.distributed import gather_batch, world_size
from neuroalign.functional.host import FirstBatch, spoil
from neuroalign.functional.identities import NAMES_REMEDY, find_rows, refuse_unnamed, row_identities
from neuroalign.functional.rdm_comparison import Comparison, compare_matrices, normalized_rdms, warn_of_cosine
from neuroalign.functional.repeats import check_identities, count_stimuli, group_rows
from neuroalign.functional.row_masks import first_rows, pairs
from neuroalign.losses.set_measures import check_differentiable

__all__ = ["RDMAlignmentLoss"]


class RDMAlignmentLoss(Described, nn.Module):
    """1 - similarity of the batch's RDM to the part of a given RDM that belongs to the batch's stimuli.

    For targets of which only the dissimilarities are known. RDMs of several subjects are averaged after each is z-scored (for
    a cosine comparison: scaled to unit root mean square). NaN in the RDM leaves a pair out. A stimulus that occurs twice in a
    batch is not compared with itself; for "whitened_cosine", which needs every pair, its rows are averaged first. In
    distributed training the RDM is that of the global batch.

    Args:
        rdm: (pair,), (stimulus, stimulus), (subject, pair) or (subject, stimulus, stimulus).
        stimuli: (stimulus,) identities of the RDM's rows. A stimulus of the batch that is not among them has no target. None
            means 0, 1, 2, ..., and any other stimulus is then an error: otherwise lists that count from 1 would be one row
            off without notice.
        dissimilarity: Dissimilarity of the predictions: "sqeuclidean", "correlation" or "cosine".
        comparison: "pearson", "soft_spearman", "whitened_cosine" or "cosine". "cosine" is for distances that noise doesn't
            make larger: those of a model, or cross-validated ones. With the distances of noisy responses a random code scores
            higher than the true one.
        temperature: Temperature of the soft ranks of "soft_spearman".
        distributed: Whether to compute the loss of the global batch in distributed training.

    Attributes:
        last_valid: Whether the last call had something to compare, a scalar bool tensor; None before the first.

    Shapes:
        preds (stimulus, feature), stimulus (stimulus,) integer identities -> scalar; 0 with a graph where fewer than three
        different stimuli of the batch have a target.

    Warns:
        UserWarning: For "cosine" with an RDM without negative distances, since such an RDM is not cross-validated.

    Raises:
        TypeError: If the RDM or preds is not floating point, or the identities are not integers.
        ValueError: If the RDM is not symmetric or its length is not a number of pairs, an option is unknown, a pair is
            missing and the comparison is "whitened_cosine", or ``stimuli`` is None and the batch holds a stimulus without a
            row.

    Example:
        >>> from neuroalign.functional import rdm
        >>> target = torch.randn(50, 20)
        >>> published = rdm(target, dissimilarity="correlation")
        >>> loss = RDMAlignmentLoss(published, dissimilarity="correlation")
        >>> stimulus = torch.tensor([3, 14, 15, 9, 26])
        >>> loss(target[stimulus], stimulus).round(decimals=4).abs()
        tensor(0.)

    Source:
        Kriegeskorte et al. 2008, Frontiers in Systems Neuroscience 2:4.
    """

    rdm: Tensor
    rows: Tensor
    min_valid = 3

    def __init__(
        self,
        rdm: Tensor,
        *,
        stimuli: Sequence[int] | Tensor | None = None,
        dissimilarity: Dissimilarity = "sqeuclidean",
        comparison: Comparison = "pearson",
        temperature: float = 0.05,
        distributed: bool = True,
    ) -> None:
        super().__init__()
        check_differentiable(dissimilarity, comparison)
        vectors = rdm_vectors(rdm)
        warn_of_cosine(comparison, vectors, stacklevel=4)
        vector = vectors[0] if len(vectors) == 1 else normalized_rdms(vectors, comparison).nanmean(0)
        if comparison == "whitened_cosine" and has_nan(vector):
            raise ValueError(
                f"whitened_cosine needs every pair of stimuli, and {int(vector.isnan().sum())} pairs of the RDM are NaN: "
                "leave their stimuli out, or compare by 'pearson'"
            )
        self.register_buffer("rdm", square_rdm(vector.float() if vector.dtype != torch.float64 else vector))
        self.register_buffer("rows", row_identities(stimuli, len(self.rdm)))
        self._named = stimuli is not None
        self.dissimilarity, self.comparison, self.temperature = dissimilarity, comparison, temperature
        self.distributed = distributed
        self.last_valid: Tensor | None = None
        self._looks = FirstBatch()

    @property
    def name(self) -> str:
        """Name of the measure, as it appears in logs."""
        return "rsa"

    def forward(
        self, preds: Float[Tensor, "stimulus feature"], stimulus: Int[Tensor, " stimulus"]
    ) -> Float[Tensor, ""]:
        """The loss of features (stimulus, feature) of stimuli with these identities (stimulus,)."""
        if not isinstance(preds, Tensor) or not isinstance(stimulus, Tensor):
            raise TypeError(
                f"preds and stimulus must be tensors: torch.as_tensor(array) makes one of numbers; {NAMES_REMEDY}"
            )
        if not preds.is_floating_point() or preds.ndim != 2:
            raise TypeError(f"preds must be floating point (stimulus, feature); got {preds.dtype} {tuple(preds.shape)}")
        check_identities(stimulus, len(preds))
        check_devices(preds=preds, rdm=self.rdm)
        with torch.autocast(preds.device.type, enabled=False):
            preds, target = widen(preds, self.rdm)
            if self.distributed and world_size() > 1:
                preds, stimulus = gather_batch(preds), gather_batch(stimulus)
            if len(preds) and not self._looks(preds):
                return self._without_looking(preds, stimulus, target)
            row, kept = self._find(stimulus)
            group = group_rows(row)
            num = count_stimuli(len(row), group)
            enough = num >= self.min_valid
            self.last_valid = preds.new_full((), enough, dtype=torch.bool)
            if not enough:
                return 0 * preds.sum()
            x = preds if len(kept) == len(preds) else preds[kept.to(preds.device, non_blocking=True)]
            if group is not None and self.comparison == "whitened_cosine":
                x, _ = class_means(x, group.to(x.device, non_blocking=True), num)
                row = row.new_zeros(num).scatter(0, group, row)
            row = row.to(x.device, non_blocking=True)
            target = target[row][:, row]
            known = ~target.isnan() & (row[:, None] != row)
            a, _, _ = dissimilarities(x, None, self.dissimilarity)
            value, _ = compare_matrices(a, torch.where(known, target, 0), known, self.comparison, self.temperature)
            return 1 - value

    def _without_looking(self, preds: Tensor, stimulus: Tensor, target: Tensor) -> Tensor:
        """The loss with every row of the batch in its place; a stimulus that should have a row and has none makes it NaN."""
        row, found = find_rows(stimulus, self.rows)
        first = first_rows(row, found)
        distinct = found & (first == torch.arange(len(first), device=first.device))
        x, kept = torch.where(found[:, None], preds, 0), found
        if self.comparison == "whitened_cosine":
            x, _ = class_means(x, first, len(x))
            x, kept = torch.where(distinct[:, None], x, 0), distinct
        self.last_valid = distinct.sum() >= self.min_valid
        target = target[row][:, row]
        known = ~target.isnan() & (row[:, None] != row) & pairs(kept)
        a = dissimilarities(x, None, self.dissimilarity, kept).matrix
        b = torch.where(known, target, 0)
        value, _ = compare_matrices(a, b, known, self.comparison, self.temperature, kept=kept, looks=False)
        value = torch.where(self.last_valid, 1 - value, 0 * x.sum())
        return value if self._named else spoil(value, ~found.all())

    def _find(self, stimulus: Tensor) -> tuple[Tensor, Tensor]:
        """Rows of the RDM, and the rows of the batch that have one, (kept,) both, on the host, which waits only here."""
        row, found = torch.stack(find_rows(stimulus, self.rows)).cpu()
        kept = found.nonzero()[:, 0]
        if not self._named and len(kept) < len(found):
            refuse_unnamed(stimulus, len(self.rows))
        return row[kept], kept

    def extra_repr(self) -> str:
        """Shown in ``repr``."""
        return f"{len(self.rdm)} stimuli, dissimilarity={self.dissimilarity!r}, comparison={self.comparison!r}"
