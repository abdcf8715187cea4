"""Norms that bound a perturbation: lengths, dual lengths and unit steps.

"linf" is the largest change of a pixel value, "l2" the Euclidean length over channel, height and width.
"""

from __future__ import annotations

from typing import Literal, cast, get_args

from jaxtyping import Float
from torch import Tensor

from neuroalign.functional.checks import check_choice

__all__: list[str] = []

Norm = Literal["linf", "l2"]
NORMS: tuple[Norm, ...] = get_args(Norm)


def check_norm(norm: str) -> Norm:
    """Return the norm if it is known.

    Raises:
        ValueError: If it is not "linf" or "l2".

    Example:
        >>> check_norm("l2")
        'l2'
    """
    check_choice("norm", norm, NORMS)
    return cast(Norm, norm)


def length(delta: Float[Tensor, "stimulus channel height width"], norm: Norm) -> Float[Tensor, "stimulus 1 1 1"]:
    """Length of each perturbation: (stimulus, channel, height, width) -> (stimulus, 1, 1, 1).

    Example:
        >>> delta = torch.tensor([3.0, -4.0]).reshape(1, 1, 1, 2)
        >>> float(length(delta, "linf")), float(length(delta, "l2"))
        (4.0, 5.0)
    """
    flat = delta.flatten(1)
    size = flat.abs().amax(1) if norm == "linf" else flat.norm(dim=1)
    return size[:, None, None, None]


def dual_length(
    gradient: Float[Tensor, "stimulus channel height width"], norm: Norm
) -> Float[Tensor, "stimulus 1 1 1"]:
    """Length of each gradient in the dual norm: the first-order increase of the loss by the best step of length 1.

    Args:
        gradient: (stimulus, channel, height, width).
        norm: Norm of the step, not of the gradient.

    Returns:
        (stimulus, 1, 1, 1).

    Example:
        >>> float(dual_length(torch.tensor([3.0, -4.0]).reshape(1, 1, 1, 2), "linf"))
        7.0
    """
    flat = gradient.flatten(1)
    size = flat.abs().sum(1) if norm == "linf" else flat.norm(dim=1)
    return size[:, None, None, None]


def steepest(
    gradient: Float[Tensor, "stimulus channel height width"], norm: Norm
) -> Float[Tensor, "stimulus channel height width"]:
    """The step of length 1 that raises the loss of each image most; 0 where the gradient is 0.

    Args:
        gradient: (stimulus, channel, height, width).
        norm: Norm of the step.

    Returns:
        (stimulus, channel, height, width).

    Example:
        >>> steepest(torch.tensor([3.0, -4.0]).reshape(1, 1, 1, 2), "l2").flatten()
        tensor([ 0.6000, -0.8000])
    """
    return gradient.sign() if norm == "linf" else gradient / length(gradient, "l2").clamp_min(1e-30)
