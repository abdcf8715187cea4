"""Files that are complete but hold something else: another map, or a copy of another session."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from neuroalign.checksums import crc32
from neuroalign.data.nsd.layout import NSDError
from neuroalign.data.nsd.regions import ATLASES

__all__: list[str] = []

_COLUMNS = 200  # voxels that are compared between two sessions
_NCSNR = 30  # the noise ceiling of a single trial would be .999; NSD's best voxels lie below 3
_PERCENT = 100.1


def check_labels(values: np.ndarray, atlas: str, names: Mapping[str, int], path: Path) -> np.ndarray:
    """Labels as whole numbers.

    Args:
        values: Labels as they are stored, of any shape.
        atlas: Name of the atlas.
        names: Numbers of the atlas's labels by name, from the colour table or built in.
        path: The file, for messages.

    Raises:
        NSDError: If a value is no whole number from -1 on, or if an atlas of NSD's own holds a label that it doesn't have.

    Example:
        >>> check_labels(
        ...     np.array([0.0, 1.0, -1.0]),
        ...     "nsdgeneral",
        ...     {"nsdgeneral": 1},
        ...     Path("nsdgeneral.nii.gz"),
        ... )
        array([ 0,  1, -1])
    """
    with np.errstate(invalid="ignore"):
        labels = values.astype(np.int64)
    wrong = labels != values  # a fraction, NaN, or infinite
    if wrong.any() or (labels.size and labels.min() < -1):
        wrong |= labels < -1
        raise NSDError(
            f"{path} holds {values[wrong].flat[0]:.4g}, which is no label (-1, 0, 1, ...): it is another map in the atlas's "
            "place, or damaged. Fetch it again"
        )
    known = {**ATLASES.get(atlas, {}), **names} if ATLASES.get(atlas) else {}
    if known and labels.size and labels.max() > max(known.values()):
        raise NSDError(f"{path} holds label {labels.max()}, but {atlas} has labels 1 to {max(known.values())}: it is another "
                       "atlas in its place, or damaged. Fetch it again")  # fmt: skip
    return labels


def check_distinct(labels: Mapping[str, np.ndarray], files: Mapping[str, Path]) -> None:
    """Compare the atlases of NSD's own with each other.

    Raises:
        NSDError: If two of them are equal: then one file was copied over the other.
    """
    seen: dict[int, str] = {}
    for name in labels:
        if name not in ATLASES or not labels[name].size:
            continue
        other = seen.setdefault(crc32(np.ascontiguousarray(labels[name])), name)
        if other != name and np.array_equal(labels[other], labels[name]):
            raise NSDError(
                f"{files[name]} and {files[other]} hold the same labels: one was copied over the other. Fetch both again"
            )


def check_map(values: np.ndarray, name: str, path: Path) -> None:
    """Check whether the values of a map are possible.

    Raises:
        NSDError: If ncsnr is negative, above 30 or holds whole numbers only, or R2 is above 100 %.
    """
    if name not in ("ncsnr", "R2"):
        return
    numbers = values[~np.isnan(values)]
    if not numbers.size:
        return
    low, high = numbers.min(), numbers.max()
    if name == "R2" and high > _PERCENT:
        raise NSDError(f"{path} holds {high:.4g}; R2 is at most 100 %: it is another map, or damaged. Fetch it again")
    if name == "ncsnr" and not 0 <= low <= high <= _NCSNR:
        raise NSDError(f"{path} runs from {low:.4g} to {high:.4g}; ncsnr lies between 0 and {_NCSNR}: it is another map, or "
                       "damaged. Fetch it again")  # fmt: skip
    if name == "ncsnr" and high > 0 and (numbers == np.rint(numbers)).all():
        raise NSDError(f"{path} holds whole numbers only, which ncsnr doesn't: it is another map. Fetch it again")


def session_sum(values: np.ndarray) -> int | None:
    """A checksum of some voxels of a session (trial, voxel); None if all of them are invalid."""
    step = -(-values.shape[1] // _COLUMNS) or 1
    some = np.ascontiguousarray(values[:, ::step])
    return crc32(some) if np.isfinite(some).any() else None


def same_sessions(sums: Mapping[int, int | None]) -> str:
    """Which sessions hold the same responses, in words; an empty text if all differ.

    Example:
        >>> print(same_sessions({1: 17, 2: 4, 3: 17}))
        sessions 1 and 3 hold the same responses: one was copied over the other, so its trials
        have the wrong images
    """
    groups: dict[int, list[int]] = {}
    for session, total in sums.items():
        if total is not None:
            groups.setdefault(total, []).append(session)
    same = [" and ".join(map(str, group)) for group in groups.values() if len(group) > 1]
    text = "hold the same responses: one was copied over the other, so its trials have the wrong images"
    return f"sessions {', '.join(same)} {text}" if same else ""
