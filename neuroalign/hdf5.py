"""HDF5 files from others: only what lies in the file itself is read; links to other files are refused."""

from __future__ import annotations

import errno
import os
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import h5py

__all__ = ["HDF5Error"]

_RATIO = 1100  # largest ratio of uncompressed to stored bytes; deflate reaches 1032
_PLAIN = 4  # an array of up to this many times the file's size is accepted without a look at its storage
_SMALL = 2**30  # bytes; a smaller array is accepted without a look at its storage
_LINKS = 40  # links followed for one name, as in a file system
# The errors h5py raises on damage, which depend on its place; MemoryError if a length is damaged.
_DAMAGE = (OSError, RuntimeError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError, MemoryError)


class HDF5Error(ValueError):
    """An HDF5 file can't be read, or must not be read.

    Example:
        >>> issubclass(HDF5Error, ValueError)
        True
    """


@contextmanager
def open_hdf5(path: str | os.PathLike[str]) -> Iterator[h5py.File]:
    """Open an HDF5 file for reading; errors raised inside the context name the file.

    Raises:
        FileNotFoundError: If there is no such file.
        HDF5Error: If it is cut short, damaged, or not an HDF5 file.

    Example:
        >>> import tempfile, h5py
        >>> path = tempfile.mkdtemp() + "/responses.h5"
        >>> with h5py.File(path, "w") as file:
        ...     file["values"] = [1.0, 2.0]
        >>> with open_hdf5(path) as file:
        ...     dataset(file, "values")[:]
        array([1., 2.])
    """
    import h5py

    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"there is no file {path}")
    if not path.is_file():
        raise HDF5Error(f"{path} is a folder, a device or a pipe: give the name of an HDF5 file")
    try:
        with h5py.File(path, "r") as file:
            yield file
    except PermissionError as error:
        raise PermissionError(errno.EACCES, f"{path} must not be read by you") from error
    except _DAMAGE as error:
        if str(path) in str(error):  # the message names the file already
            raise
        raise HDF5Error(f"{path} can't be read: cut short, damaged, or not an HDF5 file ({_short(error)})") from error


def dataset(group: h5py.Group, name: str) -> h5py.Dataset:
    """A data set by name, if it lies in this file.

    Args:
        group: An open file or group.
        name: Name in it, with ``/`` between groups.

    Raises:
        KeyError: If there is none of this name.
        HDF5Error: If its values lie in another file (an external link, external storage, a virtual data set), if it is a
            group, or if its header declares far more than the file holds.
    """
    import h5py

    found: Any = member(group, name)
    where = f"{name!r} in {group.file.filename}"
    if not isinstance(found, h5py.Dataset):
        raise HDF5Error(f"{where} is not a data set")
    if found.shape is None:
        raise HDF5Error(f"{where} holds no value")
    if found.external or found.is_virtual:
        raise HDF5Error(
            f"{where} takes its values from other files, which is not followed: store the values themselves"
        )
    promised = found.size * found.dtype.itemsize if found.size else 0
    # The file's size is asked first: the size of a data set of 700,000 chunks takes longer than reading a thousand of them.
    if promised > max(_SMALL, _PLAIN * group.file.id.get_filesize()):
        stored = found.id.get_storage_size()
        if promised > _RATIO * stored:
            raise HDF5Error(f"{where} promises {promised / 1e9:.3g} GB but holds {stored / 1e9:.3g} GB: it was never filled, "
                            "or is damaged")  # fmt: skip
    return found


def member(group: h5py.Group, name: str) -> Any:
    """A data set or group by name; only links inside the file are followed.

    Raises:
        KeyError: If there is none of this name.
        HDF5Error: If a link leads to another file, or in a circle.
    """
    import h5py

    where = f"{name!r} in {group.file.filename}"
    found: Any = group.file if name.startswith("/") else group
    parts, links = deque(name.split("/")), 0
    while parts:
        part = parts.popleft()
        if part in ("", "."):
            continue
        link = found.get(part, getlink=True) if isinstance(found, h5py.Group) else None
        if link is None:
            raise KeyError(f"no {where}")
        if isinstance(link, h5py.ExternalLink):
            raise HDF5Error(f"{where} is a link to another file, {link.filename}, which is not followed: store the values "
                            "themselves")  # fmt: skip
        if isinstance(link, h5py.SoftLink):
            links += 1
            if links > _LINKS:
                raise HDF5Error(f"{where} is a link that leads in a circle")
            found = group.file if link.path.startswith("/") else found
            parts.extendleft(reversed(link.path.split("/")))
        else:
            found = found[part]
    return found


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
