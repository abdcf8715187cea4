"""NSD's stimulus set: 73,000 images in one HDF5 file of 37 GB, read when they are needed."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Unpack

import numpy as np

from neuroalign.data.nsd.layout import NSDError, NSDPaths
from neuroalign.data.nsd.opening import Access, open_nsd
from neuroalign.data.nsd.tree import Tree, dataset_of
from neuroalign.moved import former_keywords

__all__ = ["NSDImages"]


class NSDImages:
    """NSD's stimulus set, read when it is needed: ``images[rows]`` is uint8 (stimulus, height, width, channel).

    The file is opened once in each process; an open file is never passed to another process.

    Args:
        root: The folder that holds ``nsddata_stimuli``, or a URL.
        **access: For a URL, options of :func:`open_nsd`; images are then read one by one through the network.

    Raises:
        FileNotFoundError: If the file of the stimulus set is missing.
        NSDError: If it can't be read, or has another layout.
    """

    @former_keywords(cache="download_folder")
    def __init__(self, root: str | os.PathLike[str] | Tree, **access: Unpack[Access]) -> None:
        self.tree = open_nsd(root, **access)
        self.path = NSDPaths(self.tree.root, 1).stimuli
        if not self.tree.exists(self.path):
            raise FileNotFoundError(f"no file {self.path}")
        self._open: tuple[int, Any] | None = None
        brick = self._brick()
        shape = brick.shape
        if len(shape) != 4 or shape[3] != 3:
            raise NSDError(f"imgBrick of {self.path} has shape {shape}, not (image, height, width, 3)")
        if brick.dtype != np.uint8:
            raise NSDError(f"imgBrick of {self.path} holds {brick.dtype}; NSD's holds uint8")
        self.shape: tuple[int, ...] = shape

    def _brick(self) -> Any:
        import h5py

        if self._open is None or self._open[0] != os.getpid():
            with self.tree.reading(self.path):
                # Room for a chunk of many images, in case the file has such chunks.
                file = h5py.File(self.tree.open(self.path), rdcc_nbytes=64 * 2**20)
                self._open = (os.getpid(), dataset_of(file, "imgBrick", self.path))
        return self._open[1]

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Sequence[int] | np.ndarray) -> np.ndarray:
        rows = np.asarray(rows, dtype=np.int64)
        if len(rows) and not 0 <= rows.min() <= rows.max() < len(self):
            raise IndexError(f"images are 0 to {len(self) - 1}; got {rows.min()} to {rows.max()}")
        unique, inverse = np.unique(rows, return_inverse=True)
        images = np.empty((len(unique), *self.shape[1:]), dtype=np.uint8)
        with self.tree.reading(self.path):
            brick = self._brick()
            for i, row in enumerate(unique.tolist()):  # HDF5 takes nine times as long with one list of rows
                brick.read_direct(images, np.s_[row], np.s_[i])
        return images[inverse]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": None}
