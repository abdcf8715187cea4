"""Objectives that attacks increase: one value per sample, computed from logits and labels."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import Tensor

from neuroalign.functional.logits import cross_entropy, margin
from neuroalign.types import unknown

__all__: list[str] = []

Objective = Callable[..., Tensor]  # function of logits and labels, and of targets if it is targeted


def reached(logits: Tensor, labels: Tensor, targets: Tensor | None = None) -> Tensor:
    """Whether an attack has succeeded: the prediction is not the label or, if targets are given, it is the target.

    Args:
        logits: (stimulus, class).
        labels: (stimulus,) int64.
        targets: (stimulus,) int64.

    Returns:
        (stimulus,) bool.

    Example:
        >>> logits, labels = torch.tensor([[0.0, 1.0, 2.0]]), torch.tensor([0])
        >>> reached(logits, labels), reached(logits, labels, targets=torch.tensor([1]))
        (tensor([True]), tensor([False]))
    """
    predicted = logits.argmax(1)
    return predicted != labels if targets is None else predicted == targets


def difference_of_logits_ratio(logits: Tensor, labels: Tensor) -> Tensor:
    """The margin divided by the first minus the third logit (Croce & Hein 2020, eq. 6): invariant to scale and shift.

    Raises:
        ValueError: If there are fewer than 3 classes.
    """
    if logits.shape[1] < 3:
        raise ValueError(f"the DLR loss needs at least 3 classes; these logits have {logits.shape[1]}: use the margin")
    top = logits.topk(3, dim=1).values
    return margin(logits, labels) / (top[:, 0] - top[:, 2]).clamp_min(1e-12)


def targeted_margin(logits: Tensor, labels: Tensor, targets: Tensor) -> Tensor:
    """The target's logit minus the largest other: above 0 if the image is predicted as its target.

    Carlini & Wagner 2017 (arXiv 1608.04644), the sixth of their functions with the opposite sign. ``labels`` are not used.

    Example:
        >>> targeted_margin(
        ...     torch.tensor([[3.0, 1.0, 2.0]]), torch.tensor([0]), torch.tensor([2])
        ... )
        tensor([-1.])
    """
    return -margin(logits, targets)


def targeted_cross_entropy(logits: Tensor, labels: Tensor, targets: Tensor) -> Tensor:
    """Minus the cross-entropy of the target, so that an attack increases it; ``labels`` are not used."""
    return -cross_entropy(logits, targets)


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
TARGETED_OBJECTIVES: dict[str, Objective] = {
    "margin": targeted_margin,
    "ce": targeted_cross_entropy,
    "dlr": targeted_difference_of_logits_ratio,
}


def objective(name: str, *, targeted: bool = False) -> Objective:
    """An objective by its name; a targeted one is a function of logits, labels and targets.

    Raises:
        ValueError: If there is no objective of this name.
    """
    if name not in OBJECTIVES:
        raise ValueError(f"{unknown('attack loss', name, OBJECTIVES)} (known: {', '.join(OBJECTIVES)})")
    return (TARGETED_OBJECTIVES if targeted else OBJECTIVES)[name]


def of_logits(loss: Objective, labels: Tensor, targets: Tensor | None) -> Callable[[Tensor], Tensor]:
    """An objective as a function of the logits alone."""
    return partial(loss, labels=labels) if targets is None else partial(loss, labels=labels, targets=targets)
