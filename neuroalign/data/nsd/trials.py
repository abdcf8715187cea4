"""The image of every trial, the subject's button presses, and the splits into training and test images.

Most errors in reading NSD come from where counting begins: sessions are 1-based; trials are counted through all
sessions, 750 each; ``masterordering`` and ``subjectim`` hold 1-based ids; rows of the stimulus set, and so
``Responses.stimulus``, are 0-based.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Unpack

import numpy as np

from neuroalign.data.nsd.layout import (
    FACTS,
    FSAVERAGE,
    NUM_IMAGES,
    NUM_SHARED,
    TRIALS_PER_SESSION,
    NSDError,
    NSDPaths,
    readable,
)
from neuroalign.data.nsd.opening import Access, open_nsd
from neuroalign.data.nsd.tree import Tree
from neuroalign.moved import former_keywords
from neuroalign.types import unknown

__all__ = ["SPLITS", "read_nsd_split"]

SPLITS = ("shared1000", "shared515", "algonauts2023")
"""Names of published splits of NSD's images that :func:`read_nsd_split` knows."""
COLUMNS = {
    "RT": "reaction_time",
    "ISOLD": "is_old",
    "ISCORRECT": "is_correct",
    "MEMORYRECENT": "memory_recent",
    "MEMORYFIRST": "memory_first",
    "MISSINGDATA": "missing_data",
}
"""Columns of the behaviour table that are joined, and the names they get."""

_REAL_SHARED = (2950, 72948)  # the first and last of the thousand shared images, 0-based
_ANCHOR = 46003  # 73k id (1-based) of subject 1's first trial in NSD
_ORDER = {28: 48618, 35: 44981, 44: 32626}  # 73k ids of some later trials of subject 1


@dataclass(frozen=True)
class Design:
    """Which image was shown when to one subject.

    Attributes:
        stimulus: (30000,) row of the stimulus set, 0-based, of every planned trial.
        ten_k: (30000,) number of the image among the subject's 10,000 images, 1-based; the first thousand are shared.
    """

    stimulus: np.ndarray
    ten_k: np.ndarray

    @classmethod
    def read(cls, tree: Tree, paths: NSDPaths) -> Design:
        """Read the design file.

        Raises:
            FileNotFoundError: If it is missing.
            NSDError: If it is damaged, holds ids outside their range, or contradicts itself.
        """
        from scipy.io import loadmat

        path = paths.expdesign
        tree.fetch([path])
        wanted = ("masterordering", "subjectim", "sharedix")
        with readable(path):
            _check_sums(path)
            design = loadmat(path, variable_names=wanted)
        lacking = [name for name in wanted[:2] if name not in design]
        if lacking:
            raise NSDError(f"{path} is not NSD's design file: it lacks {' and '.join(map(repr, lacking))}")
        for name in wanted:
            values = np.asarray(design.get(name, 1))
            if values.dtype.kind not in "iuf" or not values.size or not (values == np.floor(values)).all():
                raise NSDError(
                    f"{path} can't be read: damaged, as its {name} is no list of whole numbers. Fetch it again"
                )
        # MATLAB stores the smallest unsigned type; a subtraction in that type would wrap around.
        ten_k, every = design["masterordering"].ravel().astype(np.int64), design["subjectim"].astype(np.int64)
        if every.ndim != 2 or len(every) < paths.subject:
            raise NSDError(
                f"{path} is not NSD's design file: subjectim has shape {every.shape}, no row of {paths.subject}"
            )
        images = every[paths.subject - 1]
        if not (ten_k.min() >= 1 and ten_k.max() <= len(images)):
            raise NSDError(
                f"{path}: masterordering runs from {ten_k.min()} to {ten_k.max()}, not within 1..{len(images)}"
            )
        shown = images[ten_k - 1]
        if not (shown.min() >= 1 and shown.max() <= NUM_IMAGES):
            raise NSDError(f"{path}: subjectim runs from {shown.min()} to {shown.max()}, not within 1..{NUM_IMAGES}")
        if "sharedix" in design and not np.array_equal(images[:NUM_SHARED], design["sharedix"].ravel()):
            raise NSDError(f"{path}: the first {NUM_SHARED} images of subject {paths.subject} are not the shared ones")
        return cls(shown - 1, ten_k)

    def check_anchors(self, paths: NSDPaths, shape: tuple[int, ...]) -> None:
        """Compare subject 1's first trials with the published ones, if the shared images and the space are NSD's own.

        Raises:
            NSDError: If the trials show other images.
        """
        real = {"func1pt8mm": FACTS[1].shape, "fsaverage": FSAVERAGE}
        shared = self.stimulus[self.ten_k <= NUM_SHARED]
        if paths.subject != 1 or shape != real.get(paths.space) or (shared.min(), shared.max()) != _REAL_SHARED:
            return
        path, first = paths.expdesign, int(self.stimulus[0]) + 1
        if first != _ANCHOR:
            raise NSDError(f"{path}: subject 1's first trial shows image {first} (1-based); in NSD it is {_ANCHOR}")
        later = {trial: int(self.stimulus[trial]) for trial in _ORDER}
        # The source of these numbers doesn't say whether they count from 0 or 1; the order is checked for both.
        if not any(all(later[t] == number - base for t, number in _ORDER.items()) for base in (0, 1)):
            raise NSDError(
                f"{path}: subject 1's trials {sorted(_ORDER)} show {later}; in NSD they are {_ORDER} (1-based)"
            )

    def trials(self, sessions: Sequence[int]) -> np.ndarray:
        """Positions (trial,) of the trials of sessions, one session after the other."""
        first = (np.asarray(sessions) - 1) * TRIALS_PER_SESSION
        places = (first[:, None] + np.arange(TRIALS_PER_SESSION)).ravel()
        if places.max() >= len(self.ten_k):
            raise NSDError(f"session {max(sessions)} lies beyond the {len(self.ten_k)} trials of the design")
        return places

    def split(self, name: str, num_sessions: int) -> np.ndarray:
        """Rows of a split's test images in the stimulus set, in order."""
        if name == "shared1000":
            return np.unique(self.stimulus[self.ten_k <= NUM_SHARED])
        if name == "shared515":
            # Every subject completed thirty sessions.
            counts = np.bincount(self.ten_k[: 30 * TRIALS_PER_SESSION], minlength=NUM_SHARED + 1)[1 : NUM_SHARED + 1]
            wanted = np.flatnonzero(counts == 3) + 1
            return np.unique(self.stimulus[np.isin(self.ten_k, wanted)])
        if name == "algonauts2023":
            last = (num_sessions - 3) * TRIALS_PER_SESSION
            return np.setdiff1d(self.stimulus[last : last + 3 * TRIALS_PER_SESSION], self.stimulus[:last])
        raise ValueError(unknown("split", name, SPLITS))


def _check_sums(path: Path) -> None:
    """Compare the checksums of a MATLAB file's compressed variables, which SciPy ignores.

    A variable that isn't compressed has no checksum.
    """
    from isal import isal_zlib

    with path.open("rb") as file:
        head = file.read(128)
        if head[126:128] not in (b"IM", b"MI"):  # version 4, which has no checksums, or no MATLAB file
            return
        order: Literal["little", "big"] = "little" if head[126:128] == b"IM" else "big"
        while len(tag := file.read(8)) == 8:
            kind, size = int.from_bytes(tag[:4], order), int.from_bytes(tag[4:], order)
            if kind != 15:  # not compressed
                file.seek(size, os.SEEK_CUR)
                continue
            stream, left = isal_zlib.decompressobj(), size
            while left > 0 and (block := file.read(min(left, 2**20))):
                left -= len(block)
                while block:
                    stream.decompress(block, 2**20)
                    block = stream.unconsumed_tail
            if not stream.eof:
                raise ValueError("a variable is cut short")


@former_keywords(cache="download_folder")
def read_nsd_split(
    root: str | os.PathLike[str] | Tree, subject: int, split: str = "shared1000", **access: Unpack[Access]
) -> np.ndarray:
    """The test images of a published split, as 0-based rows of NSD's stimulus set (``Responses.stimulus``).

    Args:
        root: A folder or URL.
        subject: 1 to 8.
        split: "shared1000", the images that were planned for all subjects; "shared515", those of them that every subject saw
            three times within the 30 sessions that all completed; "algonauts2023", the images that came only in the
            subject's last three sessions. For the subjects with 40 sessions these are the challenge's 159 test images; for
            the others the challenge left out some 36 more.
        **access: ``accept_terms``, ``download_folder`` and others, for a URL, as in :func:`open_nsd`.

    Returns:
        (image,) int64, increasing.

    Raises:
        ValueError: If there is no such split or subject.
        FileNotFoundError: If the design file is missing.

    Example:
        >>> import tempfile
        >>> from neuroalign.data import write_simulated_nsd
        >>> root = tempfile.mkdtemp()
        >>> _ = write_simulated_nsd(root, np.random.rand(1000, 3, 8, 8), np.arange(1000) % 10)
        >>> read_nsd_split(root, subject=1, split="shared1000").shape
        (1000,)
    """
    tree = open_nsd(root, **access)
    paths = NSDPaths(tree.root, subject)
    design = Design.read(tree, paths)
    return design.split(split, FACTS[subject].sessions)


def read_behaviour(tree: Tree, paths: NSDPaths, sessions: Sequence[int], stimulus: np.ndarray) -> dict[str, np.ndarray]:
    """The behaviour in each trial of the sessions: one (trial,) float32 array per column, NaN if no button was pressed.

    Raises:
        FileNotFoundError: If the table is missing.
        NSDError: If the table is damaged, lacks trials, or names other images than the design.
    """
    import pandas as pd

    path = paths.behaviour
    tree.fetch([path])
    wanted = ["SESSION", "RUN", "TRIAL", "73KID", *COLUMNS]
    with readable(path):
        table = pd.read_csv(path, sep="\t", usecols=lambda name: name in wanted)
    lacking = [name for name in wanted[:4] if name not in table]
    if lacking:
        raise NSDError(f"{path} is not NSD's behaviour table: it has no columns {lacking}")
    for name in table.columns:
        table[name] = _numbers(table[name], path, ids=name in wanted[:4])
    table = table.sort_values(["SESSION", "RUN", "TRIAL"], kind="stable")
    parts = []
    for session in sessions:
        part = table[table["SESSION"] == session]
        if len(part) != TRIALS_PER_SESSION:
            raise NSDError(
                f"{path} has {len(part)} trials of session {session}, not {TRIALS_PER_SESSION}: it is cut short, or of other "
                "sessions. Fetch it again"
            )
        parts.append(part)
    joined = pd.concat(parts)
    wrong = np.flatnonzero(joined["73KID"].to_numpy(dtype=np.int64) - 1 != stimulus)
    if len(wrong):
        trial = int(wrong[0])
        raise NSDError(
            f"{path} and the design file name different images in {len(wrong)} of {len(stimulus)} trials, first in session "
            f"{sessions[trial // TRIALS_PER_SESSION]}, trial {trial % TRIALS_PER_SESSION + 1}: one of them is another "
            "subject's, or damaged"
        )
    return {
        name: joined[column].to_numpy(dtype=np.float32, copy=True)
        for column, name in COLUMNS.items()
        if column in joined
    }


def _numbers(column: Any, path: Path, *, ids: bool) -> Any:
    """A column as numbers; the error of an entry that is no number names its line."""
    import pandas as pd

    numbers = pd.to_numeric(column, errors="coerce").astype(np.float64)
    wrong = np.isinf(numbers) | (numbers.isna() & column.notna())
    if ids:
        wrong |= numbers.isna() | (numbers % 1 != 0)
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        kind, found = "a whole number" if ids else "a number", column.iloc[row]
        found = repr(found) if isinstance(found, str) else f"{found:g}"
        raise NSDError(
            f"{path}, line {row + 2}: {column.name} is {found}, not {kind}: the table is damaged. Fetch it again"
        )
    return numbers
