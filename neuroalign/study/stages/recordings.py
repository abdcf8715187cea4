"""Responses of a region in a file, and which of its stimuli are for validation."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neuroalign.files import check_source
from neuroalign.study.stages.picture_files import Pictures

if TYPE_CHECKING:
    import numpy as np

    from neuroalign.data import Responses

__all__: list[str] = []


def image_names(settings: Mapping[str, Any], sources: Mapping[str, str]) -> tuple[Pictures, list[str]]:
    """The images of a recording, and their names in the order of its stimuli.

    Raises:
        FileNotFoundError: If the images or the file of names are missing.
        ValueError: If the file has no array of names.
    """
    pictures = Pictures(sources["images"])
    if settings.get("names") is None:
        return pictures, pictures.names
    return pictures, _names(check_source(sources["file"], "responses"), settings["names"])


def _names(path: Path, key: str) -> list[str]:

    from neuroalign.data.array_files import load_member, load_numpy

    if path.suffix != ".npz":
        raise ValueError(f"responses.names: names of images are read from .npz files, and {path} is none")
    with load_numpy(path) as file:
        if key not in file.files:
            raise ValueError(f"responses.names: {path} has no array {key!r}; it has {', '.join(file.files)}")
        names: np.ndarray = load_member(path, file, key)
    if names.ndim != 1 or names.dtype.kind not in "US":
        raise ValueError(
            f"responses.names: the array {key!r} of {path} holds no names, but {names.dtype} {names.shape}"
        )
    return [name.decode() if isinstance(name, bytes) else str(name) for name in names.tolist()]


def read_region(settings: Mapping[str, Any], sources: Mapping[str, str]) -> tuple[Responses, str]:
    """Averaged responses of a recording's region, with validation stimuli marked, and where its noise ceiling is from.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If the file holds no such array, or stimuli and images differ in number.
    """
    import numpy as np

    trials = _trials(settings, sources["file"])
    _, names = image_names(settings, sources)
    num = int(trials.stimulus.max()) + 1
    if num > len(names) or (num < len(names) and not _is_extracted(sources["file"])):
        raise ValueError(
            f"{sources['file']} has responses to {num} stimuli, but there are {len(names)} images "
            f"({sources['images']}): they must be the same, in the same order; if other images lie there too, "
            "'names' says which were shown"
        )
    trials, ceiling_from = _with_ceiling(trials, settings)
    averages = trials if "average_repeats" in trials.history else trials.average_repeats()
    if settings["noise_ceiling"] is not None:
        ceiling = np.full(averages.num_voxels, settings["noise_ceiling"], dtype=np.float32)
        averages = replace(averages, noise_ceiling=ceiling)
    held_out = held_out_stimuli(averages.stimulus, names, settings["held_out"])
    return replace(averages, shared=np.isin(averages.stimulus, held_out)), ceiling_from


def _is_extracted(path: str) -> bool:
    import h5py

    from neuroalign.data.responses_file import FORMAT

    if Path(path).suffix not in (".h5", ".hdf5") or not h5py.is_hdf5(path):
        return False
    with h5py.File(path) as file:
        return bool(file.attrs.get("format") == FORMAT)


def _trials(settings: Mapping[str, Any], path: str) -> Responses:
    from neuroalign.data import Responses, read_recording

    check_source(path, f"responses of {settings['region']}")
    if _is_extracted(path):
        found = Responses.load(path)
        return found.select(roi=settings["region"]) if settings["region"] in found.roi else found
    return read_recording(
        path,
        axes=settings["axes"],
        key=settings["key"],
        roi=settings["region"],
        averaged=settings["averaged"],
        missing=settings["missing"],
    )


def _with_ceiling(trials: Responses, settings: Mapping[str, Any]) -> tuple[Responses, str]:
    import numpy as np

    if settings["noise_ceiling"] is not None:
        return trials, settings["noise_ceiling_from"] or "the study's file"
    if trials.noise_ceiling is not None:
        return trials, "the file of the responses"
    if len(np.unique(trials.stimulus)) < len(trials):
        return trials.estimate_noise_ceiling(), "repeats of these responses"
    return trials, ""


def held_out_stimuli(stimulus: np.ndarray, names: Sequence[str], held_out: Mapping[str, Any]) -> np.ndarray:
    """The stimuli for validation.

    Args:
        stimulus: (stimulus,) numbers of the stimuli, places in ``names``.
        names: Names of the images.
        held_out: Settings: ``number``, ``pattern`` and ``seed``.

    Raises:
        ValueError: If the pattern is no regular expression with a group or doesn't fit a name, or nothing would be left.

    Example:
        >>> import numpy as np
        >>> names = ["zoom1-movie01-a", "zoom1-movie02-a", "zoom2-movie01-b"]
        >>> held_out_stimuli(
        ...     np.arange(3), names, {"number": 1, "pattern": "-(movie[0-9]+)-", "seed": 0}
        ... )
        array([0, 2])
    """
    import numpy as np

    number, pattern = held_out["number"], held_out["pattern"]
    if pattern is None:
        _leaves_some(number, len(stimulus), "stimuli")
        return np.sort(stimulus[np.random.default_rng(held_out["seed"]).permutation(len(stimulus))[:number]])
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise ValueError(f"responses.held_out.pattern {pattern!r} is no regular expression: {error}") from None
    if not compiled.groups:
        raise ValueError(
            f"responses.held_out.pattern {pattern!r} has no group: put what tells the groups of images apart in parentheses"
        )
    found = [compiled.search(names[i]) for i in stimulus.tolist()]
    if None in found:
        name = names[int(stimulus[found.index(None)])]
        raise ValueError(f"responses.held_out.pattern {pattern!r} doesn't fit the image name {name!r}")
    groups = np.array([match[1] or "" for match in found if match is not None])
    known = sorted(set(groups.tolist()))
    _leaves_some(number, len(known), "groups of images")
    return stimulus[np.isin(groups, known[:number])]


def _leaves_some(number: int, there: int, what: str) -> None:
    if number >= there:
        raise ValueError(f"responses.held_out.number: {number} of {there} {what} leave none to fit a predictor to")
