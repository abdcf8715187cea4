"""Guidance by relations between stimuli: a published dissimilarity matrix, or people's odd-one-out choices."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

from neuroalign.config import Described, build
from neuroalign.functional.identities import NAMES_REMEDY, as_identities, find_rows
from neuroalign.guidance.responses import check_heads
from neuroalign.losses import OddOneOutLoss, RDMAlignmentLoss
from neuroalign.types import Batch

__all__ = ["OddOneOutGuidance", "RDMGuidance"]


def _stimuli(batch: Batch) -> Tensor:
    if "stimulus" not in batch:
        raise ValueError(f"this guidance finds its target by the batch's 'stimulus'; this one has {sorted(batch)}")
    stimulus = batch["stimulus"]
    if not isinstance(stimulus, Tensor):
        raise TypeError(
            f"the batch's 'stimulus' must be a tensor of integers; got {type(stimulus).__name__} ({NAMES_REMEDY})"
        )
    return stimulus


class RDMGuidance(Described, nn.Module):
    """Match the dissimilarities of a region, for cases in which nothing else is known about the region.

    Called as ``guidance(preds, batch)``; reads the batch's ``stimulus``, returns the terms as ``<head>/rsa``. An image whose
    stimulus is not among an RDM's ``stimuli`` has no target. For an RDM without ``stimuli``, whose rows are 0, 1, 2, ..., a
    stimulus without a row is an error. ``last_valid`` says by term whether the last batch had at least three images with a
    target.

    Args:
        rdms: By the head's name: an :class:`RDMAlignmentLoss`, or a value for its argument ``rdm``.
        **options: Options of the losses that are made here, such as ``stimuli``.

    Raises:
        TypeError: If the batch's ``stimulus`` is not a tensor of integers.
        ValueError: On the first batch, if the network has no head of that name or the batch has no ``stimulus``; on any
            batch, if an RDM without ``stimuli`` has no row for a stimulus.

    Example:
        >>> from neuroalign.functional import rdm
        >>> guidance = RDMGuidance({"IT": rdm(torch.randn(92, 50))})
        >>> sorted(guidance({"IT": torch.randn(8, 20)}, {"stimulus": torch.arange(8)}))
        ['IT/rsa']
    """

    def __init__(self, rdms: Mapping[str, RDMAlignmentLoss | Tensor], **options: Any) -> None:
        super().__init__()
        made = {h: r if isinstance(r, nn.Module) else RDMAlignmentLoss(r, **options) for h, r in rdms.items()}
        self.losses = nn.ModuleDict(made)
        self.last_valid: dict[str, Tensor] = {}

    def heads_needed(self) -> dict[str, tuple[int | None, str]]:
        """The heads that a network needs, of any width."""
        return dict.fromkeys(self.losses, (None, "its RDM"))

    @property
    def terms(self) -> tuple[str, ...]:
        """Names of the terms."""
        return tuple(f"{head}/rsa" for head in self.losses)

    def forward(self, preds: Mapping[str, Tensor], batch: Batch) -> dict[str, Tensor]:
        """Loss terms by name, for outputs by head (stimulus, feature) and the batch they came from."""
        check_heads(preds, self.losses)
        stimulus = _stimuli(batch)
        terms = {f"{head}/rsa": loss(preds[head], stimulus) for head, loss in self.losses.items()}
        self.last_valid = {f"{head}/rsa": cast(Tensor, loss.last_valid) for head, loss in self.losses.items()}
        return terms

    def loss_of(self, head: str) -> nn.Module:
        """The loss of a head."""
        return self.losses[head]


class OddOneOutGuidance(Described, nn.Module):
    """Make people's odd-one-out choices likely under the similarities of a head's outputs.

    Called as ``guidance(preds, batch)``; of all triplets it takes those whose three objects are in the batch (of this
    process), by ``stimulus``. If there are many more objects than images per batch, few triplets remain: then sample batches
    by triplets. ``last_valid`` says by term whether the last batch had any triplet.

    Args:
        head: Name of the head whose outputs are the embeddings.
        triplets: (triplet, 3) stimulus identities; the last column holds the odd one.
        loss: An :class:`OddOneOutLoss`, or None for its defaults.

    Raises:
        ValueError: If the triplets have another shape; on the first batch, if the network has no such head or the batch has
            no ``stimulus``.

    Example:
        >>> guidance = OddOneOutGuidance("IT", torch.tensor([[10, 11, 12], [10, 12, 99]]))
        >>> terms = guidance(
        ...     {"IT": torch.zeros(3, 5)}, {"stimulus": torch.tensor([12, 10, 11])}
        ... )
        >>> terms["IT/odd_one_out"].round(decimals=3)
        tensor(1.0990)
    """

    triplets: Tensor

    def __init__(self, head: str, triplets: Tensor, loss: OddOneOutLoss | dict[str, Any] | None = None) -> None:
        super().__init__()
        triplets = triplets if isinstance(triplets, Tensor) else as_identities(triplets, "triplets")
        if triplets.ndim != 2 or triplets.shape[1] != 3 or triplets.is_floating_point() or triplets.dtype == torch.bool:
            raise ValueError(f"triplets must be integer (triplet, 3); got {triplets.dtype} {tuple(triplets.shape)}")
        self.head = head
        self.register_buffer("triplets", triplets.long())
        self.loss = OddOneOutLoss() if loss is None else build(loss, nn.Module)
        self.last_valid: dict[str, Tensor] = {}

    def _described(self, arguments: dict[str, Any]) -> None:
        return None  # triplets are data

    def heads_needed(self) -> dict[str, tuple[int | None, str]]:
        """The head that a network needs, of any width."""
        return {self.head: (None, "its triplets")}

    @property
    def terms(self) -> tuple[str, ...]:
        """Names of the terms."""
        return (f"{self.head}/odd_one_out",)

    def forward(self, preds: Mapping[str, Tensor], batch: Batch) -> dict[str, Tensor]:
        """Loss terms by name, for outputs by head (stimulus, feature) and the batch they came from."""
        check_heads(preds, {self.head: None})
        stimulus = _stimuli(batch)
        row, found = find_rows(self.triplets, stimulus)
        term = f"{self.head}/odd_one_out"
        terms = {term: self.loss(preds[self.head], row[found.all(1)])}
        self.last_valid = {term: cast(Tensor, self.loss.last_valid)}
        return terms

    def loss_of(self, head: str) -> nn.Module:
        """The loss of the head."""
        return self.loss
