"""Convert images to the precision of a network's weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__: list[str] = []


def as_dtype_of(images: Tensor, module: nn.Module) -> Tensor:
    """Images in the dtype of a network's weights, if one is float32 and the other float64.

    Lower precisions are left to the Trainer or to autocast.

    Args:
        images: (stimulus, channel, height, width).
        module: The network.

    Example:
        >>> as_dtype_of(torch.rand(2, 3, 4, 4), nn.Linear(2, 2).double()).dtype
        torch.float64
    """
    full = (torch.float32, torch.float64)
    weight = next((p for p in module.parameters() if p.is_floating_point()), None)
    if weight is None or images.dtype not in full or weight.dtype not in full:
        return images
    return images.to(weight.dtype)
