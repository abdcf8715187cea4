"""How many images, stimuli and voxels a study has: from the files if they are here, else what is known of the source."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from neuroalign.study.graph import Stage

__all__: list[str] = []

KNOWN = {  # training images, test images, classes, (channel, height, width)
    "digits": (1797, 0, 10, (3, 8, 8)),
    "cifar10": (50_000, 10_000, 10, (3, 32, 32)),
    "cifar100": (50_000, 10_000, 100, (3, 32, 32)),
}
_IMAGENET = (1300, 50)  # images of a class for training and for validation
_CLASSES = 50
_OF_NSD = {40: 10_000, 32: 9411, 30: 9209}  # distinct images that a subject saw in so many sessions
_SESSIONS = {"subj03": 32, "subj06": 32, "subj04": 30, "subj08": 30}
_VOXELS = 1500
_STIMULI = 1000


@dataclass(frozen=True)
class ImageSizes:
    """Numbers of images.

    Args:
        train: For training.
        val: For validation.
        test: For test.
        neural: Set apart for a simulated subject: (training, validation).
        shape: (channel, height, width).
        num_classes: Number of classes.
        assumed: What was assumed where the files are not here; empty if nothing.
    """

    train: int
    val: int
    test: int
    neural: tuple[int, int]
    shape: tuple[int, int, int]
    num_classes: int
    assumed: str = ""


def image_sizes(stage: Stage) -> ImageSizes:
    """Sizes of a stage of kind "images", by its settings and files.

    Example:
        >>> settings = {"source": "digits", "num_test": 350, "num_neural": [600, 100]}
        >>> sizes = image_sizes(Stage("images", "images", print, settings))
        >>> sizes.train, sizes.test, sizes.shape
        (747, 350, (3, 8, 8))
    """
    settings = stage.settings
    source, classes = settings["source"], settings.get("classes")
    assumed = ""
    if source in KNOWN:
        train, test, num, shape = KNOWN[source]
        kept = _members(classes) if classes else num
        train, test = train * kept // num, test * kept // num
    else:
        found = _counted(source, stage.sources, _names(classes))
        if found is None:
            num = len(_names(classes) or ()) or _CLASSES
            found = (num * _IMAGENET[0], num * _IMAGENET[1], num)
            assumed = f"{num} classes of {_IMAGENET[0]:,} training and {_IMAGENET[1]} test images, as in ImageNet"
        train, test, num = found
        shape = (3, 224, 224) if source == "folder" else (3, 32, 32)
    num = len(classes) if classes else num
    size = settings.get("image_size")
    shape = (shape[0], size, size) if size else shape
    neural = tuple(settings.get("num_neural") or (0, 0))
    val, wanted = settings.get("num_val") or 0, settings.get("num_test")
    if not test:
        test = wanted or train // 5
        train -= test
    left = max(1, train - val - sum(neural))
    train = min(settings.get("num_train") or left, left)
    return ImageSizes(train, val, min(wanted or test, test), neural, shape, num, assumed)


def _members(classes: Any) -> int:
    return sum(len(each) for each in classes.values()) if isinstance(classes, Mapping) else len(classes)


def _names(classes: Any) -> set[str] | None:
    if not classes:
        return None
    return {name for each in classes.values() for name in each} if isinstance(classes, Mapping) else set(classes)


def _counted(source: str, sources: Mapping[str, str], classes: set[str] | None) -> tuple[int, int, int] | None:
    """Training images, test images and classes of files; None if they can't be read here."""
    try:
        if source == "zip":
            counts = [_in_zip(sources[part], classes) if part in sources else {} for part in ("train", "test")]
        elif source == "folder":
            root = Path(sources["root"])
            test = root / "test" if (root / "test").is_dir() else root / "val"
            counts = [_in_folder(root / "train", classes), _in_folder(test, classes)]
        else:
            numbers = [_in_array(sources[part], "image") if part in sources else 0 for part in ("train", "test")]
            return (numbers[0], numbers[1], len(classes or ()) or 10)
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        return None
    return sum(counts[0].values()), sum(counts[1].values()), len(counts[0])


def _in_zip(path: str, classes: set[str] | None) -> dict[str, int]:
    counts: dict[str, int] = {}
    with zipfile.ZipFile(path) as file:
        for name in file.namelist():
            parts = name.split("/")
            if len(parts) > 1 and parts[-1] and (classes is None or parts[-2] in classes):
                counts[parts[-2]] = counts.get(parts[-2], 0) + 1
    return counts


def _in_folder(folder: Path, classes: set[str] | None) -> dict[str, int]:
    return {
        each.name: sum(1 for _ in each.iterdir())
        for each in folder.iterdir()
        if each.is_dir() and (classes is None or each.name in classes)
    }


def _in_array(path: str, name: str, axis: int = 0) -> int:
    from neuroalign.array_headers import array_headers

    headers = array_headers(path)
    shape, _ = headers[name] if name in headers else next(iter(headers.values()))
    return int(shape[axis])


def stimulus_sizes(stage: Stage) -> tuple[int, tuple[int, int, int], str]:
    """Number of stimuli of a stage of kind "stimuli", their (channel, height, width), and what was assumed.

    Example:
        >>> nsd = {"source": "nsd", "subject": "subj03", "image_size": 224}
        >>> stimulus_sizes(Stage("stimuli", "stimuli subj03", print, nsd))
        (9411, (3, 224, 224), '')
    """
    settings = stage.settings
    size = settings.get("image_size") or 32
    if settings["source"] == "simulated":
        images = image_sizes(stage.needs["subject"].needs["images"])
        copies = images.neural[0] * settings["copies"] + images.neural[1] * settings["val_copies"]
        return copies, images.shape, ""
    if settings["source"] == "nsd":
        all_sessions = _SESSIONS.get(settings["subject"], 40)
        sessions = settings.get("sessions")
        share = 1.0 if sessions is None else min(1.0, len(sessions) / all_sessions)
        return int(_OF_NSD[all_sessions] * share), (3, size, size), ""
    try:
        axes = str(settings.get("axes", "stimulus voxel")).split()
        name = settings.get("key") or next(iter((settings.get("arrays") or {"": ""}).values()))
        axis = axes.index("stimulus") if settings["source"] == "recording" else -1
        return _in_array(stage.sources["file"], name, axis), (3, size, size), ""
    except (OSError, ValueError, KeyError, IndexError, StopIteration):
        return _STIMULI, (3, size, size), f"{_STIMULI:,} stimuli in {stage.sources.get('file', 'the recording')}"


def num_voxels(stage: Stage) -> tuple[int, str]:
    """Number of voxels of a stage of kind "responses", and what was assumed."""
    settings = stage.settings
    if settings["source"] == "simulated":
        return int(settings["num_voxels"]), ""
    if settings["source"] == "rdms":
        return 0, ""  # dissimilarities are of the network's own features
    try:
        axes = str(settings.get("axes", "stimulus voxel")).split()
        return _in_array(stage.sources["file"], settings.get("key") or "", axes.index("voxel")), ""
    except (OSError, ValueError, KeyError, IndexError, StopIteration):
        return _VOXELS, f"{_VOXELS:,} voxels a region"
