"""Folders that are complete or absent: they are written under a temporary name, then renamed."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from neuroalign.files import check_output_folder, output_folder

__all__: list[str] = []


@contextmanager
def whole_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary folder beside ``path`` to write to; renamed to ``path`` at the end, removed if anything goes wrong.

    Args:
        path: The folder to write; it must not exist, or be empty.

    Raises:
        FileExistsError: If the folder has content, which is never replaced.
        NotADirectoryError: If the path, or one above it, is a file or a link that leads nowhere.

    Example:
        >>> import tempfile
        >>> target = Path(tempfile.mkdtemp()) / "plugin"
        >>> with whole_folder(target) as temporary:
        ...     _ = (temporary / "notes.txt").write_text("done")
        >>> [p.name for p in target.iterdir()], len(list(target.parent.iterdir()))
        (['notes.txt'], 1)
    """
    path = check_absent(path)
    output_folder(path.parent)
    temporary = path.with_name(f".{os.getpid()}-{secrets.token_hex(4)}.part.{path.name}")
    temporary.mkdir()
    try:
        yield temporary
        if path.is_dir():
            path.rmdir()  # empty, as was checked; an error if something came into it meanwhile
        temporary.rename(path)
    finally:
        if temporary.exists():
            shutil.rmtree(temporary)


def check_absent(path: str | os.PathLike[str]) -> Path:
    """Check that a folder can be written: it doesn't exist, or is empty.

    Raises:
        FileExistsError: If it has content.
        NotADirectoryError: If the path, or one above it, is a file or a link that leads nowhere.
    """
    path = check_output_folder(path)
    if path.is_dir() and any(path.iterdir()):
        raise FileExistsError(errno.EEXIST, f"{path} exists and is not empty: name another folder, or remove it first")
    return path
