"""Images with the responses of several subjects side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from neuroalign.data.images import ArrayDataset
from neuroalign.data.responses import Responses

__all__: list[str] = []


def columns_of_heads(roi: Mapping[int, np.ndarray]) -> dict[str, list[int]]:
    """The columns of the joined responses that belong to each head.

    Args:
        roi: By subject (voxel,) the region of each voxel; the subjects' voxels stand side by side in this order.

    Returns:
        By head, "V4" of one subject or "subj01/V4" of several, its columns.

    Example:
        >>> columns_of_heads({1: np.array(["V1", "V4", "V4"]), 2: np.array(["V4"])})
        {'subj01/V1': [0], 'subj01/V4': [1, 2], 'subj02/V4': [3]}
    """
    columns: dict[str, list[int]] = {}
    start = 0
    for subject, regions in roi.items():
        for name in dict.fromkeys(map(str, regions)):
            head = name if len(roi) == 1 else f"subj{subject:02d}/{name}"
            columns[head] = (np.flatnonzero(regions == name) + start).tolist()
        start += len(regions)
    return columns


class JoinedResponses(ArrayDataset):
    """One row per image with the responses of every subject that saw it; a batch is put together when it is asked for.

    Args:
        images: Images indexed by stimulus, such as :class:`neuroalign.data.NSDImages`.
        parts: The responses of each subject, averaged over repeats.
        image_size: Height and width to resize to; None leaves images as they are.
        **columns: (image,) further columns of the batches.
    """

    def __init__(self, images: Any, parts: Sequence[Responses], image_size: int | None, **columns: Tensor) -> None:
        stimulus = np.unique(np.concatenate([part.stimulus for part in parts]))
        columns["stimulus"] = torch.from_numpy(stimulus)
        super().__init__(images, image_rows=stimulus, image_size=image_size, **columns)
        self.values = [part.values for part in parts]
        self.rows = [rows_of(part.stimulus, stimulus) for part in parts]

    def _columns_of(self, indices: Sequence[int]) -> dict[str, Tensor]:
        """The rows of all columns but the images, with the subjects' responses side by side."""
        blocks = []
        for values, rows in zip(self.values, self.rows):
            place = rows[np.asarray(indices)]
            blocks.append(np.where((place >= 0)[:, None], values[place], np.float32(np.nan)))
        return {**super()._columns_of(indices), "response": torch.from_numpy(np.concatenate(blocks, 1))}


def rows_of(have: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """The row of each wanted stimulus.

    Args:
        have: (row,) the stimulus of each row, all different.
        wanted: (stimulus,).

    Returns:
        (stimulus,) rows, -1 where there is none.

    Example:
        >>> rows_of(np.array([7, 3]), np.array([3, 5, 7])).tolist()
        [1, -1, 0]
    """
    order = np.argsort(have)
    place = np.searchsorted(have[order], wanted).clip(max=len(have) - 1)
    rows = order[place]
    return np.where(have[rows] == wanted, rows, -1)
