"""The record of downloaded files: ``transfers.json`` in the folder that holds them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from neuroalign.data.nsd.layout import NSDError
from neuroalign.files import whole
from neuroalign.processes import locked

__all__: list[str] = []

_NAME = "transfers.json"


def read_transfers(root: Path) -> dict[str, Any]:
    """The record of each downloaded file by its path below ``root``: its size, ETag, SHA-256 and URL.

    Raises:
        NSDError: If the record is damaged.

    Example:
        >>> import tempfile
        >>> read_transfers(Path(tempfile.mkdtemp()))
        {}
    """
    path = root / _NAME
    if not path.is_file():
        return {}
    try:
        records = json.loads(path.read_text())
        if all({"size", "etag"} <= set(record) for record in records.values()):
            return records
    except (ValueError, AttributeError, TypeError):
        pass
    raise NSDError(f"{path} is damaged: remove it, and what was fetched is fetched again")


def add_transfer(root: Path, path: Path, entry: Mapping[str, Any]) -> None:
    """Record a file that was downloaded; several processes may do so at the same time."""
    with locked(root / ".transfers.lock", _NAME, watch=f"*{_NAME}"):
        records = read_transfers(root)
        records[path.relative_to(root).as_posix()] = dict(entry)
        with whole(root / _NAME) as temporary:
            temporary.write_text(json.dumps(records, indent=1, sort_keys=True))
