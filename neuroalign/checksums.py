"""Checksums of our own files: a byte that changed since it was written is an error, not a different number.

CRC-32 finds damage (by disks, transfers, editors), not forgery. Files of responses carry a checksum in front of the HDF5
file, files of tensors in the metadata of the safetensors file. PyTorch stores one for each tensor in a checkpoint, which is a
zip archive, but doesn't compare it.
"""

from __future__ import annotations

import os
import re
import struct
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

BLOCK = 2**20  # bytes summed at once: few enough to stay in the processor's cache
_SAMPLE = 2**16  # bytes of each sampled block
USERBLOCK = 512  # bytes in front of an HDF5 file that HDF5 leaves free
_STAMP = b"neuroalign crc32 "
_STAMP_SIZE = 112
_OLDER = {"neuroalign"}  # metadata of files written before there were checksums
_LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19"  # the first bytes of torch.save before it wrote zip archives


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
        return _sum_rest(file, 0)


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
            return _sum_rest(file, total)
        for i in range(blocks):
            file.seek((size - _SAMPLE) * i // (blocks - 1))
            total = _sum_rest(file, total, _SAMPLE)
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
        total = _sum_rest(file, 0)
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
            total = _sum_rest(file, total, offset - USERBLOCK)
            kept = _empty(size)
            for begin in range(0, size, BLOCK):
                piece = kept[begin : begin + BLOCK]
                if file.readinto(piece) != len(piece):
                    raise damaged(path, "it is cut short", remedy)
                total = crc32(piece, total)
        total = _sum_rest(file, total)
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


def _sum_rest(file: BinaryIO, total: int, num_bytes: int | None = None) -> int:
    buffer = memoryview(bytearray(BLOCK if num_bytes is None else min(BLOCK, num_bytes)))
    while num_bytes is None or num_bytes > 0:
        size = file.readinto(buffer if num_bytes is None else buffer[:num_bytes])  # type: ignore[attr-defined]
        if not size:
            break
        total = crc32(buffer[:size], total)
        num_bytes = None if num_bytes is None else num_bytes - size
    return total


def stamp_tensors(state: Mapping[str, Any], metadata: Mapping[str, str]) -> dict[str, str]:
    """Metadata for a safetensors file: the given metadata and a checksum of the tensors and of that metadata.

    Example:
        >>> import torch
        >>> sorted(stamp_tensors({"weight": torch.zeros(2)}, {"made by": "me"}))
        ['crc32', 'made by']
    """
    return {**metadata, "crc32": f"{_sum_tensors(state, metadata):08x}"}


def check_tensors(path: str | os.PathLike[str], state: Mapping[str, Any], metadata: Mapping[str, str] | None) -> None:
    """Compare the content of a safetensors file with its checksum; a file of an older version without one passes.

    Raises:
        DamagedFileError: If they differ, or if a file that no older version wrote has no checksum.
    """
    rest = dict(metadata or {})
    written = rest.pop("crc32", None)
    if written is None:
        foreign = sorted(set(rest) - _OLDER)
        if foreign:  # a checksum with a damaged name would be among these
            raise damaged(path, f"it has no checksum, but an entry {foreign[0]!r}, or another program wrote it")
    elif written != f"{_sum_tensors(state, rest):08x}":
        raise damaged(path, "its content is not what was written (checksum)")


def load_tensors(path: str | os.PathLike[str], what: str) -> tuple[dict[str, Any], dict[str, str]]:
    """Read tensors and metadata of a safetensors file, and compare them with its checksum.

    Args:
        path: The file.
        what: What the file should hold, for messages.

    Raises:
        FileNotFoundError: If there is no such file.
        DamagedFileError: If it differs from its checksum, is cut short or empty, or is no safetensors file.

    Example:
        >>> import tempfile, torch
        >>> from safetensors.torch import save_file
        >>> path, state = tempfile.mkdtemp() + "/weights.safetensors", {"weight": torch.ones(2)}
        >>> save_file(state, path, metadata=stamp_tensors(state, {}))
        >>> load_tensors(path, "weights")[0]["weight"]
        tensor([1., 1.])
    """
    from safetensors import SafetensorError, safe_open

    path = _regular(path, what)
    try:
        with safe_open(path, "pt") as file:
            metadata = dict(file.metadata() or {})
            state = {k: file.get_tensor(k) for k in file.keys()}  # noqa: SIM118 - not a dict
    except PermissionError:
        raise
    # A damaged header may name any type and shape.
    except (SafetensorError, OSError, RuntimeError, ValueError, TypeError, LookupError, AttributeError) as error:
        raise DamagedFileError(
            f"{path} is not a file of {what}: it is damaged, cut short, or no safetensors file ({_line(error)}); make or "
            "fetch it again"
        ) from error
    check_tensors(path, state, metadata)
    metadata.pop("crc32", None)
    return state, metadata


def check_checkpoint(path: str | os.PathLike[str]) -> bool:
    """Compare every tensor of a checkpoint with the checksum that PyTorch stored with it.

    Args:
        path: A file of ``torch.save``, such as a checkpoint of Lightning.

    Returns:
        Whether there were checksums. Files in the format before PyTorch 1.6 have none, nor do files that were written
        without them (``torch.serialization.set_crc32_options``).

    Raises:
        FileNotFoundError: If there is no such file.
        DamagedFileError: If they differ, or the file is cut short, empty, or no checkpoint at all.

    Example:
        >>> import tempfile, torch
        >>> path = tempfile.mkdtemp() + "/last.ckpt"
        >>> torch.save({"weight": torch.ones(2)}, path)
        >>> check_checkpoint(path)
        True
    """
    path = _regular(path, "checkpoint")
    with path.open("rb") as file:
        if file.read(len(_LEGACY)) == _LEGACY:
            return False
        try:
            with zipfile.ZipFile(file) as archive:
                entries = archive.infolist()
                # PyTorch would read what stands before the first entry; zipfile skips it.
                if min((m.header_offset for m in entries), default=0):
                    raise damaged(path, "something stands in front of it")
                members = [(m, _sum_member(path, archive, m)) for m in entries]
        # The errors zipfile raises on damage, which depend on its place.
        except (
            zipfile.BadZipFile, zlib.error, struct.error, ValueError, LookupError, RuntimeError, EOFError, OSError
        ) as error:  # fmt: skip
            if isinstance(error, DamagedFileError):
                raise
            raise DamagedFileError(
                f"{path} is no checkpoint, or damaged or cut short ({_line(error)}); make or fetch it again"
            ) from error
    with_sum = any(member.CRC for member, _ in members)
    for member, found in members:
        if with_sum and found != member.CRC:
            raise damaged(path, f"{member.filename} in it is not what was written (checksum)")
    return with_sum


def _sum_member(path: Path, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> int:
    if member.compress_type != zipfile.ZIP_STORED:  # PyTorch compresses nothing
        raise damaged(path, f"{member.filename} in it is compressed, which PyTorch never does")
    # zipfile compares the name in front of the member with the one in its list.
    with archive.open(member):
        pass
    with path.open("rb", buffering=0) as file:
        file.seek(member.header_offset + 26)
        name, extra = struct.unpack("<HH", file.read(4))
        file.seek(name + extra, os.SEEK_CUR)
        return _sum_rest(file, 0, member.file_size)


def _regular(path: str | os.PathLike[str], what: str) -> Path:
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"no {what} at {path}")
    if not path.is_file():
        raise DamagedFileError(f"{path} is a folder, a device or a pipe, and holds no {what}: give the name of a file")
    if not path.stat().st_size:
        raise damaged(path, "it is empty")
    return path


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


def _sum_tensors(state: Mapping[str, Any], metadata: Mapping[str, str]) -> int:
    import torch

    total = crc32(repr(sorted(metadata.items())).encode())
    for name, tensor in sorted(state.items()):
        total = crc32(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode(), total)
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        if flat.numel():
            total = crc32(memoryview(flat.view(torch.uint8).numpy()), total)
    return total
