"""Where the labelled images of a study come from: their labels first, pixels of the wanted ones later."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neuroalign.study.settings.base import near_match
from neuroalign.study.stages.picture_files import Pictures, resized

if TYPE_CHECKING:
    from torch import Tensor

__all__: list[str] = []


@dataclass(frozen=True)
class Labelled:
    """Images of one source before any are chosen.

    Args:
        classes: The class of each image in the source.
        read: From places of images, and the size to resize to or None, to pixels (stimulus, channel, height, width).
        files: The file of each image; empty where images are no files of a folder.
    """

    classes: Sequence[str]
    read: Callable[[Sequence[int], int | None], Tensor]
    files: Sequence[str] = ()


def labelled(settings: Mapping[str, Any], sources: Mapping[str, str]) -> tuple[Labelled, Labelled | None]:
    """The training images of a source, and its test images if it has any.

    Raises:
        FileNotFoundError: If a file is missing; the message says where it can be had, where that is known.
        ValueError: If a file holds no labelled images.
    """
    kind = settings["source"]
    if kind == "digits":
        return _digits(), None
    if kind in ("cifar10", "cifar100"):
        return _cifar(kind, sources["root"])
    if kind == "folder":
        return _folders(Path(sources["root"]))
    make = _zipped if kind == "zip" else _arrays
    return make(sources["train"]), make(sources["test"]) if "test" in sources else None


def _of_tensor(images: Tensor, classes: Sequence[str]) -> Labelled:
    return Labelled(classes, lambda places, size: resized(images[list(places)], size))


def _digits() -> Labelled:
    from neuroalign.data import load_digits

    images, labels = load_digits()
    return _of_tensor(images, [str(label) for label in labels.tolist()])


def _cifar(kind: str, root: str) -> tuple[Labelled, Labelled]:
    from torchvision import datasets

    from neuroalign.data.images import as_pixels

    make = datasets.CIFAR10 if kind == "cifar10" else datasets.CIFAR100
    found = []
    for train in (True, False):
        try:
            part = make(root, train=train)
        except RuntimeError as error:
            raise FileNotFoundError(
                f"no {kind} under {root}: torchvision.datasets.{make.__name__}({root!r}, download=True) fetches it"
            ) from error
        found.append(_of_tensor(as_pixels(part.data), [part.classes[i] for i in part.targets]))
    return found[0], found[1]


def _zipped(path: str) -> Labelled:
    pictures = Pictures(path)
    outside = [name for name in pictures.names if "/" not in name]
    if outside:
        raise ValueError(f"{path}: {outside[0]} lies in no folder, whose name would be its class (CLASS/{outside[0]})")
    classes = [name.split("/")[-2] for name in pictures.names]
    return Labelled(classes, lambda places, size: pictures.read([pictures.names[i] for i in places], size))


def _folders(root: Path) -> tuple[Labelled, Labelled | None]:
    if not (root / "train").is_dir():
        raise FileNotFoundError(f"{root} must hold the folder 'train' with one folder per class; there is none")
    parts = [_folder(root, part) for part in ("train", "test", "val") if (root / part).is_dir()]
    return parts[0], parts[1] if len(parts) > 1 else None


def _folder(root: Path, part: str) -> Labelled:
    from neuroalign.data.image_folders import ClassFolders

    found = ClassFolders(root / part)
    files = [Path(path).relative_to(root).as_posix() for path, _ in found.samples]
    classes = [found.classes[label] for _, label in found.samples]

    def read(places: Sequence[int], size: int | None) -> Tensor:
        from neuroalign.study.stages.image_parts import read_files

        return read_files(root, [files[i] for i in places], size)

    return Labelled(classes, read, files)


def _arrays(path: str) -> Labelled:
    import numpy as np

    from neuroalign.data.array_files import load_member, load_numpy
    from neuroalign.data.images import as_pixels

    file = load_numpy(Path(path))
    if isinstance(file, np.ndarray) or not {"image", "label"} <= set(file.files):
        held = "one array" if isinstance(file, np.ndarray) else ", ".join(file.files)
        raise ValueError(f"{path} must be an .npz with the arrays 'image' and 'label'; it holds {held}")
    with file:
        images, labels = (load_member(Path(path), file, name) for name in ("image", "label"))
    if len(images) != len(labels) or labels.ndim != 1:
        raise ValueError(f"{path}: {len(images)} images, but labels of shape {labels.shape}")
    try:
        return _of_tensor(as_pixels(images), [str(label) for label in labels.tolist()])
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from error


def groups_of(wanted: Sequence[str] | Mapping[str, Sequence[str]] | None, found: Sequence[str]) -> dict[str, list[str]]:
    """Which classes of a source each class of the study stands for, in the order of the labels.

    Args:
        wanted: Names of classes, or several classes of the source by name; None means all in sorted order.
        found: The class of every image of the source.

    Raises:
        ValueError: If the source has no such class, or one stands for two.

    Example:
        >>> groups_of({"animal": ["cat", "dog"]}, ["cat", "car", "dog"])
        {'animal': ['cat', 'dog']}
    """
    known = sorted(set(found), key=lambda name: (not name.isdigit(), int(name) if name.isdigit() else 0, name))
    if wanted is None:
        return {name: [name] for name in known}
    groups = {k: list(v) for k, v in wanted.items()} if isinstance(wanted, Mapping) else {n: [n] for n in wanted}
    seen: set[str] = set()
    for name in [each for group in groups.values() for each in group]:
        if name not in known:
            some = ", ".join(known[:8]) + (", ..." if len(known) > 8 else "")
            raise ValueError(f"images.classes: there is no class {name!r}{near_match(name, known)}; there are: {some}")
        if name in seen:
            raise ValueError(f"images.classes: {name!r} stands in two classes")
        seen.add(name)
    return groups
