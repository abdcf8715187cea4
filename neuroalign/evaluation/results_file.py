"""The CSV file that keeps what was measured so far: rows, under a line that says of what, how many, and their checksum."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from neuroalign.checksums import DamagedFileError, crc32, damaged
from neuroalign.files import check_source, whole

_REMEDY = "remove it and measure again"


def write_results(path: Path, table: pd.DataFrame, settings: Mapping[str, Any]) -> None:
    """Write rows, and in front of them the settings they were measured with: whole, or not at all.

    Args:
        path: The file.
        table: A row a stimulus.
        settings: Plain values.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "pgd.csv"
        >>> write_results(path, pd.DataFrame({"stimulus": [0, 1], "label": 3, "clean": [1, 0]}), {"seed": 0})
        >>> read_results(path, {"seed": 0}, distances=())["clean"].tolist()
        [1, 0]
    """
    rows = table.to_csv(index=False, lineterminator="\n").encode()
    head = json.dumps({**settings, "rows": len(table), "crc32": f"{crc32(rows):08x}"})
    with whole(path) as temporary:
        temporary.write_bytes(f"# {head}\n".encode() + rows)


def read_results(path: Path, settings: Mapping[str, Any], *, distances: tuple[str, ...]) -> pd.DataFrame:
    """Read what :func:`write_results` wrote with the same settings.

    A file of an earlier version has no checksum: its cells are looked at one by one.

    Args:
        path: The file.
        settings: What the rows must have been measured with.
        distances: The columns that may hold infinite values.

    Raises:
        ValueError: If it was written with other settings, or is damaged.
    """
    head, _, rows = check_source(path, "results").read_bytes().partition(b"\n")
    try:
        found = json.loads(head.decode().removeprefix("# "))
    except (ValueError, RecursionError) as error:
        raise damaged(path, "its first line is none of ours", _REMEDY) from error
    if not isinstance(found, dict):
        raise damaged(path, "its first line is none of ours", _REMEDY)
    num_rows, checksum = found.pop("rows", None), found.pop("crc32", None)
    if json.dumps(found) != json.dumps(settings):
        raise ValueError(
            f"{path} holds results of another model, other perturbations or other settings: delete it, or name another "
            "checkpoint"
        )
    older = num_rows is None and checksum is None
    if not older and checksum != f"{crc32(rows):08x}":
        raise damaged(path, "its rows are not those that were written (checksum)", _REMEDY)
    try:
        table = pd.read_csv(io.BytesIO(rows))
        _check(path, table, distances)
    except DamagedFileError:
        raise
    except (ValueError, TypeError) as error:  # pandas' own errors are ValueErrors
        raise damaged(path, f"its rows can't be read ({' '.join(str(error).split())})", _REMEDY) from error
    if not older and len(table) != num_rows:
        raise damaged(path, f"it has {len(table)} rows in place of {num_rows}", _REMEDY)
    return table


def _check(path: Path, table: pd.DataFrame, distances: tuple[str, ...]) -> None:
    """Refuse cells that no measurement gives: a blank would count as fooled."""
    for name in ("stimulus", "label", "clean", *distances):
        if name not in table:
            raise damaged(path, f"it has no column {name!r}", _REMEDY)
    for name in table:
        values = table[name].to_numpy()
        if values.dtype.kind not in "iuf" or np.isnan(values).any():
            raise damaged(path, f"column {name!r} has blank cells, or cells that are no numbers", _REMEDY)
        if name not in distances and np.isinf(values).any():
            raise damaged(path, f"column {name!r} has infinite values", _REMEDY)
        last = str(name).rpartition(" ")[2]
        if (name == "clean" or last.isdigit()) and not np.isin(values, (0, 1)).all():
            raise damaged(path, f"column {name!r} has values other than 0 and 1", _REMEDY)
