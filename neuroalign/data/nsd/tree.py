"""An NSD folder on this machine, and what reading NSD needs from one, whether it is here or behind a URL."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np

from neuroalign import hdf5
from neuroalign.checksums import crc32_of_file, crc32_of_samples
from neuroalign.data.nsd.columns import read_columns
from neuroalign.data.nsd.layout import FACTS, NSDError, NSDPaths, fingerprint, readable
from neuroalign.moved import former_names

__all__ = ["Tree"]

Confirm = bool | Callable[[str], bool] | None
"""How a download is confirmed: by a question at the terminal (None), in advance (True), or by a function of the question."""

Check = Callable[[tuple[int, ...], Any], None]
"""Raises if a dataset's shape and dtype are not the expected ones."""


class Tree:
    """An NSD folder on this machine.

    Args:
        root: The folder that holds ``nsddata``, ``nsddata_betas`` and ``nsddata_stimuli``.

    Raises:
        FileNotFoundError: If there is no such folder, or it is no NSD folder.
        NotADirectoryError: If it is a file.
    """

    is_remote = False

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self.root = Path(root).expanduser()
        if not self.root.is_dir():
            if self.root.exists():
                raise NotADirectoryError(f"{self.root} is a file: give the folder that holds nsddata")
            raise FileNotFoundError(f"no folder {self.root}")
        if not (self.root / "nsddata").is_dir():
            raise FileNotFoundError(
                f"{self.root} is not an NSD folder: it holds no folder 'nsddata' (next to 'nsddata_betas' and "
                "'nsddata_stimuli')"
            )

    def __str__(self) -> str:
        return str(self.root)

    @property
    def simulated(self) -> bool:
        """Whether the folder was written by :func:`neuroalign.write_simulated_nsd`."""
        return self.exists(self.root / "SIMULATED")

    def exists(self, path: Path) -> bool:
        """Whether there is such a file."""
        return path.is_file()

    def size(self, path: Path) -> int:
        """Size of a file in bytes."""
        return path.stat().st_size

    def state(self, path: Path, *, whole: bool = False) -> dict[str, Any]:
        """Values that differ once a file has changed: size, time of change, and a checksum of all or of samples."""
        before = fingerprint(path)
        total = {"crc32": crc32_of_file(path)} if whole else {"samples": crc32_of_samples(path)}
        return {"bytes": before[0], "modified": before[1], **total}

    def names(self, folder: Path) -> list[str]:
        """Names in a folder, sorted; an empty list if there is no such folder."""
        return sorted(p.name for p in folder.iterdir()) if folder.is_dir() else []

    def name(self, path: Path) -> str:
        """A file's name in messages, as the user knows it."""
        return str(path)

    def fetch(self, paths: Iterable[Path], what: str = "files") -> None:
        """Make files available on this machine; the error of a missing file names it."""
        for path in paths:
            if not self.exists(path):
                raise FileNotFoundError(f"no file {self.name(path)}")

    def reading(self, path: Path) -> AbstractContextManager[None]:
        """A context whose errors of damage name the file, and that detects if the file was replaced in the meantime."""
        return readable(path)

    def open(self, path: Path) -> Any:
        """The path or file object that h5py opens."""
        return path

    def prepare(self, paths: Sequence[Path], num_voxels: int) -> None:
        """Make betas ready for reading ``num_voxels`` voxels; behind a URL, the size is shown and confirmed first."""
        self.fetch(paths)

    def columns(self, path: Path, dataset: str, places: np.ndarray, *, check: Check) -> np.ndarray:
        """Read columns (trial, voxel) of an HDF5 dataset (trial, ...), one column per place.

        Args:
            path: The file.
            dataset: The dataset's name.
            places: (voxel, axis), in the order of the dataset's axes after the first.
            check: Receives the dataset's shape and dtype, and raises if they are not the expected ones.

        Raises:
            NSDError: If the file is damaged or replaced in the meantime, or holds no such dataset.
        """
        with readable(path), hdf5.open_hdf5(path) as file:
            data = dataset_of(file, dataset, path)
            check(data.shape, data.dtype)
            return read_columns(data, places)

    def session_files(self, paths: NSDPaths, number: int) -> list[Path] | None:
        """The files of a session, HDF5 rather than nii.gz, or None if some are missing."""
        for files in paths.session_files(number):
            if all(self.exists(file) for file in files):
                return files
        return None

    def sessions(self, paths: NSDPaths) -> list[int]:
        """Numbers of the complete sessions, in order."""
        names = (re.fullmatch(r"(?:[lr]h\.)?betas_session(\d+)\.(?:hdf5|nii\.gz|mgh)", n)
                 for n in self.names(paths.beta_folder))  # fmt: skip
        found = sorted({int(m[1]) for m in names if m})
        return [number for number in found if self.session_files(paths, number)]


def dataset_of(file: Any, name: str, path: Path) -> Any:
    """A dataset of an open HDF5 file, whose values must lie in this file; errors name both."""
    try:
        return hdf5.dataset(file, name)
    except KeyError as error:
        raise NSDError(f"{path} holds no dataset {name!r}") from error
    except hdf5.HDF5Error as error:
        raise NSDError(f"{path} can't be used: {error}") from error


def half_sessions(tree: Tree, paths: NSDPaths) -> str:
    """Files of hemispheres that are missing beside the other one, in words; an empty text if there are none."""
    names = tree.names(paths.beta_folder) if paths.is_surface else []
    numbers = range(1, FACTS[paths.subject].sessions + 1) if names else ()
    pairs = [paths.session_files(number)[0] for number in numbers]
    halves = [
        file for pair in pairs for file in pair if sum(f.name in names for f in pair) == 1 and file.name not in names
    ]
    return f"; {', '.join(f.name for f in halves)} missing beside the other hemisphere's" if halves else ""


def check_sessions(tree: Tree, paths: NSDPaths, sessions: Sequence[int] | None) -> list[int]:
    """The wanted sessions, or all that are there. Each wanted session must be complete.

    Raises:
        TypeError: If a number is given in place of a sequence.
        FileNotFoundError: If there are no betas of this subject, space and version; the message lists those that exist.
        NSDError: If a wanted session is missing, or one before the last that is there.
        ValueError: If numbers are not 1-based, or one comes twice.
    """
    if isinstance(sessions, int):
        raise TypeError(f"sessions is a sequence of 1-based numbers: range(1, {sessions + 1}) for the first {sessions}")
    if isinstance(sessions, str):
        raise TypeError(f"sessions is a sequence of 1-based numbers, such as range(1, 11); got {sessions!r}")
    found = tree.sessions(paths)
    if not found:
        have = tree.names(paths.beta_folder.parent) or "none"
        close = difflib.get_close_matches(paths.betas, have, n=1) if have != "none" else []
        near = f" (did you mean {close[0]!r}?)" if close and close[0] != paths.betas else ""
        subjects = [n for n in tree.names(paths.root / "nsddata_betas/ppdata") if n.startswith("subj")] or "none"
        raise FileNotFoundError(
            f"no betas at {tree.name(paths.beta_folder)}{near}; versions there: {have}; subjects there: {subjects}"
            + half_sessions(tree, paths)
        )
    if sessions is None:
        wanted = list(range(1, found[-1] + 1))
    else:
        wanted = [int(s) for s in sessions]
        if not wanted or min(wanted) < 1 or len(set(wanted)) != len(wanted):
            raise ValueError(f"sessions are 1-based and different from each other; got {wanted}")
    missing = [s for s in wanted if s not in found]
    if missing:
        beyond = missing[0] > FACTS[paths.subject].sessions
        raise NSDError(
            f"session {missing[0]} is missing in {tree.name(paths.beta_folder)}"
            + (f" (and {missing[1:]})" if missing[1:] else "")
            + (f"; subject {paths.subject} had {FACTS[paths.subject].sessions} sessions" if beyond else
               ": reading on would give every later trial the wrong image. Fetch it, or name the sessions you have")
            + half_sessions(tree, paths)
        )  # fmt: skip
    return wanted


__getattr__ = former_names(__name__, {}, {"open_tree": "neuroalign.data.nsd.opening.open_nsd"})
