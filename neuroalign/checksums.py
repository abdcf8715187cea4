"""Checksums of our own files: a byte that changed since it was written is an error, not a different number.

CRC-32 finds damage (by disks, transfers, editors), not forgery. Files of responses carry a checksum in front of the HDF5
file; those of tensors and checkpoints are in :mod:`neuroalign.tensor_files`.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any, BinaryIO

from neuroalign.moved import former_names

__all__ = ["DamagedFileError"]

BLOCK = 2**20  # bytes summed at once: few enough to stay in the processor's cache
_SAMPLE = 2**16  # bytes of each sampled block
USERBLOCK = 512  # bytes in front of an HDF5 file that HDF5 leaves free
_STAMP = b"neuroalign crc32 "
_STAMP_SIZE = 112


class DamagedFileError(ValueError):
    """A file differs from what was written.

    Example:
        >>> issubclass(DamagedFileError, ValueError)
        True
    """


def crc32(data: Any, start: int = 0) -> int:
    """CRC-32 of bytes, or of bytes that follow others whose CRC-32 is ``start``.

    Example:
        >>> crc32(b"voxels") == crc32(b"els", crc32(b"vox"))
        True
    """
    from isal import isal_zlib

    return isal_zlib.crc32(data, start)


def crc32_of_file(path: str | os.PathLike[str]) -> int:
    """CRC-32 of all bytes of a file.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "voxels"
        >>> _ = path.write_bytes(b"voxels")
        >>> crc32_of_file(path) == crc32(b"voxels")
        True
    """
    with Path(path).open("rb", buffering=0) as file:
        return sum_rest(file, 0)


def crc32_of_samples(path: str | os.PathLike[str], *, blocks: int = 16) -> int:
    """CRC-32 of the size of a large file and of blocks of 64 kB spread over it, including the first and the last.

    This distinguishes files of the same size within a millisecond, but doesn't see a change between the blocks.

    Args:
        path: The file.
        blocks: Number of blocks, at least 2; a file that is no longer than all of them is read whole.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "voxels"
        >>> _ = path.write_bytes(bytes(10**7))
        >>> before = crc32_of_samples(path)
        >>> _ = path.write_bytes(bytes(10**7 - 1) + b"1")
        >>> crc32_of_samples(path) == before
        False
    """
    with Path(path).open("rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        total = crc32(size.to_bytes(8, "little"))
        if size <= blocks * _SAMPLE:
            return sum_rest(file, total)
        for i in range(blocks):
            file.seek((size - _SAMPLE) * i // (blocks - 1))
            total = sum_rest(file, total, _SAMPLE)
    return total


def damaged(path: str | os.PathLike[str], found: str, remedy: str = "make or fetch it again") -> DamagedFileError:
    """The error of a damaged file; it says what was found, and what to do."""
    return DamagedFileError(f"{path} is damaged: {found}; {remedy}")


def stamp_hdf5(path: Path, values: str = "values") -> None:
    """Write the checksum of an HDF5 file in front of it; the file was written with ``userblock_size=USERBLOCK``.

    The place of the data set ``values`` is written next to it, for :func:`read_checked`.
    """
    import h5py

    with h5py.File(path, "r") as file:
        direct = isinstance(file.get(values, getlink=True), h5py.HardLink) and isinstance(file[values], h5py.Dataset)
        stored = file[values] if direct else None
        offset = stored.id.get_offset() if stored is not None and stored.size else None
        place = (0, 0) if stored is None or offset is None else (offset, stored.nbytes)
    with path.open("r+b") as file:
        file.seek(USERBLOCK)
        total = sum_rest(file, 0)
        file.seek(0)
        file.write((_STAMP + b"%08x %d %d\n" % (total, *place)).ljust(_STAMP_SIZE, b"\0"))


def is_stamped(path: Path) -> bool:
    """Whether a file begins like an HDF5 file with our checksum, damaged or not."""
    with path.open("rb") as file:
        return file.read(len(_STAMP)) == _STAMP


def check_hdf5(path: Path, *, remedy: str = "make or fetch it again") -> bool:
    """Compare an HDF5 file with its checksum; see :func:`read_checked`.

    Returns:
        Whether the file has a checksum. Without one nothing is compared.
    """
    return read_checked(path, keep=False, remedy=remedy)[0]


def read_checked(
    path: Path, *, keep: bool = True, remedy: str = "make or fetch it again"
) -> tuple[bool, int, memoryview | None]:
    """Compare an HDF5 file with its checksum, and keep the bytes of its large data set; the file is read once for both.

    Call it before HDF5 opens the file: on a damaged file HDF5 may hang.

    Args:
        path: The file.
        keep: Whether to keep these bytes.
        remedy: The advice in the error message.

    Returns:
        Whether the file has a checksum; the place of the data set's first byte; its bytes, or None if they are not kept or
        don't lie in one piece.

    Raises:
        DamagedFileError: If they differ.
    """
    with path.open("rb", buffering=0) as file:
        head = file.read(USERBLOCK)
        if not head.startswith(_STAMP):
            return False, 0, None
        written, offset, size = _place(head, path.stat().st_size)
        kept, total = None, 0
        if keep and size:
            total = sum_rest(file, total, offset - USERBLOCK)
            kept = _empty(size)
            for begin in range(0, size, BLOCK):
                piece = kept[begin : begin + BLOCK]
                if file.readinto(piece) != len(piece):
                    raise damaged(path, "it is cut short", remedy)
                total = crc32(piece, total)
        total = sum_rest(file, total)
    if written != b"%08x" % total:
        raise damaged(path, "its bytes are not those that were written (checksum)", remedy)
    return True, offset, kept


def _place(head: bytes, length: int) -> tuple[bytes, int, int]:
    """The checksum, and the place and size of the values; the size is 0 if these numbers make no sense."""
    found = re.match(rb"([0-9a-f]{8}) (\d{1,18}) (\d{1,18})\n", head[len(_STAMP) :])
    if found is None:
        return head[len(_STAMP) : len(_STAMP) + 8], 0, 0
    offset, size = int(found[2]), int(found[3])
    return found[1], offset, size if USERBLOCK <= offset <= length - size else 0


def _empty(size: int) -> Any:
    """Memory that is not filled with zeros."""
    import numpy as np

    return np.empty(size, np.uint8).data


def sum_rest(file: BinaryIO, total: int, num_bytes: int | None = None) -> int:
    """CRC-32 of the rest of an open file, or of its next ``num_bytes`` bytes, after bytes whose CRC-32 is ``total``."""
    buffer = memoryview(bytearray(BLOCK if num_bytes is None else min(BLOCK, num_bytes)))
    while num_bytes is None or num_bytes > 0:
        size = file.readinto(buffer if num_bytes is None else buffer[:num_bytes])  # type: ignore[attr-defined]
        if not size:
            break
        total = crc32(buffer[:size], total)
        num_bytes = None if num_bytes is None else num_bytes - size
    return total


__getattr__ = former_names(
    __name__,
    dict.fromkeys(("check_checkpoint", "check_tensors", "load_tensors", "stamp_tensors"), "neuroalign.tensor_files"),
)
