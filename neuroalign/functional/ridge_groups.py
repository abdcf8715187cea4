"""Voxels by the stimuli that they miss: which of them are fitted together, and how."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

__all__: list[str] = []

CHUNK = 1 << 22  # entries of the matrices that are computed as one batch


class Group(NamedTuple):
    """Voxels whose systems are about equally large, solved as one batch.

    Attributes:
        voxels: Which of the ordered voxels.
        rows: (voxel, size), the stimuli of each system; filled up with the number of stimuli.
        taken_out: Whether these stimuli are the missing ones, else the valid ones.
    """

    voxels: slice
    rows: Tensor
    taken_out: bool


class Groups:
    """Voxels in the order of how many stimuli they miss, in groups.

    Args:
        valid: (stimulus, voxel), False where a response is missing.
        order: (voxel,), numbers of the voxels in their order.
        counts: How many stimuli each voxel misses, in the order.

    Attributes:
        valid: (voxel, stimulus), in the order.
        order: As given.
        back: (voxel,), the place of each voxel in the order.
        members: The groups.
    """

    def __init__(
        self, valid: Bool[Tensor, "stimulus voxel"], order: Int[Tensor, " voxel"], counts: Sequence[int]
    ) -> None:
        self.order, self.back = order, order.argsort()
        self.valid = valid.T[order]
        self.members: list[Group] = []
        start = 0
        while start < len(counts):
            taken_out, size, stop = _batch(counts, start, len(valid))
            voxels = slice(start, stop)
            own = self.valid[voxels]
            self.members.append(Group(voxels, _numbers(~own if taken_out else own, size), taken_out))
            start = stop

    @classmethod
    def of(cls, *valid: Bool[Tensor, "stimulus voxel"]) -> list[Groups]:
        """The groups for each of several sets of stimuli with the same voxels; a device is asked one question for all sets.

        Args:
            *valid: (stimulus, voxel), False where a response is missing.
        """
        missing, order = torch.stack([(~own).sum(0) for own in valid]).sort(dim=1, stable=True)
        return [cls(*own) for own in zip(valid, order, missing.tolist())]

    @classmethod
    def complete(cls, y: Float[Tensor, "stimulus voxel"]) -> Groups:
        """One group of voxels that miss nothing, without asking a device."""
        voxels = torch.arange(y.shape[1], device=y.device)
        return cls(torch.ones_like(y, dtype=torch.bool), voxels, [0] * y.shape[1])


def _batch(counts: Sequence[int], start: int, num_stimuli: int) -> tuple[bool, int, int]:
    """Whether the next batch of ordered voxels takes stimuli out, the size of its systems, and the end of it."""
    least = counts[start]
    taken_out = 2 * least <= num_stimuli
    if taken_out:
        largest = min(least + max(1, least // 4), num_stimuli // 2) if least else 0
        stop = bisect_right(counts, largest)
        size = counts[stop - 1]
    else:
        size = num_stimuli - least
        stop = bisect_right(counts, num_stimuli - size * 3 // 4)
    return taken_out, size, min(stop, start + max(1, CHUNK // max(1, size * num_stimuli)))


def _numbers(chosen: Bool[Tensor, "voxel stimulus"], size: int) -> Int[Tensor, "voxel size"]:
    """The numbers of each voxel's chosen stimuli, filled up with the number of stimuli."""
    n = chosen.shape[1]
    place = torch.where(chosen, chosen.cumsum(1) - 1, size)
    rows = place.new_full((len(chosen), size + 1), n)
    return rows.scatter_(1, place, torch.arange(n, device=rows.device).expand_as(place))[:, :size]


def patterns(valid: Bool[Tensor, "stimulus voxel"], voxels: Int[Tensor, " voxel"]) -> list[tuple[Tensor, Tensor]]:
    """The sets of valid stimuli (stimulus,) bool of some voxels, each with its voxels; an empty set is dropped."""
    if not len(voxels):
        return []
    masks, which = valid[:, voxels].T.unique(dim=0, return_inverse=True)
    return [(mask, voxels[which == i]) for i, mask in enumerate(masks) if bool(mask.any())]


def sharing_voxels(
    valid: Bool[Tensor, "stimulus voxel"],
    num_features: int,
    penalties: int,
    *,
    chosen: bool = False,
    leave_one_out: bool = False,
) -> Bool[Tensor, " voxel"]:
    """For which voxels the inverse of all costs less than a fit for each set of valid stimuli that occurs; on a CPU.

    Args:
        valid: (stimulus, voxel), False where a response is missing.
        num_features: Number of features.
        penalties: Number of penalties.
        chosen: Whether every penalty is tried for all voxels, which takes an eigendecomposition for each set, else each voxel
            has its own penalty.
        leave_one_out: Whether each stimulus is left out.
    """
    n, count = len(valid), valid.sum(0).double()
    size, inner = torch.minimum(count, n - count), count.clamp_max(num_features)
    # Nanoseconds, measured; they need to be right to a factor of two or so.
    once = penalties * n**2 * (30 + n / 10)
    own = size**2 * (50 + size / 4) + n**2 / 10 + 12 * n * size * leave_one_out
    alone = 3e5 + inner**2 * (100 + inner / 10) if chosen else 2e5 + inner**2 * (15 + inner / 30)
    # Different sets have different sums, but for accidents, which cost time alone.
    sums = valid.T.double() @ torch.arange(1, n + 1, dtype=torch.float64).sin()
    which, members = sums.unique(return_inverse=True, return_counts=True)[1:]
    gain = alone / members[which] - own * (penalties if chosen else 1)
    shares: Tensor = (gain > 0) & (gain.clamp_min(0).sum() > once)
    return shares
