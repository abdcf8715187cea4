"""Principal components of responses."""

from __future__ import annotations

import numpy as np
import torch

from neuroalign.functional.directions import num_leading

__all__: list[str] = []


def principal_components(values: np.ndarray, variance: float) -> tuple[np.ndarray, np.ndarray]:
    """The mean of the rows, and the leading principal components that hold a share of the variance.

    Args:
        values: (row, voxel), without missing values.
        variance: Share of the variance to hold, in (0, 1].

    Returns:
        The mean (voxel,) in float64, and the components (component, voxel), at least one, the strongest first.

    Raises:
        ValueError: If the share is not in (0, 1].

    Example:
        >>> values = np.array([[2.0, 0.0], [-2.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
        >>> principal_components(values, 0.7)[1].tolist()
        [[1.0, 0.0]]
    """
    if not 0 < variance <= 1:
        raise ValueError(f"variance must be in (0, 1]; got {variance}")
    mean = values.mean(0, dtype=np.float64)
    _, s, vh = np.linalg.svd(values - mean, full_matrices=False)
    rank = max(1, num_leading(torch.from_numpy(s), variance))
    # The sign of a component is arbitrary; its largest loading is made positive, so that runs agree.
    return mean, vh[:rank] * np.sign(vh[np.arange(rank), np.abs(vh[:rank]).argmax(1)])[:, None]


def on_components(values: np.ndarray, mean: np.ndarray, components: np.ndarray) -> np.ndarray:
    """Project rows (row, voxel) on components (component, voxel) after the mean (voxel,) is subtracted: float32."""
    return ((values - mean) @ components.T).astype(np.float32)
