"""Files that are whole or absent: written under a temporary name, then renamed."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole(path: str | os.PathLike[str], *, needs: int = 0) -> Iterator[Path]:
    """A temporary path beside ``path`` to write to; renamed to ``path`` at the end, removed if anything goes wrong.

    The name is this writer's own, so two processes that write one file don't meet: the last to finish wins, whole.

    Args:
        path: The file to write; its folder is made.
        needs: Bytes that will be written, where known: too little space is told before anything is.

    Raises:
        OSError: If the disk is full or the folder can't be written to; the message names it.

    Example:
        >>> import tempfile
        >>> target = Path(tempfile.mkdtemp()) / "notes.txt"
        >>> with whole(target) as temporary:
        ...     _ = temporary.write_text("done")
        >>> target.read_text(), [p.name for p in target.parent.iterdir()]
        ('done', ['notes.txt'])
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    check_space(path.parent, needs)
    # The suffix stays the last one: writers such as np.save and nibabel choose the format by it.
    temporary = path.with_name(f".{os.getpid()}-{secrets.token_hex(4)}.part.{path.name}")
    try:
        yield temporary
        temporary.replace(path)
    except OSError as error:
        if is_full(error):
            raise OSError(errno.ENOSPC, f"no space left while writing {path}; nothing was left behind") from error
        raise
    finally:
        temporary.unlink(missing_ok=True)


def check_space(folder: Path, needs: int) -> None:
    """Raise OSError where ``needs`` bytes don't fit on the folder's disk."""
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if needs > free:
        raise OSError(
            errno.ENOSPC, f"{readable_size(needs)} are needed in {folder}, but {readable_size(free)} are free: free some "
            "space, or write elsewhere")  # fmt: skip


def is_full(error: OSError) -> bool:
    """Whether an error says that no more fits (disk full, quota, largest file size).

    HDF5 gives the number in words, and NumPy only how much it wrote.
    """
    codes, text = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG), str(error)
    return error.errno in codes or any(f"errno = {code}" in text for code in codes) or " requested and " in text


def readable_size(num_bytes: float) -> str:
    """Bytes in decimal units, as disks are sold: 1.05 GB."""
    for unit in ("B", "kB", "MB", "GB"):
        if num_bytes < 1000:
            return f"{num_bytes:.3g} {unit}"
        num_bytes /= 1000
    return f"{num_bytes:.3g} TB"
