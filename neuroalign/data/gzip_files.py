"""Volumes and surfaces read to the last byte, so that the checksum and length at the end of a gzip file are compared.

A reader that stops after the bytes that an image's header names never reaches that end, and can miss damage.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from neuroalign.checksums import damaged

__all__: list[str] = []

_BLOCK = 2**20  # bytes read at once
_RATIO = 1100  # largest ratio of uncompressed to compressed bytes; deflate reaches 1032
_FOOTER = 2**24  # bytes that may follow the values of an MGH file: scan parameters


@contextmanager
def opened_image(path: str | os.PathLike[str]) -> Iterator[Any]:
    """A NIfTI or MGH image whose file is read forward once, and to its end when the block is left without an error.

    Args:
        path: ``.nii``, ``.nii.gz``, ``.mgh`` or ``.mgz``. gzip is decompressed by isal, twice as fast as zlib.

    Yields:
        A nibabel image; read the values of its ``dataobj`` from first to last.

    Raises:
        OSError: If the file is cut short, its checksum is wrong, or it isn't a gzip file.
        ValueError: If it holds less or more than its header says, or has another suffix. Errors of nibabel on a damaged
            header are passed on; :func:`load_image` turns all of them into one.

    Example:
        >>> import nibabel, tempfile
        >>> path = tempfile.mkdtemp() + "/map.nii.gz"
        >>> nibabel.save(nibabel.Nifti1Image(np.ones((2, 3, 4), np.int16), np.eye(4)), path)
        >>> with opened_image(path) as image:
        ...     int(np.asanyarray(image.dataobj).sum())
        24
    """
    import nibabel
    from isal import igzip, isal_zlib

    path = Path(path)
    name = path.name.lower()
    if not name.endswith((".nii", ".nii.gz", ".mgh", ".mgz")):
        raise ValueError(f"{path} is no .nii, .nii.gz, .mgh or .mgz")
    if path.exists() and not path.is_file():  # reading from a pipe would wait
        raise ValueError(f"{path} is a folder, a device or a pipe")
    allowed = _FOOTER if name.endswith((".mgh", ".mgz")) else 0
    with path.open("rb") as file:
        compressed = file.read(2) == b"\x1f\x8b" or name.endswith("z")  # whatever its name says
    if not compressed:
        image = nibabel.load(path)
        _check_length(path.stat().st_size, _end(image), allowed)
        yield image  # values stay on disk; only those that are used are read
        return
    try:
        with igzip.open(path) as file:
            image = _kind(file, name).from_file_map({"image": nibabel.FileHolder(fileobj=file)})
            end = _end(image)
            if end > _BLOCK and end > path.stat().st_size * _RATIO:
                raise ValueError(f"its header promises {end} bytes, more than it can hold")
            yield image
            length = file.tell()
            while block := file.read(_BLOCK):  # up to the checksum
                length += len(block)
                if length > end + allowed:
                    break
            _check_length(length, end, allowed)
    except isal_zlib.error as error:  # type: ignore[misc]  # its stub calls this class an object
        raise OSError(str(error)) from error


def load_image(path: str | os.PathLike[str]) -> Any:
    """Read a NIfTI or MGH image into memory, to the end of its file.

    Args:
        path: ``.nii``, ``.nii.gz``, ``.mgh`` or ``.mgz``.

    Returns:
        A nibabel image of the same kind. Values are scaled if the header says so; otherwise they have the stored type.

    Raises:
        FileNotFoundError: If there is no such file.
        DamagedFileError: If it is cut short, its checksum is wrong, it holds less or more than its header says, or it is of
            another format.

    Example:
        >>> import nibabel, tempfile
        >>> path = tempfile.mkdtemp() + "/map.nii.gz"
        >>> nibabel.save(nibabel.Nifti1Image(np.ones((2, 3, 4), np.int16), np.eye(4)), path)
        >>> load_image(path).shape
        (2, 3, 4)
    """
    try:
        with opened_image(path) as image:
            values = np.array(np.asanyarray(image.dataobj))
        return type(image)(values, image.affine, image.header)
    except (FileNotFoundError, PermissionError, Warning):
        raise
    except Exception as error:  # on damage nibabel raises errors of many kinds
        raise damaged(path, f"cut short, changed, or of another format ({' '.join(str(error).split())})") from error


def _kind(file: Any, name: str) -> Any:
    """The class of image that an open file holds."""
    import nibabel

    if name.endswith(".mgz"):
        return nibabel.MGHImage
    first = file.read(4)
    file.seek(0)
    return (
        nibabel.Nifti2Image if first in ((540).to_bytes(4, "little"), (540).to_bytes(4, "big")) else nibabel.Nifti1Image
    )


def _end(image: Any) -> int:
    """Place of the first byte after the values."""
    proxy = image.dataobj
    return int(proxy.offset) + int(np.prod([int(n) for n in proxy.shape], dtype=object)) * proxy.dtype.itemsize


def _check_length(length: int, end: int, allowed: int) -> None:
    if not end <= length <= end + allowed:
        raise ValueError(f"it holds {length} bytes or more, its header says {end}")
