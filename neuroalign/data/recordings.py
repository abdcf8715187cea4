"""Recordings of any kind from the files in which labs keep arrays: npy, npz, mat, CSV, HDF5."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from neuroalign.array_headers import array_headers
from neuroalign.data.responses import Responses
from neuroalign.data.responses_file import FORMAT

_AXES = {"stimulus", "repeat", "voxel"}


def read_recording(
    path: str | os.PathLike[str],
    *,
    axes: str = "stimulus voxel",
    key: str | None = None,
    stimulus: Sequence[int] | np.ndarray | None = None,
    roi: Sequence[str] | str = "unknown",
    averaged: bool = False,
) -> Responses:
    """Responses from an array in a file, a row a trial.

    Args:
        path: .npy, .npz, .mat (of any version), .h5 or .hdf5 (other than our own), .csv or .tsv. Of a table every column is
            a voxel, but "stimulus" and "session", which say what the rows are.
        axes: What the array's axes are, in their order: "stimulus voxel", "voxel stimulus", "voxel stimulus repeat", ... With
            repeats every repeat becomes a row; those that are NaN throughout are left out.
        key: Name of the array, where the file holds several.
        stimulus: (stimulus,) the images' identity; default 0, 1, 2, ...
        roi: Region of each voxel, or of all.
        averaged: Whether the values are means over repeats already; averaging again is then refused.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file holds no such array (the message lists what it holds), or its axes are others.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "neurons.npy"
        >>> np.save(path, np.random.randn(30, 100, 4))
        >>> read_recording(path, axes="voxel stimulus repeat", roi="V4")
        Responses(400 rows, 30 voxels, 100 stimuli, roi: V4)
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"no file {path}")
    columns: dict[str, np.ndarray] = {}
    if path.suffix in (".csv", ".tsv"):
        values, columns = _table(path)
        axes = "stimulus voxel"
    else:
        values = _array(path, key)
    if stimulus is None:
        stimulus = columns.get("stimulus")
    return from_axes(
        values,
        axes,
        stimulus=stimulus,
        session=columns.get("session"),
        roi=roi,
        history=("average_repeats",) if averaged else (),
        info={"dataset": path.name},
    )


def from_axes(
    values: np.ndarray, axes: str, *, stimulus: Sequence[int] | np.ndarray | None = None, **fields: Any
) -> Responses:
    """Responses from an array whose axes are named, a row a trial.

    Args:
        values: With two or three axes.
        axes: Their names in order, of "stimulus", "voxel" and, if there is a third, "repeat".
        stimulus: (stimulus,) the images' identity; default 0, 1, 2, ...
        **fields: As in :meth:`Responses.from_arrays`.

    Raises:
        ValueError: If the names are not these, or not as many as there are axes.

    Example:
        >>> from_axes(np.random.randn(4, 10, 3), "voxel stimulus repeat")
        Responses(30 rows, 4 voxels, 10 stimuli, roi: unknown)
    """
    values = np.asarray(values, dtype=np.float32)
    names = axes.split() if isinstance(axes, str) else list(axes)
    if not {"stimulus", "voxel"} <= set(names) <= _AXES or len(set(names)) != len(names) or len(names) != values.ndim:
        raise ValueError(f"axes name the {values.ndim} axes of an array of shape {values.shape}, of 'stimulus', 'voxel' and "
                         f"'repeat', such as 'voxel stimulus repeat'; got {axes!r}")  # fmt: skip
    values = np.moveaxis(values, [names.index(n) for n in names if n == "stimulus"], [0])
    names = ["stimulus", *(n for n in names if n != "stimulus")]
    identity = np.arange(len(values)) if stimulus is None else np.asarray(stimulus)
    if len(identity) != len(values):
        raise ValueError(f"{len(values)} stimuli in the array, {len(identity)} named")
    if len(names) == 2:
        return Responses.from_arrays(values, stimulus=identity, **fields)
    if names[1] == "voxel":
        values = values.swapaxes(1, 2)
    trials = values.reshape(-1, values.shape[2])
    kept = ~np.isnan(trials).all(1)
    return Responses.from_arrays(trials[kept], stimulus=np.repeat(identity, values.shape[1])[kept], **fields)


def _table(path: Path) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    import pandas as pd

    table = pd.read_csv(path, sep="\t" if path.suffix == ".tsv" else ",")
    columns = {name: table.pop(name).to_numpy(dtype=np.int64) for name in ("stimulus", "session") if name in table}
    wrong = [str(name) for name in table.columns if not pd.api.types.is_numeric_dtype(table[name])]
    if wrong:
        raise ValueError(
            f"{path}: columns {wrong} are not numbers; every column but 'stimulus' and 'session' is a voxel"
        )
    return table.to_numpy(dtype=np.float32), columns


def _array(path: Path, key: str | None) -> np.ndarray:
    if path.suffix == ".npy":
        array_headers(path)
        return np.load(path)
    if path.suffix == ".npz":
        shapes = {name: shape for name, (shape, _) in array_headers(path).items()}
        with np.load(path) as file:
            return file[_choose(path, key, shapes)]
    if path.suffix == ".mat":
        from scipy.io import loadmat, whosmat

        try:
            return loadmat(path)[_choose(path, key, {name: shape for name, shape, _ in whosmat(path)})]
        except NotImplementedError:  # MATLAB 7.3 is HDF5, with the axes reversed
            return _hdf5(path, key).T
    if path.suffix in (".h5", ".hdf5"):
        return _hdf5(path, key)
    raise ValueError(f"{path.name}: recordings are read from .npy, .npz, .mat, .h5, .hdf5, .csv and .tsv")


def _hdf5(path: Path, key: str | None) -> np.ndarray:
    import h5py

    with h5py.File(path) as file:
        if file.attrs.get("format") == FORMAT:
            raise ValueError(f"{path} is a file of Responses: Responses.load reads it")
        arrays: dict[str, tuple[int, ...]] = {}
        file.visititems(
            lambda name, item: arrays.update({name: item.shape}) if isinstance(item, h5py.Dataset) else None
        )
        return file[_choose(path, key, arrays)][()]


def _choose(path: Path, key: str | None, arrays: dict[str, tuple[int, ...]]) -> str:
    large = [name for name, shape in arrays.items() if len(shape) in (2, 3) and min(shape, default=0) > 1]
    if key is None and len(large) == 1:
        return large[0]
    if key is None or key not in arrays:
        wanted = "name one with key" if key is None else f"there is no {key!r}"
        raise ValueError(f"{path} holds {arrays}: {wanted}")
    return key
