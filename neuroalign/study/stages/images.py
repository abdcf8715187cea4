"""The images that the networks of a study classify: which there are, and which part each belongs to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neuroalign.study.stages.image_sources import Labelled, groups_of, labelled
from neuroalign.study.stages.result_files import read_json, read_tensors, write_json, write_tensors
from neuroalign.study.work import Work

if TYPE_CHECKING:
    import numpy as np

    from neuroalign.study.stages.image_parts import ImageSets

__all__: list[str] = []

VERSION = 1


def make(work: Work) -> None:
    """Choose the images of every part and write them; images of a folder stay where they are.

    Files: ``images.json``, and ``images.safetensors`` or ``folder.json``; see :func:`read_images`.
    """
    settings = work.settings
    work.report("reading images", 0.0)
    train, test = labelled(settings, work.sources)
    groups = groups_of(settings["classes"], train.classes)
    neural = groups_of(settings["neural_classes"], train.classes) if settings["neural_classes"] else groups
    _check_classes(settings, train, test, groups)
    chosen = _split(settings, train, test, groups, neural)
    parts = {}
    for name, places in chosen.items():
        source = test if name == "test" and test is not None else train
        first = len(train.classes) if source is test else 0  # no two parts share an identity
        labels = _labels(neural if name.startswith("neural") else groups, source, places)
        parts[name] = _Part(source, places, labels, places + first)
    shape = (_list_files if train.files else _write_pixels)(work, parts)
    about = {
        "classes": list(groups),
        "neural_classes": list(neural),
        "image_shape": list(shape),
        "counts": {name: len(part.places) for name, part in parts.items()},
    }
    write_json(work.out / "images.json", about)


@dataclass(frozen=True)
class _Part:
    source: Labelled
    places: np.ndarray
    labels: np.ndarray
    stimulus: np.ndarray


def _write_pixels(work: Work, parts: Mapping[str, _Part]) -> tuple[int, ...]:
    """Write the pixels of all parts; the shape of an image."""
    import torch

    from neuroalign.data.images import to_pixels

    tensors, contrast = {}, work.settings["contrast"]
    for done, (name, part) in enumerate(parts.items()):
        work.report(f"reading {name} images", done / len(parts))
        pixels = part.source.read(part.places.tolist(), work.settings["image_size"])
        tensors[f"{name}_image"] = pixels if contrast == 1 else 0.5 + contrast * (to_pixels(pixels) - 0.5)
        tensors[f"{name}_label"] = torch.from_numpy(part.labels)
        tensors[f"{name}_stimulus"] = torch.from_numpy(part.stimulus)
    shapes = {name: tuple(tensors[f"{name}_image"].shape[1:]) for name in parts}
    if len(set(shapes.values())) > 1:
        raise ValueError(f"the images of the parts differ in shape, {shapes}: set images.image_size")
    write_tensors(work.out / "images.safetensors", tensors)
    return shapes["train"]


def _list_files(work: Work, parts: Mapping[str, _Part]) -> tuple[int, ...]:
    """Write the names of all parts' files, whose images stay where they are; the shape of an image."""
    size = work.settings["image_size"]
    if size is None:
        raise ValueError("images.image_size is needed for source 'folder': its images may differ in size")
    listed = {
        name: {
            "files": [part.source.files[i] for i in part.places.tolist()],
            "labels": part.labels.tolist(),
            "stimulus": part.stimulus.tolist(),
        }
        for name, part in parts.items()
    }
    about = {"root": work.sources["root"], "image_size": size, "contrast": work.settings["contrast"], "parts": listed}
    write_json(work.out / "folder.json", about)
    return 3, size, size


def read_images(folder: Path, root: str | Path | None = None) -> ImageSets:
    """Read the images of :func:`make`.

    Args:
        folder: Folder of the result.
        root: Folder of the image files, where these were left; None means where they were when the result was made.

    Raises:
        FileNotFoundError: If there is no such result.
        DamagedFileError: If it is damaged.
    """
    import torch

    from neuroalign.study.stages.image_parts import PARTS, FileImages, ImagePart, ImageSets

    about = read_json(folder / "images.json", "images")
    channels, height, width = about["image_shape"]
    if (folder / "folder.json").exists():
        listed = read_json(folder / "folder.json", "images")
        place = Path(root or listed["root"])
        parts: dict[str, Any] = {
            name: FileImages(
                place,
                part["files"],
                torch.tensor(part["labels"]),
                torch.tensor(part["stimulus"]),
                listed["image_size"],
                listed["contrast"],
            )
            for name, part in listed["parts"].items()
        }
    else:
        found = read_tensors(folder / "images.safetensors", "images")
        parts = {
            name: ImagePart(*(found[f"{name}_{what}"] for what in ("image", "label", "stimulus")))
            for name in PARTS
            if f"{name}_label" in found
        }
    return ImageSets(about["classes"], (channels, height, width), parts)


def _split(
    settings: Mapping[str, Any],
    train: Labelled,
    test: Labelled | None,
    groups: Mapping[str, Sequence[str]],
    neural: Mapping[str, Sequence[str]],
) -> dict[str, np.ndarray]:
    """Places of every part's images in its source."""
    import numpy as np

    guided_classes, neural_classes = ({c for group in g.values() for c in group} for g in (groups, neural))
    num_fit, num_val_neural = settings["num_neural"] or (0, 0)
    pool = np.array([i for i, c in enumerate(train.classes) if c in guided_classes | neural_classes], dtype=np.int64)
    drawn = test is None or num_fit or settings["num_val"] or settings["num_train"] is not None
    rng = np.random.default_rng(settings["seed"])
    order = pool[rng.permutation(len(pool))] if drawn else pool
    of_neural = np.array([train.classes[i] in neural_classes for i in order], dtype=bool)
    num_neural = num_fit + num_val_neural
    _enough("num_neural", num_neural, int(of_neural.sum()), "images of these classes")
    chosen = order[of_neural][:num_neural]
    rest = order[~np.isin(order, chosen) & np.array([train.classes[i] in guided_classes for i in order], dtype=bool)]
    parts = {"neural_fit": chosen[:num_fit], "neural_val": chosen[num_fit:]}
    if test is None:
        num_test = len(rest) // 5 if settings["num_test"] is None else settings["num_test"]
        _enough("num_test", num_test, len(rest) - 1, "images left")
        parts["test"] = rest[len(rest) - num_test :]
        rest = rest[: len(rest) - num_test]
    else:
        parts["test"] = _test_places(settings, test, guided_classes, rng)
    num_train = len(rest) - settings["num_val"] if settings["num_train"] is None else settings["num_train"]
    wanted = max(num_train, 2) + settings["num_val"]
    _enough("num_train and num_val", wanted, len(rest), "images left for both")
    parts["val"] = rest[len(rest) - settings["num_val"] :] if settings["num_val"] else rest[:0]
    parts["train"] = rest[:num_train]
    return {name: places for name, places in parts.items() if len(places)}


def _test_places(settings: Mapping[str, Any], test: Labelled, classes: set[str], rng: Any) -> np.ndarray:
    import numpy as np

    places = np.array([i for i, c in enumerate(test.classes) if c in classes], dtype=np.int64)
    num_test = settings["num_test"]
    if num_test is None:
        _enough("classes", 1, len(places), "test images of these classes")
        return places
    _enough("num_test", num_test, len(places), "test images of these classes")
    return np.sort(places[rng.permutation(len(places))[:num_test]])


def _check_classes(
    settings: Mapping[str, Any], train: Labelled, test: Labelled | None, groups: Mapping[str, Sequence[str]]
) -> None:
    if len(groups) < 2:
        raise ValueError(
            f"images: a classifier needs at least 2 classes, and the training images have only {', '.join(groups)}"
        )
    strange = sorted(set(test.classes) - set(train.classes)) if test is not None and settings["classes"] is None else []
    if strange:
        raise ValueError(
            f"images: the test images have classes that the training images don't have ({', '.join(strange[:5])}): name the "
            "classes to keep by 'classes', or correct the labels"
        )


def _enough(key: str, wanted: int, there: int, what: str) -> None:
    if wanted > there:
        raise ValueError(f"images.{key}: {wanted} wanted, but there are only {there} {what}")


def _labels(groups: Mapping[str, Sequence[str]], source: Labelled, places: np.ndarray) -> np.ndarray:
    import numpy as np

    number = {name: label for label, group in enumerate(groups.values()) for name in group}
    return np.array([number[source.classes[i]] for i in places.tolist()], dtype=np.int64)
