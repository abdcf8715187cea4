"""The record in the folder of every finished result: what it is, how it was made, and a checksum of every file."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from neuroalign.addresses import redacted_texts
from neuroalign.checksums import crc32_of_file, damaged
from neuroalign.files import whole
from neuroalign.study.versions import versions

__all__: list[str] = []

NAME = "stage.json"
_FORMAT = 1
_REMEDY = "remove the folder {}, and run the study again"


def write_record(folder: Path, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Write the record of a result, as the last of its files.

    Args:
        folder: The folder with all files of the result.
        facts: What to say of it beside its files, in plain values; passwords in URLs are hidden.

    Returns:
        The record.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> _ = (folder / "table.csv").write_text("r")
        >>> list(write_record(folder, {"name": "predictor V4"})["files"])
        ['table.csv']
    """
    record = {
        "format": _FORMAT,
        **redacted_texts(dict(facts)),
        "versions": versions(),
        "host": platform.node(),
        "files": files_in(folder),
    }
    with whole(folder / NAME) as temporary:
        temporary.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n")
    return record


def files_in(folder: Path) -> dict[str, dict[str, Any]]:
    """Size and CRC-32 of every file of a result, its record apart, by the path within the folder."""
    found = {}
    for top, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            path = Path(top, name)
            place = path.relative_to(folder).as_posix()
            if place != NAME:
                found[place] = {"bytes": path.stat().st_size, "crc32": f"{crc32_of_file(path):08x}"}
    return found


def looks_whole(path: Path) -> bool:
    """Whether there is a record that was written to its end; its content is not read."""
    try:
        with path.open("rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            file.seek(max(size - 2, 0))
            return file.read() == b"}\n"
    except OSError:
        return False


def read_record(folder: Path) -> dict[str, Any]:
    """The record of a result.

    Raises:
        DamagedFileError: If it is missing, or isn't one.
    """
    path = folder / NAME
    try:
        record = json.loads(path.read_text())
        for entry in record["files"].values():
            int(entry["bytes"]), int(entry["crc32"], 16)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise damaged(path, "it is no record of a stage", _REMEDY.format(folder)) from error
    return record


_checked: dict[Path, tuple[int, int]] = {}


def check_files(folder: Path, record: Mapping[str, Any], only: Collection[str] | None = None) -> None:
    """Compare the files of a result with its record. A file that was not touched since is summed once in a process.

    Args:
        folder: Folder of the result.
        record: Its record.
        only: Names of the files whose bytes are compared; of the others only the sizes are. None means all.

    Raises:
        DamagedFileError: If a file is missing, has another size, or other bytes; it names the file.
    """
    remedy = _REMEDY.format(folder)
    for place, entry in record["files"].items():
        path = folder / place
        try:
            stat = path.stat()
        except OSError as error:
            raise damaged(path, "it is gone", remedy) from error
        if stat.st_size != entry["bytes"]:
            raise damaged(path, f"it has {stat.st_size} bytes instead of {entry['bytes']}", remedy)
        state = (stat.st_size, stat.st_mtime_ns)
        if _checked.get(path) == state or (only is not None and place not in only):
            continue
        if f"{crc32_of_file(path):08x}" != entry["crc32"]:
            raise damaged(path, "its bytes are not those that were written (checksum)", remedy)
        _checked[path] = state
