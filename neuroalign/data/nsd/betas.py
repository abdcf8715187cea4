"""Reading one session's betas from four spaces and four kinds of file, with their units and marks of invalid voxels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from neuroalign.data.gzip_files import opened_image
from neuroalign.data.nsd.layout import HEMISPHERES, PSC_SCALE, TRIALS_PER_SESSION, NSDError, NSDPaths, readable
from neuroalign.data.nsd.tree import Tree
from neuroalign.data.nsd.voxels import Voxels
from neuroalign.data.standardization import refuse_infinite

__all__: list[str] = []

_BLOCK = 64  # voxels converted at once, which stay in the processor's cache


def read_session(tree: Tree, paths: NSDPaths, session: int, voxels: Voxels) -> np.ndarray:
    """One session's responses (750, voxel) in percent signal change; an invalid voxel is NaN in all trials.

    Raises:
        NSDError: If the file is damaged, was replaced while it was read, or has another shape, type or scale.
    """
    files = tree.session_files(paths, session)
    if files is None:
        raise NSDError(f"session {session} is missing in {paths.beta_folder}")
    if not paths.is_surface:
        return _percent(_read_volume(tree, files[0], voxels))
    out = np.empty((TRIALS_PER_SESSION, len(voxels.index)), dtype=np.float32)
    for hemisphere in range(len(HEMISPHERES)):
        mine = voxels.index[:, 0] == hemisphere
        if mine.any():
            out[:, mine] = _read_surface(tree, files[hemisphere], voxels.index[mine, 1], voxels.shape[hemisphere])
    return out


def _percent(raw: np.ndarray) -> np.ndarray:
    """Percent signal change from int16 betas. These have no NaN: an invalid voxel is 0 in all trials of the session."""
    values = np.empty(raw.shape, dtype=np.float32)
    for start in range(0, raw.shape[1], _BLOCK):  # the raw columns may be contiguous, the result's rows are
        columns = slice(start, start + _BLOCK)
        percent = raw[:, columns].astype(np.float32)
        percent /= np.float32(PSC_SCALE)
        values[:, columns] = percent
    values[:, ~raw.any(0)] = np.nan
    return values


def _read_volume(tree: Tree, path: Path, voxels: Voxels) -> np.ndarray:
    if path.suffix == ".hdf5":
        # MATLAB wrote (x, y, z, trial); HDF5 for Python reverses the axes.
        return _hdf5(tree, path, voxels.index[:, ::-1], (TRIALS_PER_SESSION, *voxels.shape[::-1]))
    tree.fetch([path])
    with readable(path), opened_image(path) as image:
        proxy: Any = image.dataobj
        if (proxy.slope, proxy.inter) != (1, 0):
            raise NSDError(f"{path} scales its values by {proxy.slope}; NSD's files don't, so its units are unknown")
        _check(path, proxy.shape, (*voxels.shape, TRIALS_PER_SESSION), proxy.dtype, np.int16)
        flat = np.ravel_multi_index(tuple(voxels.index.T), voxels.shape, order="F")
        out = np.empty((TRIALS_PER_SESSION, len(flat)), dtype=np.int16)
        for trial in range(TRIALS_PER_SESSION):  # one volume in memory at a time; the file is read forward once
            out[trial] = np.asanyarray(proxy[..., trial]).ravel(order="F")[flat]
        return out


def _read_surface(tree: Tree, path: Path, vertices: np.ndarray, num_vertices: int) -> np.ndarray:
    if path.suffix == ".hdf5":  # nativesurface
        return _percent(_hdf5(tree, path, vertices[:, None], (TRIALS_PER_SESSION, num_vertices)))
    tree.fetch([path])
    with readable(path), opened_image(path) as image:
        proxy: Any = image.dataobj
        _check(path, proxy.shape, (num_vertices, 1, 1, TRIALS_PER_SESSION), proxy.dtype, np.float32)
        # fsaverage holds floats that are percent signal change already, and NaN where a vertex is invalid.
        values = np.asanyarray(proxy)[vertices, 0, 0].T.astype(np.float32)
    refuse_infinite(values, str(path))
    return values


def _hdf5(tree: Tree, path: Path, places: np.ndarray, expected: tuple[int, ...]) -> np.ndarray:
    return tree.columns(
        path, "betas", places, check=lambda shape, dtype: _check(path, shape, expected, dtype, np.int16)
    )


def _check(path: Path, got: tuple[int, ...], expected: tuple[int, ...], dtype: Any, wanted: Any) -> None:
    if tuple(got) != tuple(expected):
        raise NSDError(f"{path} has shape {tuple(got)}; with this subject's region files it must be {tuple(expected)}")
    if np.dtype(dtype).newbyteorder("=") != np.dtype(wanted):
        unit = "int16, percent signal change times 300" if wanted is np.int16 else "float32, percent signal change"
        raise NSDError(f"{path} holds {dtype}; NSD's files of this kind hold {unit}")
