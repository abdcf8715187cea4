"""The HDF5 file that keeps responses: every field, and where they come from."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from neuroalign.data.responses import Responses
from neuroalign.data.standardization import refuse_infinite
from neuroalign.files import whole

FORMAT = "neuroalign.Responses"
_ARRAYS = (
    "values", "stimulus", "session", "repeats", "roi", "noise_ceiling", "shared", "voxel_index", "vertex_index",
    "valid_repeats",
)  # fmt: skip
_GROUPS = ("behaviour", "maps")


def save_responses(responses: Responses, path: str | os.PathLike[str]) -> None:
    """Write responses to an HDF5 file: whole, or not at all."""
    import h5py

    with whole(path, needs=responses.values.nbytes) as temporary, h5py.File(temporary, "w") as file:
        file["values"] = responses.values
        write_fields(file, responses)


def write_fields(file: Any, responses: Responses) -> None:
    """Everything but the values, to an open file."""
    import h5py

    file.attrs["format"] = FORMAT
    file.attrs["history"] = json.dumps(responses.history)
    file.attrs["info"] = json.dumps(responses.info)
    for name in _ARRAYS[1:]:
        value = getattr(responses, name)
        if value is not None:
            file[name] = value.astype(h5py.string_dtype()) if name == "roi" else value
    for group in _GROUPS:
        for name, value in getattr(responses, group).items():
            file[f"{group}/{name}"] = value


def load_responses(path: str | os.PathLike[str], *, mapped: bool = False) -> Responses:
    """Read responses.

    Args:
        path: The file.
        mapped: Leave the values on disk and read them by the page: processes on one machine then share them.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file holds something else, infinite values, or is cut short.
    """
    import h5py

    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"no responses at {path}")
    try:
        with h5py.File(path) as file:
            if file.attrs.get("format") != FORMAT:
                raise ValueError(f"{path} is an HDF5 file, but not one of Responses.save")
            fields: dict[str, Any] = {name: file[name][()] if name in file else None for name in _ARRAYS[1:]}
            values = file["values"]
            offset = values.id.get_offset() if mapped else None
            if offset is None:  # asked for, or not stored in one piece
                fields["values"] = values[()]
            else:  # copy on write: torch wants memory that it could write to
                fields["values"] = np.memmap(path, values.dtype, "c", offset, values.shape)
            for group in _GROUPS:
                fields[group] = {name: data[()] for name, data in file[group].items()} if group in file else {}
            fields["info"] = read_info(file)
            fields["history"] = tuple(json.loads(file.attrs.get("history", "[]")))
    except OSError as error:
        raise ValueError(f"{path} can't be read: truncated, or not an HDF5 file ({error})") from error
    if not mapped:  # which would read every page
        refuse_infinite(fields["values"], str(path))
    fields["roi"] = np.array([r.decode() if isinstance(r, bytes) else r for r in fields["roi"]], dtype=str)
    return Responses(**fields)


def read_info(file: Any) -> Mapping[str, Any]:
    """Where the responses of an open file come from."""
    return json.loads(file.attrs.get("info", "{}"))
