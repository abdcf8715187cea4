"""What an attack increases: one value a sample, of logits and labels."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from neuroalign.types import unknown

Objective = Callable[..., Tensor]  # of logits and labels, and of targets where it has any


def margin(logits: Tensor, labels: Tensor) -> Tensor:
    """Largest other logit minus the true one: above 0 where the image is misclassified.

    Its gradient does not vanish for a confident network, as that of cross-entropy does.

    Args:
        logits: (stimulus, class).
        labels: (stimulus,) int64.

    Example:
        >>> margin(torch.tensor([[3.0, 1.0, 2.0]]), torch.tensor([0]))
        tensor([-1.])
    """
    own = logits.gather(1, labels[:, None])[:, 0]
    return logits.scatter(1, labels[:, None], -torch.inf).amax(1) - own


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of each sample; see :func:`margin` for shapes."""
    return F.cross_entropy(logits, labels, reduction="none")


def difference_of_logits_ratio(logits: Tensor, labels: Tensor) -> Tensor:
    """The margin over the distance of the first to the third logit (Croce & Hein 2020, eq. 6): free of scale and shift.

    Raises:
        ValueError: If there are fewer than 3 classes.
    """
    if logits.shape[1] < 3:
        raise ValueError(f"the DLR loss needs at least 3 classes; these logits have {logits.shape[1]}: use the margin")
    top = logits.topk(3, dim=1).values
    return margin(logits, labels) / (top[:, 0] - top[:, 2]).clamp_min(1e-12)


def targeted_difference_of_logits_ratio(logits: Tensor, labels: Tensor, targets: Tensor) -> Tensor:
    """The DLR loss toward a target class (Croce & Hein 2020, eq. 7).

    Args:
        logits: (stimulus, class).
        labels: (stimulus,) int64.
        targets: (stimulus,) int64, the class to reach.

    Raises:
        ValueError: If there are fewer than 4 classes.
    """
    if logits.shape[1] < 4:
        raise ValueError(f"the targeted DLR loss needs at least 4 classes; these logits have {logits.shape[1]}")
    top = logits.topk(4, dim=1).values
    own, other = (logits.gather(1, index[:, None])[:, 0] for index in (labels, targets))
    return (other - own) / (top[:, 0] - 0.5 * (top[:, 2] + top[:, 3])).clamp_min(1e-12)


OBJECTIVES: dict[str, Objective] = {"margin": margin, "ce": cross_entropy, "dlr": difference_of_logits_ratio}


def objective(name: str) -> Objective:
    """An objective by its name.

    Raises:
        ValueError: If there is none.
    """
    if name not in OBJECTIVES:
        raise ValueError(f"{unknown('attack loss', name, OBJECTIVES)} (known: {', '.join(OBJECTIVES)})")
    return OBJECTIVES[name]
