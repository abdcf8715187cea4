"""Training and validation rows, standardized by one computation of the training statistics, or in their own memory."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from neuroalign.data.responses import Responses
from neuroalign.data.responses_checks import check_same_voxels
from neuroalign.data.standardization import in_standard_deviations, moments, zscore

__all__: list[str] = []


def standardize_parts(*parts: Responses, reference: Responses, in_place: bool = False) -> tuple[Responses, ...]:
    """Standardize several sets of rows with the mean and standard deviation (ddof 0) of one reference, computed once.

    Args:
        *parts: Responses of the same voxels, such as training and validation.
        reference: The training rows.
        in_place: Whether to overwrite the values of the parts, which nobody else may hold; this saves a copy of them.

    Raises:
        ValueError: If the reference has other voxels than a part.
    """
    for part in parts:
        check_same_voxels(part.roi, reference.roi)
    mean, std = moments(reference.values)
    return tuple(
        replace(
            part,
            values=zscore(part.values, mean, std, part.values if in_place else None),
            info=in_standard_deviations(part.info),
        )
        for part in parts
    )


def keep_voxels(part: Responses, kept: np.ndarray) -> Responses:
    """Select voxels by a mask in the memory of the values, which nobody else may hold: :meth:`Responses.select` copies.

    Args:
        part: Responses whose values are contiguous.
        kept: (voxel,) bool.
    """
    if kept.all():
        return part
    of_voxels = part.rows(np.zeros(0, dtype=np.int64)).select(voxels=kept)
    names = ("roi", "noise_ceiling", "voxel_index", "vertex_index", "maps")
    valid = part.valid_repeats
    return replace(
        part,
        values=compact(part.values, kept),
        valid_repeats=None if valid is None else compact(valid, kept),
        **{name: getattr(of_voxels, name) for name in names},
    )


def compact(values: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """The kept columns of a contiguous array, moved to the beginning of its memory, which they overwrite.

    Example:
        >>> compact(np.arange(6.0).reshape(2, 3), np.array([True, False, True]))
        array([[0., 2.],
               [3., 5.]])
    """
    n, width = len(values), int(kept.sum())
    out = values.reshape(-1)[: n * width].reshape(n, width)
    for row in range(n):  # a row moves to the left, over rows that were moved already
        out[row] = values[row, kept]
    return out
