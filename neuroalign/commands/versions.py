"""``neuroalign --version``: versions of what a result depends on, read without loading any of it."""

from __future__ import annotations

import argparse
import importlib.util
import platform
import re
from pathlib import Path
from typing import Any

from neuroalign.version import __version__

__all__: list[str] = []


class ShowVersions(argparse.Action):
    """Print the versions and end."""

    def __init__(self, option_strings: Any, dest: str, **kwargs: Any) -> None:
        super().__init__(option_strings, argparse.SUPPRESS, nargs=0, default=argparse.SUPPRESS, **kwargs)

    def __call__(self, parser: argparse.ArgumentParser, *args: Any) -> None:
        print(f"neuroalign {__version__}\nPython {platform.python_version()}")
        for name in ("torch", "lightning"):
            print(f"{name} {version_of(name) or 'not installed'}")
        print(f"{gpu_build()}; for the GPUs of this machine: neuroalign doctor")
        parser.exit()


def version_of(distribution: str) -> str | None:
    """The version of an installed package, or None."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def gpu_build() -> str:
    """What torch was built for, such as "CUDA 12.4" or "CUDA none"."""
    found = importlib.util.find_spec("torch")
    for folder in (found and found.submodule_search_locations) or ():
        file = Path(folder) / "version.py"
        text = file.read_text(encoding="utf-8") if file.exists() else ""
        for key, name in (("cuda", "CUDA"), ("hip", "ROCm")):
            if built := re.search(rf"^{key}\b.*=\s*'(.+)'", text, re.MULTILINE):
                return f"{name} {built[1]}"
    return "CUDA none"
