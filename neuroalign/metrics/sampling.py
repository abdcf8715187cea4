"""A reproducible choice of classes and images: the same whatever the batches, their order and the number of processes."""

from __future__ import annotations

import torch
from torch import Tensor


def _shift(x: Tensor, bits: int) -> Tensor:
    """Logical right shift of int64."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def ticket(index: Tensor, seed: int) -> Tensor:
    """A pseudo-random number for each index, in which small and large come by chance but always alike (SplitMix64)."""
    wrap = 1 << 64

    def signed(value: int) -> int:
        return value - wrap if value >= wrap // 2 else value

    x = index.long() + signed((0x9E3779B97F4A7C15 * (seed + 1)) % wrap)
    x = (x ^ _shift(x, 30)) * signed(0xBF58476D1CE4E5B9)
    x = (x ^ _shift(x, 27)) * signed(0x94D049BB133111EB)
    return x ^ _shift(x, 31)


def sample(labels: Tensor, index: Tensor, *, num_classes: int | None, num_per_class: int | None, seed: int) -> Tensor:
    """Positions of the chosen rows, by rising index: the classes and images with the lowest tickets.

    A part of the data keeps every row that the whole would choose, so that rows can be dropped while data stream in.
    """
    kept = torch.arange(len(labels), device=labels.device)
    if num_classes is not None:
        present = labels.unique()
        chosen = present[ticket(present, seed + 1).argsort()[:num_classes]]
        kept = kept[torch.isin(labels, chosen)]
    if num_per_class is not None:
        order = kept[ticket(index[kept], seed).argsort(stable=True)]
        order = order[labels[order].argsort(stable=True)]
        sizes = labels[order].unique_consecutive(return_counts=True)[1]
        starts = (sizes.cumsum(0) - sizes).repeat_interleave(sizes)
        kept = order[torch.arange(len(order), device=labels.device) - starts < num_per_class]
    return kept[index[kept].argsort()]
