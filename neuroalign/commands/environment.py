"""What neuroalign finds on a machine: packages, devices, folders, extras; and what of it is broken."""

from __future__ import annotations

import importlib.util
import os
import platform
import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from neuroalign.addresses import redacted
from neuroalign.commands.environment_imports import broken_imports
from neuroalign.commands.environment_plugins import published
from neuroalign.commands.extras import EXTRAS
from neuroalign.commands.versions import gpu_build, version_of
from neuroalign.version import __version__

__all__: list[str] = []

_COMPROMISED = {"lightning": ("2.6.2", "2.6.3")}
"""Releases that ran foreign code when they were imported."""

_FOLDERS = {
    "NEUROALIGN_DATA": (None, "recordings that examples and tests read"),
    "NEUROALIGN_CACHE": ("~/.cache/neuroalign", "what studies at URLs keep on this machine"),
    "TORCH_HOME": ("~/.cache/torch", "torchvision's pretrained weights"),
    "HF_HOME": ("~/.cache/huggingface", "weights from the Hugging Face Hub, timm's among them"),
}
"""Variables that name folders, where a folder is if the variable isn't set, and what it holds."""


@dataclass
class Environment:
    """What was found, in plain values without passwords; paths in the home folder begin with ``~``.

    Args:
        software: Versions and places of neuroalign, Python and the system.
        packages: Versions of the packages that neuroalign needs; None where one is missing.
        devices: CPUs, memory and GPUs.
        folders: By the variable that names it, what is known about a folder.
        extras: By name: what the extra gives, and the modules that it lacks.
        plugins: Losses, perturbations and readers that other packages publish: by kind and name, the packages.
        broken: A sentence for each thing that neuroalign needs and that doesn't work.
        broken_plugins: A sentence for each name of another package that can't be used.
        notes: A sentence for each thing that may surprise.
    """

    software: dict[str, str] = field(default_factory=dict)
    packages: dict[str, str | None] = field(default_factory=dict)
    devices: dict[str, Any] = field(default_factory=dict)
    folders: dict[str, dict[str, Any]] = field(default_factory=dict)
    extras: dict[str, dict[str, Any]] = field(default_factory=dict)
    plugins: dict[str, dict[str, list[str]]] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)
    broken_plugins: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def examine(nsd: str | None = None) -> Environment:
    """Look at this machine; nothing is written.

    Args:
        nsd: A folder with the Natural Scenes Dataset, to look at as well.
    """
    found = Environment()
    found.software = {
        "neuroalign": __version__,
        "folder": short(Path(__file__).parents[1]),
        "Python": platform.python_version(),
        "executable": short(sys.executable),
        "system": platform.platform(),
    }
    _look_at_packages(found)
    _look_at_devices(found)
    found.broken += broken_imports([name for name, version in found.packages.items() if version is not None])
    _look_at_folders(found)
    _look_at_extras(found)
    plugins = published()
    found.plugins, found.broken_plugins = plugins.packages, plugins.broken
    found.notes += plugins.hidden
    if nsd is not None:
        _look_at_nsd(found, nsd)
    return found


def short(path: str | os.PathLike[str]) -> str:
    """A path that may be shown to others: without the name of the home folder, and without passwords in a URL."""
    text, home = redacted(os.fspath(path)), str(Path.home())
    return f"~{text[len(home) :]}" if text == home or text.startswith(home + os.sep) else text


def _requirements() -> list[Any] | None:
    """What neuroalign needs, from its metadata; None if it was not installed as a package."""
    from importlib.metadata import PackageNotFoundError, requires

    from packaging.requirements import Requirement

    try:
        needed = [Requirement(text) for text in requires("neuroalign") or []]
    except PackageNotFoundError:
        return None
    return [each for each in needed if each.marker is None or each.marker.evaluate({"extra": ""})]


def _look_at_packages(found: Environment) -> None:
    try:
        requirements = _requirements()
    except ImportError as error:
        found.broken.append(f"{error}: pip install packaging")
        return
    if requirements is None:
        found.notes.append("neuroalign was not installed as a package: what it needs can't be checked")
        found.packages = {name: version_of(name) for name in ("torch", "lightning")}
        return
    for each in sorted(requirements, key=lambda requirement: requirement.name):
        version = version_of(each.name)
        found.packages[each.name] = version
        if version is None:
            found.broken.append(f"{each.name} is missing: pip install '{each}'")
        elif version in _COMPROMISED.get(each.name, ()):
            found.broken.append(
                f"{each.name} {version} was a compromised release, which ran foreign code: pip install '{each}', and change "
                "the passwords and keys of this machine"
            )
        elif not each.specifier.contains(version, prereleases=True):
            found.broken.append(f"{each.name} {version} doesn't fit: pip install '{each}'")


def _look_at_devices(found: Environment) -> None:
    found.devices = {"cpus": os.cpu_count(), "memory": _memory(), "gpus": [], "built for": gpu_build()}
    try:
        import torch
    except Exception as error:  # a broken installation of torch fails in many ways
        found.broken.append(f"torch can't be imported ({type(error).__name__}: {' '.join(str(error).split())[:200]})")
        return
    found.devices["threads"] = torch.get_num_threads()
    found.devices["mps"] = bool(torch.backends.mps.is_available())
    for number in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        facts = torch.cuda.get_device_properties(number)
        found.devices["gpus"].append({"name": facts.name, "memory": facts.total_memory})
        try:
            torch.ones(2, device=f"cuda:{number}").sum().item()
        except Exception as error:
            found.broken.append(f"GPU {number} ({facts.name}) can't compute: {str(error).splitlines()[0]}")
    if not found.devices["gpus"] and shutil.which("nvidia-smi"):
        found.notes.append(
            f"there is an NVIDIA driver, but torch ({found.devices['built for']}) sees no GPU: install the torch that fits "
            "the driver, see pytorch.org"
        )


def _memory() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # Windows has no sysconf
        return None


def _look_at_folders(found: Environment) -> None:
    for name, (usual, holds) in _FOLDERS.items():
        value = os.environ.get(name) or usual
        entry: dict[str, Any] = {"holds": holds, "set": name in os.environ, "path": None, "exists": False, "free": None}
        if value and "://" in value:
            entry |= {"path": short(value), "exists": None}
        elif value:
            path = Path(value).expanduser()
            entry |= {"path": short(path), "exists": path.is_dir(), "free": _free(path)}
            if entry["set"] and not entry["exists"]:
                found.notes.append(f"{name} is set to {entry['path']}, which is no folder")
        found.folders[name] = entry
    found.folders["working folder"] = {
        "holds": "where commands write",
        "set": True,
        "path": short(Path.cwd()),
        "exists": True,
        "free": _free(Path.cwd()),
    }
    if not os.access(Path.cwd(), os.W_OK):
        found.notes.append("the working folder can't be written to: give commands another folder by --out")


def _free(path: Path) -> int | None:
    """Bytes that are free where a folder is, or would be."""
    while not path.exists() and path != path.parent:
        path = path.parent
    try:
        return shutil.disk_usage(path).free
    except OSError:
        return None


def _look_at_extras(found: Environment) -> None:
    for name, extra in EXTRAS.items():
        missing = [module for module in extra.modules if importlib.util.find_spec(module) is None]
        found.extras[name] = {"gives": extra.gives, "missing": missing}


def _look_at_nsd(found: Environment, root: str) -> None:
    if "://" in root:
        found.folders["NSD"] = {
            "holds": "the Natural Scenes Dataset",
            "set": True,
            "path": short(root),
            "exists": None,
        }
        return
    path = Path(root)
    subjects = sorted(_subjects(path))
    holds = f"betas of {', '.join(subjects)}" if subjects else "betas of no subject"
    found.folders["NSD"] = {"holds": holds, "set": True, "path": short(path), "exists": path.is_dir(), "free": None}
    if not (path / "nsddata").is_dir():
        found.broken.append(f"{short(path)} is no NSD folder: there is no nsddata in it")
    else:
        found.notes.append(f"what the NSD folder lacks is listed by: neuroalign nsd check {short(path)}")


def _subjects(root: Path) -> Iterator[str]:
    folder = root / "nsddata_betas/ppdata"
    if folder.is_dir():
        yield from (each.name for each in folder.iterdir() if re.fullmatch("subj0[1-8]", each.name))
