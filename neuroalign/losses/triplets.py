"""Alignment with behaviour: embeddings that make people's odd-one-out choices likely."""

from __future__ import annotations

import math
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from neuroalign.config import Described
from neuroalign.functional.distributed import reduce_sum, world_size
from neuroalign.functional.host import FirstBatch
from neuroalign.functional.triplets import Similarity, check_triplets, choice_nll, default_temperature

__all__ = ["OddOneOutLoss"]


class OddOneOutLoss(Described, nn.Module):
    r"""Negative log probability of people's odd-one-out choices under the similarities of embeddings.

    People said which of three objects does not belong to the others. The model chooses the remaining pair with a probability
    proportional to exp(similarity / temperature). The loss is log 3 for choices at random and 0 in the limit of certain,
    right choices, which "dot" and "sqeuclidean" approach as embeddings grow. Cosines can't grow: for one triplet the smallest
    loss is :math:`\log(1 + 2e^{-2/T})` at temperature T, .24 at 1 and below 1e-8 at .1, and it is larger for many triplets,
    whose objects can't all be opposite. In distributed training each process has triplets of its own embeddings, and the mean
    is over the triplets of all processes.

    Args:
        similarity: "dot", "cosine", or "sqeuclidean" (minus the squared distance).
        temperature: Temperature of the choice; the larger, the smaller the effect of a difference in similarity. None takes
            0.1 for "cosine" and 1 for others.
        distributed: Whether to take the mean over the triplets of all processes.

    Attributes:
        last_valid: Whether the last call had a triplet (on any process), a scalar bool tensor; None before the first.

    Shapes:
        embeddings (object, feature), triplets (triplet, 3) -> scalar. Triplets hold indices of embeddings, the odd one in the
        last column. Without triplets the loss is 0 and keeps its graph.

    Raises:
        TypeError: If the embeddings are not floating point or the triplets are not integers.
        ValueError: If an index is out of range, or an option is unknown.

    Example:
        >>> embeddings = torch.eye(3)[[0, 0, 1]]
        >>> OddOneOutLoss()(5 * embeddings, torch.tensor([[0, 1, 2]])) < 1e-6
        tensor(True)

    Source:
        Hebart et al. 2020, Nature Human Behaviour 4; Muttenthaler et al. 2023, arXiv 2306.04507 (aligning networks).
    """

    min_valid = 3

    def __init__(
        self, similarity: Similarity = "dot", temperature: float | None = None, *, distributed: bool = True
    ) -> None:
        super().__init__()
        check_triplets(torch.zeros(1, 1), torch.zeros(0, 3, dtype=torch.long), similarity)
        if temperature is None:
            temperature = default_temperature(similarity)
        if not 0 < temperature < math.inf:
            raise ValueError(f"temperature must be positive and finite; got {temperature}")
        self.similarity, self.temperature, self.distributed = similarity, float(temperature), distributed
        self.last_valid: Tensor | None = None
        self._looks = FirstBatch()

    def _described(self, arguments: dict[str, Any]) -> dict[str, Any]:
        return {**arguments, "temperature": self.temperature}

    @property
    def name(self) -> str:
        """Name of the measure, as it appears in logs."""
        return "odd_one_out"

    def forward(
        self, embeddings: Float[Tensor, "object feature"], triplets: Int[Tensor, "triplet 3"]
    ) -> Float[Tensor, ""]:
        """The loss of embeddings (object, feature) for triplets (triplet, 3) of indices of embeddings."""
        check_triplets(embeddings, triplets, self.similarity)
        with torch.autocast(embeddings.device.type, enabled=False):
            looks = self._looks(triplets)
            if len(triplets):
                value = choice_nll(embeddings, triplets, self.similarity, self.temperature, looks=looks)
            else:
                value = 0 * embeddings.sum()
            self.last_valid = value.new_full((), len(triplets) > 0, dtype=torch.bool)
            if self.distributed and world_size() > 1:
                ours = value.new_full((), len(triplets))
                every = reduce_sum(ours)
                self.last_valid = every > 0
                value = value * (world_size() * ours / every.clamp_min(1))
            return value

    def extra_repr(self) -> str:
        """Shown in ``repr``."""
        return f"{self.similarity!r}, temperature={self.temperature}"
