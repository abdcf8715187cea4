"""Maximum manifold capacity representations, view by view."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def mmcr(embeddings: Array, lmbda: float = 0.0) -> float:
    """lmbda * mean_b |Z_b|_* - |C|_*: embeddings (B, views, channels), rows of unit length, C_b = mean over views.

    |.|_* is the sum of the singular values; the centroids are not normalised again.
    """
    embeddings = np.asarray(embeddings, dtype=np.float64)
    local = 0.0
    centroids = []
    for views in embeddings:
        unit = np.stack([view / np.linalg.norm(view) for view in views])
        local += float(np.sum(np.linalg.svd(unit, compute_uv=False))) / len(embeddings)
        centroids.append(unit.mean(axis=0))
    return lmbda * local - float(np.sum(np.linalg.svd(np.stack(centroids), compute_uv=False)))
