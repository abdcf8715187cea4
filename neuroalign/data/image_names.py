"""Which image file belongs to which stimulus of a recording: by name where both have names, else by order."""

from __future__ import annotations

import re
import unicodedata
import warnings
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from neuroalign.data.image_files import ImageFiles
from neuroalign.data.responses import Responses
from neuroalign.types import unknown

__all__: list[str] = []


def files_of(images: ImageFiles, responses: Responses) -> ImageFiles:
    """The image files numbered as the stimuli of the responses are.

    Names in ``responses.info["stimulus_id"]`` are matched to file names, with or without folders and extension. Stimuli that
    have numbers only are matched to files that are named by numbers (``7.png``, ``007.png``), and otherwise, or where the
    images are a list of files, to the numbers of the images.

    Args:
        images: Files; their own numbers count where names don't.
        responses: Responses whose stimuli have names or numbers.

    Returns:
        The same files, numbered as the stimuli of the responses.

    Raises:
        ValueError: If a stimulus has no image (with near matches), or a name fits two files; or if nothing but the order of
            a folder's files says which belongs to which stimulus, and :func:`check_order` refuses it.

    Warns:
        UserWarning: If images of a folder have no responses.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> for name in ("a.png", "b.png"):
        ...     (folder / name).touch()
        >>> responses = Responses.from_arrays(np.ones((2, 5)), info={"stimulus_id": ["b", "a"]})
        >>> files_of(ImageFiles(folder), responses).files[0].name
        'b.png'
    """
    ids = responses.info.get("stimulus_id")
    stimuli = np.unique(responses.stimulus).tolist()
    if ids is not None and stimuli[0] >= 0 and stimuli[-1] < len(ids):
        by_name = _by_name(images, {stimulus: str(ids[stimulus]) for stimulus in stimuli})
        if by_name is not None:
            return _renumbered(images, by_name)
    if images.folder is None:
        return images
    by_number = _by_number(images, stimuli)
    if by_number is not None:
        return _renumbered(images, by_number)
    check_order(images)
    if not set(stimuli) < set(images.files):  # none is left out; a number that is too large is refused when it is read
        return images
    return _renumbered(images, dict(zip(stimuli, stimuli)))


def check_order(images: ImageFiles) -> None:
    """Refuse a folder whose files have another order if their names are sorted in another usual way.

    Files are numbered in the order of their paths within the folder, character by character. Responses without names may have
    been put in another: that of the files' names alone where there are folders inside, of folders one after the other, of
    letters without regard to case, or of the numbers in names (1, 2, 10). All must be the same.

    Raises:
        ValueError: Saying how to give the order.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> for name in ("01.png", "02.png", "10.png"):
        ...     (folder / name).touch()
        >>> check_order(ImageFiles(folder))
    """
    if images.folder is None:
        return
    names = images.names
    for what, key in _ORDERS.items():
        other = sorted(names, key=lambda name: (key(name), name))
        if other != names:
            place = next(i for i, pair in enumerate(zip(names, other)) if pair[0] != pair[1])
            raise ValueError(
                f"{images.folder}: image {place} (from 0) is {names[place]!r} in the order of the names and "
                f"{other[place]!r} in that of {what}, and the responses don't name their images: give the files in the "
                "responses' order, ImageFiles([file, ...]), or name the images in the responses"
            )


def _base(name: str) -> str:
    return PurePosixPath(name).name


def _by_numbers(name: str) -> list[tuple[bool, int, str]]:
    parts = [part for part in re.split(r"(\d+)", name.casefold()) if part]
    return [(not p.isdigit(), int(p) if p.isdigit() else 0, p) for p in parts]


_ORDERS: dict[str, Callable[[str], Any]] = {
    "the files' names without their folders": _base,
    "the folders, one after the other": lambda name: PurePosixPath(name).parts,
    "the letters without regard to case": str.casefold,
    "the names without folders and without regard to case": lambda name: _base(name).casefold(),
    "the numbers in them": _by_numbers,
    "the numbers in them without folders": lambda name: _by_numbers(_base(name)),
}


def _renumbered(images: ImageFiles, place_of: dict[int, int]) -> ImageFiles:
    without = sorted(set(images.files) - set(place_of.values()))
    if without and images.folder is not None:
        warnings.warn(
            f"{images.folder}: {len(without)} of {len(images.files)} images have no responses, such as "
            f"{images.files[without[0]].name!r}; they are left out",
            stacklevel=4,
        )
    return ImageFiles({stimulus: images.files[n] for stimulus, n in place_of.items()}, image_size=images.image_size)


def _by_name(images: ImageFiles, ids: dict[int, str]) -> dict[int, int] | None:
    """The number of the image of each stimulus; None if images are a list, none of which has the name of a stimulus."""
    known: dict[str, list[int]] = {}
    for number, name in zip(sorted(images.files), images.names):
        for key in _names_of(name):
            known.setdefault(key, []).append(number)
    found: dict[int, int] = {}
    missing: dict[int, str] = {}
    for stimulus, name in ids.items():
        matches = next((known[key] for key in _keys(name) if key in known), [])
        if len(matches) > 1:
            two = " and ".join(str(images.files[n]) for n in matches[:2])
            raise ValueError(f"the stimulus {name!r} fits {two}: name it with its extension, and the folder it is in")
        if matches:
            found[stimulus] = matches[0]
        else:
            missing[stimulus] = name
    if not found and images.folder is None:
        return None
    if missing:
        first = next(iter(missing.values()))
        where = images.folder or "the files"
        raise ValueError(
            f"{len(missing)} of {len(ids)} stimuli of the responses have no image in {where}: "
            f"{unknown('image', first, images.names)}"
        )
    if len(set(found.values())) < len(found):
        twice = next(n for n in found.values() if list(found.values()).count(n) > 1)
        names = [ids[stimulus] for stimulus, n in found.items() if n == twice]
        raise ValueError(f"the stimuli {names[0]!r} and {names[1]!r} both fit the image {images.files[twice]}")
    return found


def _path(name: str) -> PurePosixPath:
    text = unicodedata.normalize("NFC", name.strip())  # macOS stores an umlaut as two characters
    return PurePosixPath(text.replace("\\", "/"))


def _keys(name: str) -> list[str]:
    """What a name in a table may mean: a path, or the file's name alone."""
    path = _path(name)
    return list(dict.fromkeys([str(path), path.name]))


def _names_of(name: str) -> list[str]:
    """What a file may be called: with and without the folders it is in and its extension."""
    path = _path(name)
    return list(dict.fromkeys([str(path), path.name, str(path.with_suffix("")), path.stem]))


def _by_number(images: ImageFiles, stimuli: list[int]) -> dict[int, int] | None:
    """The image of each stimulus where files are named by numbers; None if not all stimuli are among these."""
    stems = {number: Path(name).stem for number, name in zip(sorted(images.files), images.names)}
    if not all(stem.isascii() and stem.isdigit() for stem in stems.values()):
        return None
    named = {int(stem): number for number, stem in stems.items()}
    if len(named) < len(stems) or not set(stimuli) <= set(named):
        return None
    order = sorted(named)
    if stimuli[0] >= 0 and stimuli[-1] < len(order) and any(order[stimulus] != stimulus for stimulus in stimuli):
        first = next(stimulus for stimulus in stimuli if order[stimulus] != stimulus)
        raise ValueError(
            f"{images.folder}: stimulus {first} may be the image {images.files[named[first]].name!r} by its name, or "
            f"{images.files[named[order[first]]].name!r} by its place, counted from 0: name the images in the responses, or "
            "give their files by number, ImageFiles({number: file, ...})"
        )
    return {stimulus: named[stimulus] for stimulus in stimuli}
