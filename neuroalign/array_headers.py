"""The headers of NumPy's files, compared with the size of their content before anything is read."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

__all__: list[str] = []


def array_headers(path: str | os.PathLike[str]) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
    """Shape and type of each array of an .npy or .npz file, by name; the array of an .npy has the name "".

    Only headers are decompressed. After this check NumPy reads no more bytes, and needs no more memory, than the file holds
    in that array, and unpickles nothing.

    Args:
        path: The file.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is another kind of file or damaged, an array is larger or smaller than its header says, or an .npy
            holds Python objects. (In an .npz NumPy refuses them when they are read.)

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "a.npz"
        >>> np.savez(path, images=np.zeros((2, 3)), labels=np.arange(2))
        >>> array_headers(path)["images"]
        ((2, 3), dtype('float64'))
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    try:
        with path.open("rb") as file:
            is_archive = file.read(2) == b"PK"  # the way NumPy distinguishes them
            if not is_archive:
                file.seek(0)
                return {"": _header(file, path.stat().st_size, exact=False)}
        found = {}
        with zipfile.ZipFile(path) as archive:
            for entry in archive.infolist():
                if entry.filename.endswith(".npy"):
                    with archive.open(entry) as member:
                        name = entry.filename.removesuffix(".npy")
                        found[name] = _header(member, entry.file_size, exact=True, name=f" of its array {name!r}")
        return found
    except OSError:
        raise
    except Exception as error:  # on damage NumPy raises errors of many kinds
        raise ValueError(f"{path} can't be read: {' '.join(str(error).split())[:300] or 'damaged'}") from error


def _header(file: IO[bytes], size: int, *, exact: bool, name: str = "") -> tuple[tuple[int, ...], np.dtype]:
    """The header at the start of an array of ``size`` bytes."""
    from math import prod

    from numpy.lib import format as npy

    first = npy.read_magic(file)
    shape, _, dtype = (npy.read_array_header_1_0 if first == (1, 0) else npy.read_array_header_2_0)(file)
    if dtype.hasobject and not exact:
        raise ValueError("it holds Python objects, a pickle that can run code")
    if dtype.hasobject:
        return shape, dtype
    held, promised = size - file.tell(), prod(shape) * dtype.itemsize
    if min(shape, default=0) < 0 or held < promised or (exact and held != promised):
        raise ValueError(f"the header{name} promises {promised} bytes of shape {shape}, the file holds {held}")
    return shape, dtype
