"""Sets whose missing stimuli stay as rows that don't count: forms whose shapes don't depend on values.

To drop the stimuli without a valid response, a GPU's host would have to wait for their number, and no compiled graph could do
it. There all rows stay. Those that are left out are 0, with weight 0, and a mask ``kept`` (stimulus,) says which count.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

__all__: list[str] = []


class MaskedSets(NamedTuple):
    """Two sets with all their rows.

    Attributes:
        preds: (stimulus, feature), 0 in rows that are left out.
        target: (stimulus, voxel), 0 where missing.
        weight: (stimulus, voxel), 0 where missing.
        kept: (stimulus,) bool, which rows count.
    """

    preds: Tensor
    target: Tensor
    weight: Tensor
    kept: Tensor


def mask_sets(
    preds: Float[Tensor, "stimulus feature"],
    target: Float[Tensor, "stimulus voxel"],
    weight: Float[Tensor, " voxel"] | None,
) -> MaskedSets:
    """What :func:`neuroalign.functional.missing.prepare` does, with every row in its place.

    Args:
        preds: (stimulus, feature).
        target: (stimulus, voxel), NaN where missing.
        weight: (voxel,), non-negative; None means 1 everywhere.

    Example:
        >>> mask_sets(torch.ones(2, 1), torch.tensor([[torch.nan], [3.0]]), None).kept
        tensor([False,  True])
    """
    weight = target.new_ones(()) if weight is None else weight.to(target.dtype)
    weight = torch.where(target.isnan(), 0, weight)
    return keep(MaskedSets(preds, target, weight, (weight > 0).any(1)), None)


def keep(sets: MaskedSets, condition: Bool[Tensor, ""] | None) -> MaskedSets:
    """The same sets; without any row that counts where the condition is False."""
    preds, target, weight, kept = sets
    kept = kept if condition is None else kept & condition
    rows = kept[:, None]
    valid = rows & (weight > 0)
    return MaskedSets(torch.where(rows, preds, 0), torch.where(valid, target, 0), torch.where(valid, weight, 0), kept)


def first_rows(stimulus: Int[Tensor, " row"], kept: Bool[Tensor, " row"]) -> Int[Tensor, " row"]:
    """For each row the first row that counts and has the same stimulus; rows that don't count stand for themselves.

    Args:
        stimulus: (row,) integer identities.
        kept: (row,), which rows count.

    Returns:
        (row,) int64. Stimuli are in order of first occurrence, as those of
        :func:`neuroalign.functional.repeats.group_rows`.

    Example:
        >>> first_rows(torch.tensor([7, 3, 7, 7]), torch.tensor([False, True, True, True]))
        tensor([0, 1, 2, 2])
    """
    same = (stimulus[:, None] == stimulus) & pairs(kept)
    itself = torch.eye(len(kept), dtype=torch.bool, device=kept.device)
    return (same | itself & ~kept).to(torch.uint8).argmax(1)


def average_masked(sets: MaskedSets, first: Int[Tensor, " row"] | None) -> MaskedSets:
    """As :func:`neuroalign.functional.repeats.average_repeats`: each stimulus's mean stands in the first of its rows.

    Args:
        sets: All rows.
        first: (row,), see :func:`first_rows`; None returns the sets unchanged.

    Example:
        >>> x, every = torch.tensor([[1.0], [5.0], [3.0]]), torch.ones(3, dtype=torch.bool)
        >>> average_masked(
        ...     MaskedSets(x, x, torch.ones(3, 1), every), torch.tensor([0, 1, 0])
        ... ).target
        tensor([[2.],
                [5.],
                [0.]])
    """
    if first is None:
        return sets
    preds, target, weight, kept = sets

    def summed(x: Tensor) -> Tensor:
        return torch.zeros_like(x).index_add(0, first, x)

    rows, sums = summed(kept.to(preds.dtype)).clamp_min(1), summed(weight)
    return MaskedSets(
        summed(preds) / rows[:, None],
        summed(weight * target) / torch.where(sums > 0, sums, 1),
        torch.zeros_like(sums).scatter_reduce(0, first[:, None].expand_as(weight), weight, "amax"),
        kept & (first == torch.arange(len(first), device=first.device)),
    )


def pairs(kept: Bool[Tensor, " stimulus"]) -> Bool[Tensor, "stimulus stimulus"]:
    """Which pairs consist of rows that count."""
    return kept[:, None] & kept


def center_masked(
    x: Float[Tensor, "stimulus column"], kept: Bool[Tensor, " stimulus"]
) -> Float[Tensor, "stimulus column"]:
    """Columns minus their mean over the rows that count, 0 in the others.

    Args:
        x: (stimulus, column), 0 in rows that don't count; columns in the unit range, so that constant ones are 0.
        kept: (stimulus,), which rows count.

    Example:
        >>> center_masked(
        ...     torch.tensor([[1.0], [0.0], [0.0]]), torch.tensor([True, False, True])
        ... )
        tensor([[ 0.5000],
                [ 0.0000],
                [-0.5000]])
    """
    return torch.where(kept[:, None], x - x.sum(0) / kept.sum().clamp_min(1), 0)
