"""Small files of results: tensors with a checksum, and JSON; written whole."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neuroalign.files import check_source, whole

if TYPE_CHECKING:
    from torch import Tensor

__all__: list[str] = []


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors by name to one safetensors file.

    Example:
        >>> import tempfile, torch
        >>> path = Path(tempfile.mkdtemp()) / "a.safetensors"
        >>> write_tensors(path, {"label": torch.tensor([1, 2])})
        >>> read_tensors(path, "labels")
        {'label': tensor([1, 2])}
    """
    from safetensors.torch import save_file

    from neuroalign.tensor_files import stamp_tensors

    state = {name: tensor.contiguous() for name, tensor in tensors.items()}
    with whole(path) as temporary:
        save_file(state, temporary, metadata=stamp_tensors(state, {}))


def read_tensors(path: Path, what: str) -> dict[str, Tensor]:
    """Read the tensors of :func:`write_tensors`.

    Args:
        path: The file.
        what: What it holds, for messages.

    Raises:
        FileNotFoundError: If there is no such file.
        DamagedFileError: If it is damaged.
    """
    from neuroalign.tensor_files import load_tensors

    return load_tensors(path, what)[0]


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write plain values."""
    with whole(path) as temporary:
        temporary.write_text(json.dumps(values, indent=1, allow_nan=False), encoding="utf-8")


def read_json(path: Path, what: str) -> dict[str, Any]:
    """Read plain values.

    Raises:
        FileNotFoundError: If there is no such file.
    """
    values: dict[str, Any] = json.loads(check_source(path, what).read_text(encoding="utf-8"))
    return values
