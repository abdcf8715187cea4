"""The file of a trained network, for the stage that writes it and for those that read it."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from neuroalign.models import GuidedNetwork
from neuroalign.models.network_files import load_module

__all__: list[str] = []

FILE = "network.safetensors"


def read_network(folder: Path) -> GuidedNetwork:
    """The trained network of a result, in eval mode.

    Args:
        folder: Folder of the result.
    """
    return cast(GuidedNetwork, load_module(folder / FILE, "network").eval())
