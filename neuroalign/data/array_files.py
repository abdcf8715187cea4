"""NumPy's .npy and .npz files from others: nothing is unpickled, and every error names the file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from neuroalign.array_headers import array_headers

__all__: list[str] = []


def load_numpy(path: Path, *, mapped: bool = False) -> Any:
    """The array of an .npy file, or the open archive of an .npz.

    Args:
        path: The file.
        mapped: Leave an array on disk and read its values when they are needed.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is cut short, damaged, holds objects, or is no such file.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "a.npy"
        >>> np.save(path, np.arange(3))
        >>> load_numpy(path)
        array([0, 1, 2])
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    try:
        array_headers(path)
    except ValueError as error:
        raise damaged(path, "NumPy", error.__cause__ or error) from error
    try:
        return np.load(path, allow_pickle=False, mmap_mode="r" if mapped else None)
    except Exception as error:  # on damage NumPy raises errors of many kinds
        raise damaged(path, "NumPy", error) from error


def load_member(path: Path, archive: Any, name: str) -> np.ndarray:
    """An array of an open .npz.

    Raises:
        ValueError: If it is damaged, or holds objects.
    """
    try:
        return archive[name]
    except Exception as error:  # on damage NumPy raises errors of many kinds
        raise ValueError(f"{path}: its array {name!r} can't be read ({_reason(error)})") from error


def member_shape(path: Path, archive: Any, name: str) -> tuple[int, ...]:
    """The shape of an array of an open .npz, without reading its values.

    Raises:
        ValueError: If it is damaged.
    """
    member = name if name in archive.zip.namelist() else f"{name}.npy"
    try:
        with archive.zip.open(member) as file:
            version = np.lib.format.read_magic(file)
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            return read(file)[0]
    except Exception as error:  # on damage NumPy raises errors of many kinds
        raise ValueError(f"{path}: its array {name!r} can't be read ({_reason(error)})") from error


def damaged(path: Path, kind: str, error: BaseException) -> ValueError:
    """The error of a file that its reader can't read."""
    return ValueError(
        f"{path} can't be read as a file of {kind}: cut short, damaged, or something else ({_reason(error)})"
    )


def _reason(error: BaseException) -> str:
    if "pickle" in str(error):
        return (
            "it holds Python objects, or is no such file; objects are not unpickled, as that can run code: save numbers"
        )
    return " ".join(str(error).split())[:200] or type(error).__name__
