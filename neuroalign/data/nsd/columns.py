"""Reading columns of an HDF5 dataset at the price of its chunks, in which each column of NSD's files lies whole."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__: list[str] = []

# What h5py raises for a chunk that was never written, or that is larger in the file's index.
_NOT_PLAIN = (OSError, RuntimeError, ValueError)


def read_columns(dataset: Any, places: np.ndarray) -> np.ndarray:
    """Columns of an open dataset (trial, ...), read in the order of the file.

    Where each column is one chunk without compression or checksum, as in NSD's files, its bytes are copied from the file,
    which is faster than a selection. Everything else, and a chunk that was never written, is read by h5py's selection.

    Args:
        dataset: An open HDF5 dataset of numbers.
        places: (voxel, axis), in the order of the dataset's axes after the first.

    Returns:
        (trial, voxel) in the dataset's type; in memory each column is contiguous.

    Example:
        >>> import h5py, tempfile
        >>> with h5py.File(tempfile.mkdtemp() + "/betas.hdf5", "w") as file:
        ...     data = file.create_dataset(
        ...         "betas", data=np.arange(12).reshape(4, 3), chunks=(4, 1)
        ...     )
        ...     read_columns(data, np.array([[2], [0]])).tolist()
        [[2, 0], [5, 3], [8, 6], [11, 9]]
    """
    # Zeros: where a damaged index calls a chunk shorter, HDF5 says nothing and leaves the rest of the memory as it was.
    out = np.zeros((len(places), dataset.shape[0]), dtype=dataset.dtype)
    order = np.lexsort(places.T[::-1])
    read_chunk = dataset.id.read_direct_chunk if _is_chunk_a_column(dataset) else None
    in_bytes = out.view(np.uint8)
    for i, place in zip(order.tolist(), map(tuple, places[order].tolist())):
        if read_chunk is not None:
            try:
                read_chunk((0, *place), None, in_bytes[i])
                continue
            except _NOT_PLAIN:
                pass
        out[i] = dataset[(slice(None), *place)]  # also says what is wrong, if anything is
    return out.T


def _is_chunk_a_column(dataset: Any) -> bool:
    one_column = (dataset.shape[0], *[1] * (dataset.ndim - 1))
    plain = dataset.chunks == one_column and dataset.id.get_create_plist().get_nfilters() == 0
    return plain and dataset.dtype.kind in "iuf" and dataset.shape[0] > 0
