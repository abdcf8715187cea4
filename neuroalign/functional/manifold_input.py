"""Input of the measures of manifolds: a list with one cloud of points per manifold, or features with labels."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Int
from torch import Tensor

from neuroalign.functional.checks import check_features

__all__: list[str] = []


def stack_manifolds(
    manifolds: Sequence[Tensor] | Tensor, labels: Int[Tensor, " stimulus"] | None
) -> tuple[Tensor, Tensor, int]:
    """Features (stimulus, feature), the number of the manifold of each row, from 0, and the number of manifolds.

    Raises:
        TypeError: If features are not floating point.
        ValueError: If labels are missing beside features or given beside a list, shapes don't match, a manifold is empty,
            there are fewer than two, or there are no columns.
    """
    if isinstance(manifolds, Tensor):
        if labels is None:
            raise ValueError(
                "features need labels (stimulus,); or pass a list with one (point, feature) tensor per manifold"
            )
        check_features(manifolds, labels)
        present, owner = labels.unique(return_inverse=True)
        features, num = manifolds, len(present)
    else:
        if labels is not None:
            raise ValueError("labels belong to features (stimulus, feature); a list already says which point is whose")
        num = len(manifolds)
        if num >= 2:
            features, owner = _joined(manifolds)
    if num < 2:
        raise ValueError(f"the geometry of manifolds needs at least two classes; got {num}")
    if not features.shape[1]:
        raise ValueError("features have no columns")
    return features.detach(), owner, num


def _joined(manifolds: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    width = manifolds[0].shape[-1]
    for i, points in enumerate(manifolds):
        if points.ndim != 2:
            raise ValueError(f"manifold {i} must be (point, feature); got shape {tuple(points.shape)}")
        if not len(points):
            raise ValueError(f"manifold {i} is empty; leave it out")
        if points.shape[1] != width:
            raise ValueError(f"manifold {i} has {points.shape[1]} features, the first {width}")
    sizes = torch.tensor([len(points) for points in manifolds], device=manifolds[0].device)
    owner = torch.arange(len(sizes), device=sizes.device).repeat_interleave(sizes)
    features = torch.cat(list(manifolds))
    check_features(features, owner)
    return features, owner


def result_dtype(features: Tensor) -> torch.dtype:
    """Dtype of results that are computed in float64: float64 for float64 features, else float32."""
    return torch.float64 if features.dtype == torch.float64 else torch.float32
