"""Recordings of any kind from common files of arrays: npy, npz, mat, CSV, HDF5."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from neuroalign.data.array_files import damaged, load_member, load_numpy, member_shape
from neuroalign.data.fields import as_values, number_names
from neuroalign.data.readers import read_by, reader_of
from neuroalign.data.responses import Responses
from neuroalign.data.responses_file import FORMAT
from neuroalign.data.tables import numbers_of, read_table
from neuroalign.files import readable_size
from neuroalign.hdf5 import dataset, open_hdf5

__all__ = ["from_axes", "read_recording"]

_LARGEST = 2**33  # bytes of a sparse matrix when it is made dense
_AXES = {"stimulus", "repeat", "voxel"}
_DEFAULT = "stimulus voxel"
_ABOUT_ROWS = {
    "category", "class", "condition", "filename", "id", "image", "image_id", "image_name", "index", "label",
    "nsd_id", "nsdid", "onset", "rep", "repeat", "repetition", "run", "session_id", "stim", "stimulus_id",
    "stimulus_name", "stimuli", "subject", "subject_id", "time", "trial", "trial_id", "trial_type",
}  # fmt: skip


def read_recording(
    path: str | os.PathLike[str],
    *,
    axes: str = _DEFAULT,
    key: str | None = None,
    stimulus: Sequence[int] | np.ndarray | None = None,
    roi: Sequence[str] | str = "unknown",
    averaged: bool = False,
    missing: float | None = None,
    reader: str | None = None,
) -> Responses:
    """Read responses from an array in a file: one row per trial.

    Args:
        path: .npy, .npz, .mat (of any version), .h5 or .hdf5 (other than our own), .csv or .tsv. In a table every column is
            a voxel, except "stimulus" and "session", which describe the rows; see ``neuroalign.data.tables.read_table``.
            Other kinds are read if an installed package publishes a reader under the extension's name without the dot.
        axes: Names of the array's axes, in order: "stimulus voxel", "voxel stimulus", "voxel stimulus repeat", ... With
            repeats every repeat becomes a row; repeats in which every voxel is NaN are left out.
        key: Name of the array, if the file holds several.
        stimulus: (stimulus,) the images' identity; None means a table's column "stimulus", or 0, 1, 2, ... Names, such as
            those of image files, are numbered in sorted order, and kept in ``info["stimulus_id"]``.
        roi: Region of each voxel, or one region of all.
        averaged: Whether the values are already means over repeats; averaging again is then refused.
        missing: Value that stands for a missing response, such as 255 in counts of uint8; None means NaN only.
        reader: Name of a reader that another installed package publishes, which is imported then; None means that of the
            file's extension. If it returns :class:`Responses`, these are returned, and only ``key`` may be given with it; if
            it returns an array, the arguments describe that array.

    Raises:
        FileNotFoundError: If there is no such file.
        ImportError: If the package that publishes the reader can't be used, or two do.
        ValueError: If there is no such reader, or it fails; if the file holds no such array (the message lists its arrays)
            or is damaged, the array has other axes, its values are no real numbers or all missing, or stimuli are neither
            whole numbers nor names. The message names the file.

    Warns:
        UserWarning: If the first column of a table is the index that ``DataFrame.to_csv`` writes.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "neurons.npy"
        >>> np.save(path, np.random.randn(30, 100, 4))
        >>> read_recording(path, axes="voxel stimulus repeat", roi="V4")
        Responses(400 rows, 30 voxels, 100 stimuli, roi: V4)
    """
    path = Path(path)
    if not (path.is_file() if reader is None else path.exists()):
        raise FileNotFoundError(f"no file {path}")
    columns: dict[str, Any] = {}
    by = reader_of(path, reader)
    try:
        if by is not None:
            values = read_by(by, path, key)
            if isinstance(values, Responses):
                if stimulus is not None or (axes, roi, averaged, missing) != (_DEFAULT, "unknown", False, None):
                    raise ValueError(f"the reader {by!r} returns responses, which need no axes, stimulus, roi, averaged or "
                                     "missing")  # fmt: skip
                return values
        elif path.suffix.lower() in (".csv", ".tsv"):
            if axes.split() != ["stimulus", "voxel"]:
                raise ValueError(f"of a table the rows are stimuli and the columns voxels; got axes={axes!r}")
            values, columns = _table(path)
        else:
            values = _array(path, key)
        responses = from_axes(
            _without(as_values(values, str(path)), missing),
            axes,
            stimulus=columns.get("stimulus") if stimulus is None else stimulus,
            session=columns.get("session"),
            roi=roi,
            history=("average_repeats",) if averaged else (),
            info={"dataset": path.name},
        )
    except (TypeError, ValueError) as error:
        raise ValueError(str(error) if str(path) in str(error) else f"{path}: {error}") from error
    if averaged and len(np.unique(responses.stimulus)) < len(responses):
        raise ValueError(f"{path}: some stimulus has several rows, so they are no averages: leave averaged=True out")
    return responses


def _without(values: np.ndarray, missing: float | None) -> np.ndarray:
    return values if missing is None else np.where(values == np.float32(missing), np.float32(np.nan), values)


def from_axes(
    values: np.ndarray, axes: str, *, stimulus: Sequence[int] | np.ndarray | None = None, **fields: Any
) -> Responses:
    """Make responses from an array whose axes are named: one row per trial.

    Args:
        values: An array of two or three axes.
        axes: Names of the axes in order: "stimulus", "voxel" and, if there is a third, "repeat".
        stimulus: (stimulus,) the images' identity, numbers or names; None means 0, 1, 2, ...
        **fields: As in :meth:`Responses.from_arrays`.

    Raises:
        TypeError: If values are no real numbers.
        ValueError: If an axis has another name, the number of names is not that of the axes, or every value is NaN.

    Example:
        >>> from_axes(np.random.randn(4, 10, 3), "voxel stimulus repeat")
        Responses(30 rows, 4 voxels, 10 stimuli, roi: unknown)
    """
    values = as_values(values, "values")
    names = axes.split() if isinstance(axes, str) else list(axes)
    if names == _DEFAULT.split() and values.ndim == 3:
        raise ValueError(f"the array has three axes, {values.shape}: say what they are, in their order, by axes=, such as "
                         "read_recording(path, axes='stimulus repeat voxel')")  # fmt: skip
    if not {"stimulus", "voxel"} <= set(names) <= _AXES or len(set(names)) != len(names) or len(names) != values.ndim:
        raise ValueError(f"axes name the {values.ndim} axes of an array of shape {values.shape}, of 'stimulus', 'voxel' and "
                         f"'repeat', such as 'voxel stimulus repeat'; got {axes!r}")  # fmt: skip
    values = np.moveaxis(values, [names.index(n) for n in names if n == "stimulus"], [0])
    names = ["stimulus", *(n for n in names if n != "stimulus")]
    identity, ids = number_names(np.arange(len(values)) if stimulus is None else stimulus, "stimulus")
    if len(identity) != len(values):
        raise ValueError(f"{len(values)} stimuli in the array, {len(identity)} named")
    if ids is not None:
        fields["info"] = {**(fields.get("info") or {}), "stimulus_id": ids}
    if values.size and np.isnan(values.flat[0]) and np.isnan(values).all():
        raise ValueError("every value is NaN: nothing was recorded")
    if len(names) == 2:
        return Responses.from_arrays(values, stimulus=identity, **fields)
    if names[1] == "voxel":
        values = values.swapaxes(1, 2)
    trials = values.reshape(-1, values.shape[2])
    kept = ~np.isnan(trials).all(1)
    return Responses.from_arrays(trials[kept], stimulus=np.repeat(identity, values.shape[1])[kept], **fields)


def _table(path: Path) -> tuple[np.ndarray, dict[str, Any]]:
    table = read_table(path)
    names = ["".join(name.casefold().split()) for name in table.columns]
    columns: dict[str, Any] = {}
    for name in ("stimulus", "session"):
        places = [place for place, found in enumerate(names) if found == name]
        if len(places) > 1:
            raise ValueError(f"{path} has {len(places)} columns {name!r}: which one says what the rows are?")
        if places:
            columns[name] = table.iloc[:, places[0]].to_numpy()
    voxels = [place for place, name in enumerate(names) if name not in columns]
    if not voxels:
        raise ValueError(f"{path} has no column of a voxel; it has {list(table.columns)}")
    values = numbers_of(path, table.iloc[:, voxels], "every column but 'stimulus' and 'session' is a voxel")
    about = [table.columns[place] for place in voxels if names[place] in _ABOUT_ROWS]
    if about:
        raise ValueError(
            f"{path}: columns {about} describe the rows, and would be read as voxels: rename the column of the images to "
            "'stimulus', that of the sessions to 'session', and remove the others"
        )
    return values, columns


def _array(path: Path, key: str | None) -> Any:
    kind = path.suffix.lower()
    if kind in (".h5", ".hdf5"):
        return _hdf5(path, key)
    if not path.stat().st_size:
        raise ValueError(f"{path} is empty")
    if kind == ".mat":
        return _matlab(path, key)
    file = load_numpy(path)
    if isinstance(file, np.ndarray):
        return file
    with file:
        return load_member(
            path, file, _choose(path, key, {name: member_shape(path, file, name) for name in file.files})
        )


def _matlab(path: Path, key: str | None) -> Any:
    from scipy.io import loadmat, whosmat
    from scipy.sparse import csc_array, csr_array, issparse

    try:
        name = _choose(path, key, {name: shape for name, shape, _ in whosmat(path)})
        values = loadmat(path, variable_names=[name], spmatrix=False)[name]
        if isinstance(values, (csc_array, csr_array)):
            values.check_format(full_check=True)  # filling up a damaged one would write outside of its memory
    except NotImplementedError:  # MATLAB 7.3 is HDF5, with the axes reversed
        return _hdf5(path, key).T
    except ValueError as error:
        if str(path) in str(error):
            raise
        raise damaged(path, "MATLAB", error) from error
    except Exception as error:  # on damage scipy raises errors of many kinds
        raise damaged(path, "MATLAB", error) from error
    if not issparse(values):
        return values
    sparse: Any = values
    num_bytes = sparse.shape[0] * sparse.shape[1] * sparse.dtype.itemsize
    if num_bytes > _LARGEST:
        raise ValueError(f"{path}: the sparse matrix of shape {sparse.shape} takes {readable_size(num_bytes)} when it is "
                         "filled up, which is not done: save the values themselves")  # fmt: skip
    return sparse.toarray()


def _hdf5(path: Path, key: str | None) -> np.ndarray:
    import h5py

    with open_hdf5(path) as file:
        if file.attrs.get("format") == FORMAT:
            raise ValueError(f"{path} is a file of Responses: Responses.load reads it")
        arrays: dict[str, tuple[int, ...]] = {}

        def note(name: str, item: Any) -> None:
            if isinstance(item, h5py.Dataset) and not name.startswith("#"):  # MATLAB's own entries
                arrays[name] = item.shape or ()

        file.visititems(note)
        return dataset(file, _choose(path, key, arrays))[()]


def _choose(path: Path, key: str | None, arrays: dict[str, tuple[int, ...]]) -> str:
    large = [name for name, shape in arrays.items() if len(shape) in (2, 3) and min(shape, default=0) > 1]
    if key is None and len(large) == 1:
        return large[0]
    if key is None or key not in arrays:
        wanted = "name one with key" if key is None else f"there is no {key!r}"
        raise ValueError(f"{path} holds {arrays}: {wanted}")
    return key
