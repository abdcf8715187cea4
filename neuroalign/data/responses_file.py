"""The HDF5 file of responses: every field, and where the responses come from."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from neuroalign.checksums import USERBLOCK, damaged, read_checked, stamp_hdf5
from neuroalign.data.standardization import refuse_infinite
from neuroalign.files import check_source, whole
from neuroalign.hdf5 import dataset, member, open_hdf5

if TYPE_CHECKING:
    import h5py

__all__: list[str] = []

FORMAT = "neuroalign.Responses"
_ARRAYS = (
    "values", "stimulus", "session", "repeats", "roi", "noise_ceiling", "shared", "voxel_index", "vertex_index",
    "valid_repeats",
)  # fmt: skip
_GROUPS = ("behaviour", "maps")
_LONGEST = 200  # characters in the name of a region
_REMEDY = (
    "make or fetch it again; if you changed it on purpose, save it again in Python: "
    "Responses.load(path, verify=False).save(path)"
)


def save_fields(fields: Mapping[str, Any], path: str | os.PathLike[str]) -> None:
    """Write the fields of responses, by name, to an HDF5 file that appears only when it is complete."""
    with whole(path, needs=fields["values"].nbytes) as temporary:
        with create(temporary) as file:
            file["values"] = fields["values"]
            write_fields(file, fields)
        stamp_hdf5(temporary)


def is_responses_file(path: str | os.PathLike[str]) -> bool:
    """Whether a file is one that :meth:`Responses.save` writes."""
    if Path(path).suffix.lower() not in (".h5", ".hdf5"):
        return False
    with open_hdf5(path) as file:
        return bool(file.attrs.get("format") == FORMAT)


def create(path: Path) -> h5py.File:
    """A new HDF5 file with room for a checksum at its beginning; ``stamp_hdf5`` writes it after the file is closed."""
    import h5py

    return h5py.File(path, "w", userblock_size=USERBLOCK)


def write_fields(file: Any, fields: Mapping[str, Any]) -> None:
    """Write every field except the values to an open file."""
    import h5py

    file.attrs["format"] = FORMAT
    file.attrs["checksum"] = "crc32 in the user block"
    file.attrs["history"] = json.dumps(fields["history"])
    file.attrs["info"] = json.dumps(fields["info"])
    for name in _ARRAYS[1:]:
        value = fields[name]
        if value is not None:
            file[name] = value.astype(h5py.string_dtype()) if name == "roi" else value
    for group in _GROUPS:
        for name, value in fields[group].items():
            file[f"{group}/{name}"] = value


def load_fields(path: str | os.PathLike[str], *, mapped: bool = False, verify: bool = True) -> dict[str, Any]:
    """Read the fields of responses, by name. :class:`neuroalign.data.Responses` checks whether they fit together.

    Args:
        path: The file.
        mapped: Leave the values on disk and read them when they are needed; processes on one machine then share them.
        verify: Compare the file with its checksum. False accepts a file that somebody changed on purpose. With ``mapped``
            the comparison reads the whole file once, as the first epoch would; False maps it without reading.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file holds something else, takes values from other files, holds infinite values, is cut short, or
            differs from its checksum.
    """
    path = check_source(path, "responses")
    checked, offset, content = read_checked(path, keep=not mapped, remedy=_REMEDY) if verify else (False, 0, None)
    with open_hdf5(path) as file:
        if file.attrs.get("format") != FORMAT:
            raise ValueError(f"{path} is an HDF5 file, but not one of Responses.save")
        with damage_named(path):
            if verify and not checked and "checksum" in file.attrs:
                raise damaged(path, "its checksum is gone", _REMEDY)
            values = _values(file, path, mapped, offset, content)
            fields = {"values": values, **_fields(file, values.shape)}
    if not mapped:  # the search for infinite values would read the whole file
        refuse_infinite(values, str(path))
    return fields


def stored_sessions(path: str | os.PathLike[str], session: np.ndarray) -> Iterator[np.ndarray]:
    """The values of one session after the other, from a file that :func:`load_fields` has accepted.

    Args:
        path: The file.
        session: (row,) the session of each row; those of a session stand together.

    Yields:
        (row, voxel) float32 of each run of rows of one session.

    Raises:
        ValueError: If the file can't be read, or holds infinite values.
    """
    ends = np.flatnonzero(np.diff(session, append=np.nan)) + 1
    with open_hdf5(path) as file:
        values, start = dataset(file, "values"), 0
        for end in ends.tolist():
            part = values[start:end].astype(np.float32, copy=False)
            refuse_infinite(part, str(path))
            yield part
            del part
            start = end


@contextmanager
def damage_named(path: str | os.PathLike[str]) -> Iterator[None]:
    """A context in which a field that can't be read, or doesn't fit the others, is reported as damage of the file."""
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        if isinstance(error, ValueError) and str(path) in str(error):
            raise
        raise damaged(Path(path), f"a field can't be read ({error})") from error


def _values(file: h5py.File, path: Path, mapped: bool, begin: int, content: memoryview | None) -> np.ndarray:
    """The values: mapped, or from the bytes that the comparison with the checksum kept, or read."""
    stored = dataset(file, "values")
    if stored.dtype.kind not in "fiu" or stored.ndim != 2:
        raise damaged(
            path, f"values have shape {stored.shape} and type {stored.dtype}, and should be numbers (row, voxel)"
        )
    offset = stored.id.get_offset() if stored.size else None  # an empty data set has no place in the file
    if offset is not None and offset + stored.nbytes > path.stat().st_size:
        raise damaged(path, "it is cut short, or says that it holds more than it does")
    if (
        mapped and offset is not None and stored.dtype == np.float32
    ):  # mapped copy-on-write: torch wants writable memory
        return np.memmap(path, stored.dtype, "c", offset, stored.shape)
    if content is not None and (begin, len(content)) == (offset, stored.nbytes):
        values = np.frombuffer(content, stored.dtype).reshape(stored.shape)
    else:
        values = stored[()]
    return values.astype(np.float32, copy=False)


def _fields(file: h5py.File, shape: tuple[int, ...]) -> dict[str, Any]:
    present = set(file)  # names only: a link is not followed here

    def read(name: str, most: int) -> Any:
        stored = dataset(file, name)
        if stored.size > most:  # checked before memory is allocated
            raise ValueError(f"{name!r} has {stored.size} values, too many for {shape[0]} rows of {shape[1]} voxels")
        return stored[()]

    most = {"valid_repeats": shape[0] * shape[1]}
    fields: dict[str, Any] = {
        name: read(name, most.get(name, 3 * max(shape))) if name in present else None for name in _ARRAYS[1:]
    }
    for group in _GROUPS:
        names = member(file, group) if group in present else ()
        fields[group] = {name: read(f"{group}/{name}", max(shape)) for name in names}
    regions = [r.decode() if isinstance(r, bytes) else r for r in fields["roi"]]
    if any(len(r) > _LONGEST for r in regions):  # numpy gives every name as much room as the longest needs
        raise ValueError(f"the name of a region has more than {_LONGEST} characters")
    fields["roi"] = np.array(regions, dtype=str)
    fields["info"] = read_info(file)
    fields["history"] = tuple(json.loads(file.attrs.get("history", "[]")))
    return fields


def read_info(file: Any) -> Mapping[str, Any]:
    """The ``info`` of an open file: where its responses come from."""
    info = json.loads(file.attrs.get("info", "{}"))
    if not isinstance(info, dict):
        raise TypeError(f"info holds {type(info).__name__}, not names and values")
    return info
