"""Stage predictor."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from neuroalign.study.work import Work

if TYPE_CHECKING:
    from torch import nn

__all__: list[str] = []

VERSION = 1


def fit(work: Work) -> None:
    """To come."""
    raise NotImplementedError


def read_predictor(folder: Path) -> nn.Module:
    """The predictor of a result, in eval mode."""
    from neuroalign.models.network_files import load_module

    return load_module(folder / "predictor.safetensors", "predictor").eval()
