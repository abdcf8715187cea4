"""Files that are complete or absent: they are written under a temporary name, then renamed."""

from __future__ import annotations

import errno
import functools
import os
import platform
import re
import secrets
import shutil
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

__all__ = ["whole", "write_csv", "write_png"]

_ABANDONED = 7 * 24 * 3600  # seconds after which a temporary file of another machine counts as left behind


@contextmanager
def whole(path: str | os.PathLike[str], *, needs: int = 0) -> Iterator[Path]:
    """A temporary path beside ``path`` to write to; renamed to ``path`` at the end, removed if anything goes wrong.

    Each writer has its own temporary file, so concurrent writers can't mix; the last to finish replaces the file. Temporary
    files that a killed process left of the same file are removed.

    Args:
        path: The file to write; its folder is made. A link to a file of the same folder is followed and kept.
        needs: Bytes that will be written, if known: too little space is then an error before anything is written.

    Raises:
        OSError: If the disk is full, the folder can't be written to, or ``path`` is a folder, a device, a pipe, or a link
            to a file outside its folder; the message names it.

    Example:
        >>> import tempfile
        >>> target = Path(tempfile.mkdtemp()) / "notes.txt"
        >>> with whole(target) as temporary:
        ...     _ = temporary.write_text("done")
        >>> target.read_text(), [p.name for p in target.parent.iterdir()]
        ('done', ['notes.txt'])
    """
    path = check_target(path)
    output_folder(path.parent)
    remove_leftovers(path)
    check_space(path.parent, needs)
    # The temporary name keeps the suffix: writers such as np.save and nibabel choose the format by it.
    temporary = path.with_name(f".{_machine()}-{os.getpid()}-{secrets.token_hex(4)}.part.{path.name}")
    try:
        yield temporary
        temporary.replace(path)
    except Exception as error:  # not every writer reports a full disk as an OSError
        if is_full(error):
            raise OSError(errno.ENOSPC, f"no space left while writing {path}; nothing was left behind") from error
        raise
    finally:
        temporary.unlink(missing_ok=True)


def write_csv(table: Any, path: str | os.PathLike[str]) -> None:
    """Write a pandas table as CSV without its index; the file appears only when it is complete."""
    with whole(path) as temporary:
        table.to_csv(temporary, index=False)


def write_png(figure: Any, path: str | os.PathLike[str], *, dpi: int = 150) -> None:
    """Write a matplotlib figure as PNG with ``dpi`` pixels per inch; the file appears only when it is complete."""
    with whole(path) as temporary:
        figure.savefig(temporary, format="png", dpi=dpi)


def check_target(path: str | os.PathLike[str]) -> Path:
    """The file that writing to ``path`` makes or replaces.

    Raises:
        OSError: If it is a folder, a device or a pipe, or a link to a file outside its folder (in a shared folder another
            user may have put it there).
    """
    path = Path(path)
    if path.is_symlink():
        try:
            target, folder = path.resolve(), path.parent.resolve()
        except (OSError, RuntimeError):  # raised for a circle of links before Python 3.13
            target, folder = path, path.parent
        if target.is_symlink():
            raise OSError(errno.ELOOP, f"{path} is a link that leads in a circle: remove it")
        if not target.is_relative_to(folder):
            raise OSError(errno.EPERM, f"{path} is a link to {target}, outside its folder: remove the link, or write to "
                          "that file itself")  # fmt: skip
        path = target
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, f"{path} is a folder: give the name of a file")
    if path.exists() and not path.is_file():
        raise OSError(errno.EPERM, f"{path} is a device or a pipe, which a file can't replace: give the name of a file")
    return path


def check_source(path: str | os.PathLike[str], what: str = "file") -> Path:
    """Check that a file exists, and is no folder, device or pipe: reading from these might never end.

    Args:
        path: The file; links are followed.
        what: What the file should hold, for the message.

    Raises:
        FileNotFoundError: If there is no such file.
        OSError: If it is not a regular file.

    Example:
        >>> check_source("no/such/file.h5", "responses")
        Traceback (most recent call last):
        FileNotFoundError: no responses at no/such/file.h5
    """
    path = Path(path)
    if path.is_file():
        return path
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, f"{path} is a folder: give the name of a file")
    if path.exists():
        raise OSError(errno.EINVAL, f"{path} is a device or a pipe: give the name of a file")
    raise FileNotFoundError(f"no {what} at {path}")


def check_output_folder(path: str | os.PathLike[str]) -> Path:
    """Check that a folder for results exists or can be made. It is not made yet.

    Raises:
        NotADirectoryError: If the folder, or one above it, is a file or a device; the message names which.

    Example:
        >>> import tempfile
        >>> check_output_folder(tempfile.mkdtemp() + "/tables/new").is_dir()
        False
    """
    path = Path(path)
    for part in (path, *path.parents):
        if part.exists() and not part.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, f"{part} is a file, where a folder is wanted: name another folder")
        if part.is_symlink() and not part.exists():
            raise NotADirectoryError(errno.ENOTDIR, f"{part} is a link that leads nowhere: remove it")
    return path


def output_folder(path: str | os.PathLike[str]) -> Path:
    """Make a folder for results if it doesn't exist.

    Raises:
        NotADirectoryError: If the folder, or one above it, is a file or a device; the message names which.

    Example:
        >>> import tempfile
        >>> output_folder(tempfile.mkdtemp() + "/tables/new").is_dir()
        True
    """
    path = check_output_folder(path)
    path.mkdir(parents=True, exist_ok=True)
    return path


def check_folder(path: str | os.PathLike[str]) -> Path:
    """Check that the content of a folder may be removed: a link could lead to somebody else's files.

    Raises:
        OSError: If it is a link, or not a folder.
    """
    path = Path(path)
    if path.is_symlink() or (path.exists() and not path.is_dir()):
        raise NotADirectoryError(
            errno.ENOTDIR, f"{path} is a link or a file where a folder of ours should be: remove it"
        )
    return path


_swept: set[tuple[int, Path]] = set()


def remove_leftovers(path: Path) -> None:
    """Remove the temporary files that killed processes left of a file; done once per file and process."""
    if (os.getpid(), path) in _swept or not path.parent.is_dir():
        return
    _swept.add((os.getpid(), path))
    pattern = re.compile(rf"\.(?:([0-9a-f]{{8}})-)?(\d+)-[0-9a-f]{{8}}\.part\.{re.escape(path.name)}")
    with os.scandir(path.parent) as entries:
        for entry in entries:
            found = pattern.fullmatch(entry.name)
            if found is None:
                continue
            with suppress(OSError):  # another process removed it first
                here = found[1] == _machine() and os.name == "posix"
                old = time.time() - entry.stat(follow_symlinks=False).st_mtime > _ABANDONED
                if old or (here and not _lives(int(found[2]))):
                    Path(entry.path).unlink()


@functools.cache
def _machine() -> str:
    """A name of this machine and of the container on it, in which process numbers are unique."""
    try:
        space = str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        space = ""
    return f"{zlib.crc32(f'{platform.node()} {space}'.encode()):08x}"


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass
    return True


def check_space(folder: Path, needs: int) -> None:
    """Raise OSError if ``needs`` bytes don't fit on the folder's disk."""
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if needs > free:
        raise OSError(
            errno.ENOSPC, f"{readable_size(needs)} are needed in {folder}, but {readable_size(free)} are free: free some "
            "space, or write elsewhere")  # fmt: skip


def is_full(error: Exception) -> bool:
    """Whether an error means that no more can be written (disk full, quota, largest file size).

    HDF5 and safetensors write the error number into their message; NumPy says only how much it wrote.
    """
    codes, text = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG), str(error)
    told = isinstance(error, OSError) and (error.errno in codes or " requested and " in text)
    return told or any(f"{word} {code}" in text for word in ("errno =", "os error") for code in codes)


def readable_size(num_bytes: float) -> str:
    """Bytes as a text in decimal units, such as "1.05 GB"."""
    for unit in ("B", "kB", "MB", "GB"):
        if num_bytes < 1000:
            return f"{num_bytes:.3g} {unit}"
        num_bytes /= 1000
    return f"{num_bytes:.3g} TB"
