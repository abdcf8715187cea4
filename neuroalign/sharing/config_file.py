"""The readable ``config.json`` of a shared model. Loading the model never needs it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from neuroalign.checksums import DamagedFileError
from neuroalign.files import check_source

__all__: list[str] = []

LONGEST = 2**20
"""Largest number of bytes that are read; a file of ours has a few thousand."""


def read_config(path: Path) -> dict[str, Any]:
    """The content of a ``config.json``, as data.

    Args:
        path: The file.

    Raises:
        FileNotFoundError: If there is none.
        DamagedFileError: If it is too large, no JSON, or not of neuroalign.
    """
    path = check_source(path, "config.json")
    if path.stat().st_size > LONGEST:
        raise DamagedFileError(f"{path} has {path.stat().st_size:,} bytes: neuroalign writes a few thousand")
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise DamagedFileError(f"{path} is no JSON ({str(error)[:80]})") from error
    if not isinstance(found, dict) or found.get("library_name") != "neuroalign":
        raise DamagedFileError(f"{path} is no configuration of neuroalign: its library_name is another")
    return found


def written(path: Path | None) -> tuple[str | None, str | None]:
    """Which version of neuroalign wrote a ``config.json``, and the class of its model; None for what the file doesn't say.

    Args:
        path: The file; None gives neither.

    Example:
        >>> written(Path("no/such/config.json"))
        (None, None)
    """
    try:
        found = {} if path is None else read_config(path)
    except (OSError, ValueError):
        return None, None
    version, name = found.get("neuroalign_version"), found.get("class")
    return (
        version if isinstance(version, str) and re.fullmatch(r"\d+(\.\d+)*[0-9A-Za-z.+-]{0,20}", version) else None,
        name if isinstance(name, str) and re.fullmatch(r"[A-Za-z]\w{0,60}", name, re.ASCII) else None,
    )
