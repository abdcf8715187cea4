"""A reproducible choice of classes and images that doesn't depend on the batches, their order or the number of processes."""

from __future__ import annotations

import torch
from torch import Tensor

from neuroalign.functional.draws import splitmix64

__all__: list[str] = []


def sample(labels: Tensor, index: Tensor, *, num_classes: int | None, num_per_class: int | None, seed: int) -> Tensor:
    """Positions of the chosen rows, by rising index: the classes and images with the lowest hash values.

    Any part of the data keeps every one of its rows that the whole data would choose, so that rows can be dropped while data
    arrive.
    """
    kept = torch.arange(len(labels), device=labels.device)
    if num_classes is not None:
        present = labels.unique()
        chosen = present[splitmix64(present, seed + 1).argsort()[:num_classes]]
        kept = kept[torch.isin(labels, chosen)]
    if num_per_class is not None:
        order = kept[splitmix64(index[kept], seed).argsort(stable=True)]
        order = order[labels[order].argsort(stable=True)]
        sizes = labels[order].unique_consecutive(return_counts=True)[1]
        starts = (sizes.cumsum(0) - sizes).repeat_interleave(sizes)
        kept = order[torch.arange(len(order), device=labels.device) - starts < num_per_class]
    return kept[index[kept].argsort()]
