"""Files of tensors, compared with their checksums: our safetensors files, and checkpoints of PyTorch and Lightning.

A safetensors file of ours carries the checksum in its metadata. PyTorch stores one for each tensor in a checkpoint, which is
a zip archive, but doesn't compare it.
"""

from __future__ import annotations

import os
import struct
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from neuroalign.checksums import DamagedFileError, crc32, damaged, sum_rest

__all__ = ["check_checkpoint"]

_OLDER = {"neuroalign"}  # metadata of files written before there were checksums
_LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19"  # the first bytes of torch.save before it wrote zip archives


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
        return sum_rest(file, 0, member.file_size)


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
