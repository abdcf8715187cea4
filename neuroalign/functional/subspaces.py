"""Principal angles between subspaces, and the overlap of the principal directions of classes."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from neuroalign.functional.checks import check_features
from neuroalign.functional.directions import leading_directions
from neuroalign.functional.variation import power_of_two

__all__ = ["principal_angles", "subspace_overlap"]


def principal_angles(
    u: Float[Tensor, "feature direction"], v: Float[Tensor, "feature other_direction"]
) -> Float[Tensor, " angle"]:
    """Angles between the column spans of two matrices, smallest first, in radians between 0 and pi / 2.

    Args:
        u: (feature, direction).
        v: (feature, direction).

    Returns:
        (angle,), as many as the smaller of the two ranks. Columns that depend linearly on others are left out.

    Raises:
        ValueError: If the widths differ, or a matrix is zero or holds NaN.

    Example:
        >>> principal_angles(torch.eye(3)[:, :1], torch.tensor([[1.0], [1.0], [0.0]]))
        tensor([0.7854])

    Source:
        Bjoerck and Golub 1973, *Mathematics of Computation* 27:579.
    """
    if u.ndim != 2 or v.ndim != 2 or u.shape[0] != v.shape[0]:
        raise ValueError(
            f"u and v must be (feature, direction) of equal width; got {tuple(u.shape)} and {tuple(v.shape)}"
        )
    first, second = _basis(u), _basis(v)
    cosines = torch.linalg.svdvals(first.T @ second).clamp_max(1)
    # Small angles are computed from their sines, because rounding removes them from a cosine near 1.
    small, large = (first, second) if first.shape[1] <= second.shape[1] else (second, first)
    sines = torch.linalg.svdvals(small - large @ (large.T @ small)).flip(0).clamp_max(1)
    return torch.where(cosines > 0.5**0.5, sines.asin(), cosines.acos())


def _basis(matrix: Tensor) -> Tensor:
    if not bool(matrix.isfinite().all()):
        raise ValueError("a matrix holds NaN or infinite values")
    u, s, _ = torch.linalg.svd(matrix, full_matrices=False)
    kept = s > max(matrix.shape) * torch.finfo(s.dtype).eps * s[0]
    if not bool(kept.any()):
        raise ValueError("a zero matrix spans no subspace")
    result: Tensor = u[:, kept]
    return result


def subspace_overlap(
    features: Float[Tensor, "stimulus feature"], labels: Int[Tensor, " stimulus"], *, variance: float = 0.9
) -> Float[Tensor, "class class"]:
    r"""Overlap of the principal directions of two classes: :math:`\mathrm{mean}\cos^2` of their principal angles.

    The directions of a class are those that hold ``variance`` of the variance about its centre; the mean runs over as many
    angles as the smaller of the two has directions. 1 if one subspace contains the other, 0 if they are orthogonal;
    random subspaces of ranks r and s in N dimensions have max(r, s) / N.

    Args:
        features: (stimulus, feature).
        labels: (stimulus,), integers.
        variance: Share of each class's variance that its directions must hold, in (0, 1].

    Returns:
        (class, class), symmetric with 1 on the diagonal, in label order; NaN for a class without extent.

    Raises:
        ValueError: If shapes don't match, ``variance`` is out of range, or values are NaN or infinite.

    Example:
        >>> x = torch.tensor(
        ...     [[-1.0, 0.0], [1.0, 0.0], [0.0, -1.0], [0.0, 1.0], [5.0, 4.0], [6.0, 4.0]]
        ... )
        >>> subspace_overlap(x, torch.tensor([0, 0, 1, 1, 2, 2])).round()
        tensor([[1., 0., 1.],
                [0., 1., 0.],
                [1., 0., 1.]])
    """
    check_features(features, labels)
    if not 0 < variance <= 1:
        raise ValueError(f"variance must be in (0, 1]; got {variance}")
    if not bool(features.isfinite().all()):
        raise ValueError("features hold NaN or infinite values")
    bases = []
    features = features / power_of_two(features)
    for label in labels.unique():
        x = features[labels == label]
        bases.append(leading_directions(x - x.mean(0), variance, size=x.abs().max()))
    ranks = torch.tensor([len(b) for b in bases], device=features.device)
    joint = torch.cat(bases)
    owner = torch.nn.functional.one_hot(
        torch.arange(len(ranks), device=ranks.device).repeat_interleave(ranks), len(ranks)
    )
    shared = owner.T.to(joint) @ (joint @ joint.T).square() @ owner.to(joint)
    return shared / torch.minimum(ranks[:, None], ranks)
