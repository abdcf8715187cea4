"""What metrics that keep every stimulus share: each counts once, however often a sampler brings it."""

from __future__ import annotations

import torch
from torch import Tensor


def first_of_each(index: Tensor) -> Tensor:
    """Positions of the first occurrence of every index: distributed samplers repeat images to even out."""
    unique, inverse = index.unique(return_inverse=True)
    first = torch.full((len(unique),), len(index), dtype=torch.long, device=index.device)
    positions = torch.arange(len(index), device=index.device)
    return first.scatter_reduce(0, inverse, positions, "amin").sort().values


def joined(state: list[Tensor] | Tensor) -> Tensor:
    """A list state as one tensor, before or after it was synchronised over processes."""
    return torch.cat(list(state)) if isinstance(state, list) else state


def next_index(state: list[Tensor] | Tensor, count: int, device: torch.device) -> Tensor:
    """Identities for ``count`` stimuli that came without any: the numbers after those seen."""
    start = sum(len(i) for i in state) if isinstance(state, list) else len(state)
    return torch.arange(start, start + count, device=device)
