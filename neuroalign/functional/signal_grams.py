"""Inner products of the signal in responses, estimated without noise from two independent measurements."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["signal_gram"]


def signal_gram(
    first: Float[Tensor, "stimulus voxel"], second: Float[Tensor, "stimulus voxel"], *, shrink: bool = True
) -> Float[Tensor, "stimulus stimulus"]:
    r"""Inner products between stimuli of the signal that two noisy measurements share, about the mean over stimuli.

    The noise of independent measurements has no inner product on average, so that
    :math:`K = (X_1X_2^\top + X_2X_1^\top)/2` is unbiased. But single entries stay noisy, and noise spreads the
    eigenvalues to both sides of zero, up to about :math:`\epsilon`, the size of the most negative one. With ``shrink``, the
    eigenvalues up to :math:`\epsilon` are set to zero and the others to :math:`\sqrt{\lambda^2-\epsilon^2}`, the
    optimal value for a signal of few dimensions in white noise. The result is then a true Gram matrix, from which
    :class:`ManifoldStatistics` and with it capacity can be computed.

    Args:
        first: (stimulus, voxel), for instance the mean of odd trials.
        second: (stimulus, voxel), for instance the mean of even trials.
        shrink: Whether to shrink the eigenvalues. False returns K itself: unbiased for quadratic measures such as
            distances, but not positive semidefinite.

    Returns:
        (stimulus, stimulus), in float64.

    Raises:
        ValueError: If shapes differ or values are NaN or infinite.

    Example:
        >>> signal = torch.tensor([[2.0, 0.0], [-2.0, 0.0]])
        >>> signal_gram(signal, signal).round()
        tensor([[ 4., -4.],
                [-4.,  4.]], dtype=torch.float64)

    Source:
        Walther et al. 2016, *NeuroImage* 137:188 (cross-validated distances); Gavish and Donoho 2017, *IEEE Transactions on
        Information Theory* 63:2137 (optimal shrinkage).
    """
    if first.shape != second.shape or first.ndim != 2:
        raise ValueError(
            f"both measurements must be (stimulus, voxel) alike; got {tuple(first.shape)} and {tuple(second.shape)}"
        )
    if not bool(first.isfinite().all() and second.isfinite().all()):
        raise ValueError("responses hold NaN or infinite values; drop those voxels or stimuli first")
    one, two = (x.double() - x.double().mean(0) for x in (first, second))
    k = one @ two.T
    k = (k + k.T) / 2
    return shrunk(k) if shrink else k


def shrunk(gram: Float[Tensor, "stimulus stimulus"]) -> Float[Tensor, "stimulus stimulus"]:
    """Shrink the eigenvalues of a symmetric cross product (stimulus, stimulus) as :func:`signal_gram` does."""
    values, vectors = torch.linalg.eigh(gram)
    edge = values[0].clamp_max(0)
    values = torch.where(values > -edge, (values.square() - edge.square()).clamp_min(0).sqrt(), 0)
    k = (vectors * values) @ vectors.T
    result: Tensor = (k + k.T) / 2
    return result
