"""Images in one folder per class, read as torchvision does, but without hidden files and files that are no images."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from torchvision.datasets import ImageFolder

from neuroalign.data.image_files import read_image
from neuroalign.data.image_paths import EXTENSIONS, images_below, refuse_broken, visible
from neuroalign.types import unknown

__all__: list[str] = []

_PARTS = {"train", "val", "valid", "validation", "test"}


class ClassFolders(ImageFolder):
    """Images in one folder per class, with the folders inside it; labels are in the order of the classes' names.

    Hidden files and folders, such as those that macOS and notebooks leave behind, and files whose names are not those of
    images are ignored. Images are read by ``neuroalign.data.image_files.read_image``.

    Args:
        root: The folder that holds one folder per class.
        transform: Applied to each image; None leaves images as they are.
        classes: Names of the classes in the order of their labels, such as those of the training images, so that a class
            that is missing here changes no label. None means the folders found, in sorted order.

    Raises:
        FileNotFoundError: If there is no such folder, no folder of a class, or a class without images.
        ValueError: If the folders are parts of a data set ("train", "val"), a class is not among ``classes``, or a link
            leads to nothing or into a circle. Messages name the folder or file.

    Example:
        >>> import tempfile
        >>> from PIL import Image
        >>> root = Path(tempfile.mkdtemp())
        >>> for name in ("cat", "dog"):
        ...     (root / name).mkdir()
        ...     Image.new("RGB", (6, 4)).save(root / name / "1.PNG")
        >>> [label for _, label in ClassFolders(root)]
        [0, 1]
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        transform: Callable[[Any], Any] | None = None,
        classes: Sequence[str] | None = None,
    ) -> None:
        self._wanted = None if classes is None else list(classes)
        super().__init__(os.fspath(root), transform=transform, loader=read_image)

    def find_classes(self, directory: str | Path) -> tuple[list[str], dict[str, int]]:
        """Names of the classes, and their labels."""
        if not Path(directory).is_dir():
            raise FileNotFoundError(f"there is no folder {directory}")
        entries = visible(directory)
        for entry in entries:
            refuse_broken(entry)
        found = sorted(entry.name for entry in entries if entry.is_dir())
        if not found:
            raise FileNotFoundError(
                f"{directory} holds no folders: each class needs one with its images in it, such as "
                f"{Path(directory) / 'cat' / '1.png'}"
            )
        if {name.lower() for name in found} <= _PARTS:
            raise ValueError(f"{directory} holds {found}, parts of a data set and no classes: give one of them, such as "
                             f"{Path(directory) / found[-1]}")  # fmt: skip
        for name in found:
            if self._wanted is not None and name not in self._wanted:
                raise ValueError(
                    f"{directory}: {unknown('class', name, self._wanted)} (classes of the training images)"
                )
        self._found = found
        classes = found if self._wanted is None else self._wanted
        return classes, {name: label for label, name in enumerate(classes)}

    def make_dataset(
        self, directory: str | Path, class_to_idx: dict[str, int], *_: Any, **__: Any
    ) -> list[tuple[str, int]]:
        """Paths and labels, by class, folder and name."""
        samples: list[tuple[str, int]] = []
        for name in self._found:
            folder = str(Path(directory, name))
            paths = [path for _, files in sorted(images_below(folder, directory)) for path in files]
            if not paths:
                raise FileNotFoundError(f"the class folder {folder} holds no image ({', '.join(EXTENSIONS)})")
            samples += [(path, class_to_idx[name]) for path in paths]
        return samples
