"""The CSV file to which the results of each batch are appended.

A file of two batches::

    # {"format": 2, "weights": "0123456789abcdef", ...}
    stimulus,label,clean
    0,3,1
    1,5,0
    # 2 rows, crc32 90f3a1c2
    2,3,1
    # 1 rows, crc32 5d1e7a08

The first line holds the settings. Each batch is appended with a line that closes it: its number of rows, and the checksum of
every byte of the file before that line, so that a batch can't be changed, left out or moved unnoticed. Bytes after the last
closing line are an unfinished batch of a killed process: they are not read, and the next batch replaces them.
"""

from __future__ import annotations

import errno
import io
import json
import os
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from neuroalign.checksums import DamagedFileError, crc32, damaged
from neuroalign.files import check_source, check_target, is_full, whole

__all__: list[str] = []

Columns = Mapping[str, np.ndarray] | pd.DataFrame
"""Results by the names of the columns, one number per image. Arrays alone cost a fraction of a small table of pandas."""

_REMEDY = "remove it and measure again"
_OTHER = "delete it, or name another checkpoint"
_FORMAT = 2


class OtherResultsError(ValueError):
    """A file holds the results of another measurement: of other images, another model or other settings.

    Args:
        what: What the file holds.
    """

    def __init__(self, what: str) -> None:
        super().__init__(f"{what}: {_OTHER}")
        self.what = what


_CLOSING = re.compile(rb"^# (\d+) rows, crc32 ([0-9a-f]{8})\n", re.MULTILINE)
_COMMENT = re.compile(rb"^#.*\n", re.MULTILINE)


class _Written(NamedTuple):
    """Known content of the file.

    Attributes:
        size: Size of the file, in bytes.
        end: Number of bytes up to the end of the last closing line.
        checksum: Checksum of these bytes.
        columns: Names of the columns.
    """

    size: int
    end: int
    checksum: int
    columns: list[str]


class ResultsFile:
    """Results of one measurement on disk. Nothing is written before the first batch.

    Args:
        path: The file.
        settings: Settings of the measurement, as plain values.
        distances: Names of the columns that may hold infinite values.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "pgd.csv"
        >>> first, second = (
        ...     pd.DataFrame({"stimulus": [i], "label": 3, "clean": 1}) for i in range(2)
        ... )
        >>> file = ResultsFile(path, {"seed": 0})
        >>> file.add([first])
        >>> file.add([first, second])
        >>> ResultsFile(path, {"seed": 0}).read()["stimulus"].tolist()
        [0, 1]
    """

    def __init__(self, path: Path, settings: Mapping[str, Any], distances: tuple[str, ...] = ()) -> None:
        self.path, self.settings, self.distances = path, settings, distances
        self._written: _Written | None = None

    def add(self, batches: Sequence[Columns]) -> None:
        """Append a batch to the file, at a cost that doesn't depend on the file's size.

        If the file isn't as this object left it (removed, or written by another process), it is written again as a whole.

        Args:
            batches: All batches so far, the new one last.

        Raises:
            OSError: If the disk is full, or the path can't be a file; earlier batches stay.
        """
        if self._is_ours(list(map(str, batches[-1]))):
            self._append(batches[-1])
        else:
            self._write(joined(batches))

    def read(self) -> pd.DataFrame:
        """The rows of all complete batches in the file.

        Raises:
            ValueError: If the file was written with other settings or by a later version, or is damaged.
        """
        content = check_source(self.path, "results").read_bytes()
        head, _, rest = content.partition(b"\n")
        settings = self._settings(head)
        version = settings.pop("format", None)
        if version is None:
            return self._earlier(settings, rest)
        if version != _FORMAT:
            raise OtherResultsError(f"{self.path} has the format of another version of neuroalign")
        rows, num_rows, end, checksum = self._batches(content, len(head) + 1)
        self._check_settings(settings)
        table = self._table(rows, num_rows)
        self._written = _Written(len(content), end, checksum, list(map(str, table)))
        return table

    def _is_ours(self, columns: list[str]) -> bool:
        if self._written is None or columns != self._written.columns:
            return False
        return self.path.is_file() and self.path.stat().st_size == self._written.size

    def _append(self, columns: Columns) -> None:
        assert self._written is not None
        batch, checksum = _closed(_rows(columns), len(columns["stimulus"]), self._written.checksum)
        end, path = self._written.end, check_target(self.path)
        try:
            with path.open("r+b") as file:
                file.truncate(end)
                file.seek(end)
                file.write(batch)
        except OSError as error:
            with suppress(OSError):
                os.truncate(path, end)
            if is_full(error):
                raise OSError(errno.ENOSPC, f"no space left while writing {path}; earlier batches are kept") from error
            raise
        size = end + len(batch)
        self._written = self._written._replace(size=size, end=size, checksum=checksum)

    def _write(self, columns: Columns) -> None:
        head = f"# {json.dumps({'format': _FORMAT, **self.settings})}\n".encode()
        names = pd.DataFrame(columns=list(columns)).to_csv(index=False, lineterminator="\n").encode()
        batch, checksum = _closed(names + _rows(columns), len(columns["stimulus"]), crc32(head))
        with whole(self.path) as temporary:
            temporary.write_bytes(head + batch)
        size = len(head) + len(batch)
        self._written = _Written(size, size, checksum, list(map(str, columns)))

    def _settings(self, head: bytes) -> dict[str, Any]:
        try:
            found = json.loads(head.decode().removeprefix("# "))
        except (ValueError, RecursionError) as error:
            raise damaged(self.path, "its first line is not one that neuroalign writes", _REMEDY) from error
        if not isinstance(found, dict):
            raise damaged(self.path, "its first line is not one that neuroalign writes", _REMEDY)
        return found

    def _check_settings(self, found: Mapping[str, Any]) -> None:
        if json.dumps(found) != json.dumps(self.settings):
            raise OtherResultsError(
                f"{self.path} holds results of another model, other perturbations or other settings"
            )

    def _batches(self, content: bytes, start: int) -> tuple[bytes, int, int, int]:
        """The header and rows as CSV, the number of rows, the end of the last batch, and the checksum up to there."""
        parts, num_rows, end, checksum = [], 0, start, crc32(content[:start])
        for closing in _CLOSING.finditer(content, start):
            rows = content[end : closing.start()]
            checksum = crc32(rows, checksum)
            if closing[2] != b"%08x" % checksum:
                raise damaged(self.path, "its rows are not those that were written (checksum)", _REMEDY)
            checksum, end = crc32(closing[0], checksum), closing.end()
            parts.append(rows)
            num_rows += int(closing[1])
        # An unfinished batch has no closing line yet; the first batch is written completely or not at all.
        if not parts or _COMMENT.search(content, end):
            raise damaged(self.path, "a line that closes a batch is not one that neuroalign writes", _REMEDY)
        return b"".join(parts), num_rows, end, checksum

    def _earlier(self, settings: dict[str, Any], rows: bytes) -> pd.DataFrame:
        """Rows of a file of an earlier version; if it has no checksum, only the cells are checked."""
        num_rows, checksum = settings.pop("rows", None), settings.pop("crc32", None)
        self._check_settings(settings)
        if (num_rows is not None or checksum is not None) and checksum != f"{crc32(rows):08x}":
            raise damaged(self.path, "its rows are not those that were written (checksum)", _REMEDY)
        return self._table(rows, num_rows)

    def _table(self, rows: bytes, num_rows: int | None) -> pd.DataFrame:
        try:
            table = pd.read_csv(io.BytesIO(rows))
            self._check_cells(table)
        except DamagedFileError:
            raise
        except (ValueError, TypeError) as error:  # pandas' own errors are ValueErrors
            raise damaged(self.path, f"its rows can't be read ({' '.join(str(error).split())})", _REMEDY) from error
        if num_rows is not None and len(table) != num_rows:
            raise damaged(self.path, f"it has {len(table)} rows instead of {num_rows}", _REMEDY)
        return table

    def _check_cells(self, table: pd.DataFrame) -> None:
        """Refuse cells that no measurement writes: a blank cell would count as fooled."""
        for name in ("stimulus", "label", "clean", *self.distances):
            if name not in table:
                raise damaged(self.path, f"it has no column {name!r}", _REMEDY)
        for name in map(str, table):
            values = table[name].to_numpy()
            if values.dtype.kind not in "iuf" or np.isnan(values).any():
                raise damaged(self.path, f"column {name!r} has blank cells, or cells that are not numbers", _REMEDY)
            if name not in self.distances and np.isinf(values).any():
                raise damaged(self.path, f"column {name!r} has infinite values", _REMEDY)
            last = str(name).rpartition(" ")[2]
            if (name == "clean" or last.isdigit()) and not np.isin(values, (0, 1)).all():
                raise damaged(self.path, f"column {name!r} has values other than 0 and 1", _REMEDY)


def joined(batches: Sequence[Columns]) -> dict[str, np.ndarray]:
    """The rows of all batches, in the columns that all of them have: earlier versions had fewer."""
    names = [name for name in map(str, batches[0]) if all(name in batch for batch in batches)]
    return {name: np.concatenate([batch[name] for batch in batches]) for name in names}


def _rows(columns: Columns) -> bytes:
    """Rows of numbers as pandas writes them, in a fraction of the time that it takes for a few rows."""
    cells = [map(repr, columns[name].tolist()) for name in map(str, columns)]
    return "".join(f"{','.join(row)}\n" for row in zip(*cells)).encode()


def _closed(rows: bytes, num_rows: int, checksum: int) -> tuple[bytes, int]:
    """Rows with their closing line, and the checksum up to its end; ``checksum`` is that of the bytes before the rows."""
    checksum = crc32(rows, checksum)
    closing = b"# %d rows, crc32 %08x\n" % (num_rows, checksum)
    return rows + closing, crc32(closing, checksum)
