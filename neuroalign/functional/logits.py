"""Margin and cross-entropy of each image, from the logits of a classifier."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

__all__: list[str] = []


def margin(logits: Float[Tensor, "stimulus class"], labels: Int[Tensor, " stimulus"]) -> Float[Tensor, " stimulus"]:
    """Largest other logit minus the true one: above 0 where the image is misclassified.

    Its gradient does not vanish for a confident network, as that of cross-entropy does.

    Args:
        logits: (stimulus, class).
        labels: (stimulus,) int64.

    Returns:
        (stimulus,).

    Example:
        >>> margin(torch.tensor([[3.0, 1.0, 2.0]]), torch.tensor([0]))
        tensor([-1.])
    """
    own = logits.gather(1, labels[:, None])[:, 0]
    return logits.scatter(1, labels[:, None], -torch.inf).amax(1) - own


def cross_entropy(
    logits: Float[Tensor, "stimulus class"], labels: Int[Tensor, " stimulus"]
) -> Float[Tensor, " stimulus"]:
    """Cross-entropy of each image; see :func:`margin` for shapes.

    Example:
        >>> cross_entropy(torch.zeros(1, 4), torch.tensor([0])).exp()
        tensor([4.])
    """
    return F.cross_entropy(logits, labels, reduction="none")
