"""Whether an extracted file is complete and agrees with the NSD folder, and the parts that a killed run left."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from neuroalign.checksums import DamagedFileError, check_hdf5, crc32, damaged, is_stamped
from neuroalign.data.nsd.layout import TRIALS_PER_SESSION
from neuroalign.data.responses_file import FORMAT, read_info
from neuroalign.files import whole
from neuroalign.hdf5 import dataset, open_hdf5

if TYPE_CHECKING:
    from neuroalign.data.nsd.reader import Request

__all__: list[str] = []

_log = logging.getLogger(__name__)
_FILES = ("sources", "side_files")
_RESULTS = (
    "neuroalign",
    "ncsnr_difference",
    "ncsnr_voxels",
    "root",
)  # the same folder may have moved, or be behind a URL


def differences(request: Request, out: Path) -> list[str]:
    """The differences between an extracted file and what a request would extract; an empty list if it can be used.

    A file of the NSD folder counts as unchanged if its checksum is the same (regions, design, behaviour, maps), or its ETag,
    or its size, time and sampled checksum. If size and samples are the same but the time is not (a copied folder), the
    session is read and compared value by value.

    Returns:
        Names of options, or of files, that differ.

    Raises:
        DamagedFileError: If the file was written by neuroalign, and has changed since.
        FileExistsError: If it is another kind of file.
    """
    try:
        checked = out.is_file() and check_hdf5(out)  # before HDF5 opens it: on a damaged file HDF5 may hang
        with open_hdf5(out) as file:
            if file.attrs.get("format") != FORMAT:
                raise KeyError("its format is another")
            if not checked and "checksum" in file.attrs:
                raise damaged(out, "its checksum is gone")
            there, history = read_info(file), json.loads(file.attrs.get("history", "[]"))
            rows, shape = dataset(file, "stimulus")[()], dataset(file, "values").shape
    except (ValueError, KeyError, TypeError) as error:
        if isinstance(error, DamagedFileError):
            raise
        if is_stamped(out):
            raise damaged(out, str(error)) from error
        raise FileExistsError(
            f"{out} is not a file of extracted responses, or damaged ({error}): write elsewhere, or remove it"
        ) from error
    here = json.loads(json.dumps(request.info()))
    if not set(_FILES) <= set(there):
        return ["the version of neuroalign, which kept no checksums of NSD's files,"]
    options = sorted(k for k in (there.keys() | here.keys()) - {*_FILES, *_RESULTS} if there.get(k) != here.get(k))
    if not options and (history or shape != (len(rows), len(request.voxels.index))):
        options = ["what was done to the responses"]
    if not options and not np.array_equal(rows, request.stimulus):
        options = ["stimulus"]
    return options or _changed_files(request, out, there, here)


def _changed_files(request: Request, out: Path, there: Mapping[str, Any], here: Mapping[str, Any]) -> list[str]:
    changed, unsure = [], []
    for kind in _FILES:
        before, now = ({record["file"]: record for record in info[kind]} for info in (there, here))
        changed += sorted(before.keys() ^ now.keys())
        for name in sorted(before.keys() & now.keys()):
            same = _same(before[name], now[name])
            if same is None and kind == "sources":
                unsure.append(name)
            elif not same:
                changed.append(name)
    if changed or not unsure:
        return changed
    _log.info("%d files have another time than when %s was extracted: reading them to compare", len(unsure), out)
    with open_hdf5(out) as file:
        values = dataset(file, "values")
        for i, session in enumerate(request.sessions):
            names = [f.relative_to(request.tree.root).as_posix() for f in request.files(session)]
            if set(names) & set(unsure):
                stored = values[i * TRIALS_PER_SESSION : (i + 1) * TRIALS_PER_SESSION]
                if not np.array_equal(stored, request.read(session), equal_nan=True):
                    changed += names
    return changed


def _same(before: Mapping[str, Any], now: Mapping[str, Any]) -> bool | None:
    """Whether a file is the same according to its recorded values; None if these don't decide it."""
    if before["bytes"] != now["bytes"]:
        return False
    for name in ("crc32", "etag"):
        if name in before and name in now:
            return before[name] == now[name]
    if before.get("samples") != now.get("samples"):
        return None if "samples" not in before or "samples" not in now else False
    return True if before.get("modified") == now.get("modified") else None


def save_part(path: Path, values: np.ndarray) -> None:
    """Write a session's responses (750, voxel), followed by their checksum."""
    with whole(path, needs=values.nbytes) as temporary, temporary.open("wb") as file:
        np.save(file, values)
        file.write(_sum(values))


def load_part(path: Path, num_voxels: int) -> np.ndarray | None:
    """A session's responses, or None if the file is not what was written."""
    try:
        with path.open("rb") as file:
            values = np.lib.format.read_array(file)
            written = file.read()
    except (OSError, ValueError, EOFError, MemoryError):
        return None
    whole_part = values.shape == (TRIALS_PER_SESSION, num_voxels) and values.dtype == np.float32
    return values if whole_part and written == _sum(values) else None


def _sum(values: np.ndarray) -> bytes:
    return b"%08x" % crc32(np.ascontiguousarray(values))
