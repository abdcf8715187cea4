"""The images of a study by part, in memory or left in their files, for the stages that train and measure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, cast

import torch
from torch import Tensor
from torch.utils.data import Dataset

from neuroalign.data.image_files import read_image
from neuroalign.data.images import ArrayDataset, resize, to_pixels
from neuroalign.types import Batch

__all__: list[str] = []

PARTS = ("train", "val", "test", "neural_fit", "neural_val")


class ImagePart(NamedTuple):
    """Images of one part in memory.

    Args:
        images: (stimulus, channel, height, width), uint8, or float in [0, 1].
        labels: (stimulus,) int64.
        stimulus: (stimulus,) int64, each image's identity; no two parts share one.
    """

    images: Tensor
    labels: Tensor
    stimulus: Tensor


@dataclass(frozen=True)
class ImageSets:
    """The images of a study; a part that it doesn't have is None.

    Args:
        classes: Names of the classes in the order of their labels.
        image_shape: (channel, height, width).
        parts: By name, images in memory, or a dataset that reads them from files and returns our batches.
    """

    classes: list[str]
    image_shape: tuple[int, int, int]
    parts: dict[str, ImagePart | Dataset[Batch]] = field(repr=False)

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.classes)

    @property
    def train(self) -> ImagePart | Dataset[Batch]:
        """Training images."""
        return self.parts["train"]

    @property
    def val(self) -> ImagePart | Dataset[Batch] | None:
        """Validation images."""
        return self.parts.get("val")

    @property
    def test(self) -> ImagePart | Dataset[Batch]:
        """Test images."""
        return self.parts["test"]

    @property
    def neural_fit(self) -> ImagePart | Dataset[Batch] | None:
        """Training images of a simulated subject."""
        return self.parts.get("neural_fit")

    @property
    def neural_val(self) -> ImagePart | Dataset[Batch] | None:
        """Validation images of a simulated subject."""
        return self.parts.get("neural_val")

    def dataset(self, part: str) -> Dataset[Batch]:
        """A part as a dataset of our batches with ``image`` in [0, 1], ``label`` and ``stimulus``."""
        found = self.parts[part]
        if isinstance(found, ImagePart):
            return ArrayDataset(found.images, label=found.labels, stimulus=found.stimulus)
        return found

    def in_memory(self, part: str) -> ImagePart:
        """A part's images in memory, read from their files if necessary."""
        found = self.parts[part]
        return found if isinstance(found, ImagePart) else cast(FileImages, found).in_memory()


class FileImages(Dataset[Batch]):
    """Images that stay in their files, as batches; the central square is resized with antialiasing.

    Args:
        root: Folder of the files.
        files: Their names below it.
        labels: (stimulus,) int64.
        stimulus: (stimulus,) int64.
        size: Height and width in pixels.
        contrast: Contrast around grey.
    """

    def __init__(
        self, root: Path, files: Sequence[str], labels: Tensor, stimulus: Tensor, size: int, contrast: float = 1.0
    ) -> None:
        self.root, self.files, self.size, self.contrast = root, list(files), size, contrast
        self.labels, self.stimulus = labels, stimulus

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Batch:
        return cast(Batch, {name: values[0] for name, values in self.__getitems__([index]).items()})  # type: ignore[index]

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        index = torch.as_tensor(indices)
        images = to_pixels(read_files(self.root, [self.files[i] for i in index.tolist()], self.size))
        images = images if self.contrast == 1 else 0.5 + self.contrast * (images - 0.5)
        return {"image": images, "label": self.labels[index], "stimulus": self.stimulus[index]}

    def in_memory(self) -> ImagePart:
        """All images: uint8, or float where contrast is reduced."""
        images = read_files(self.root, self.files, self.size)
        if self.contrast != 1:
            images = 0.5 + self.contrast * (to_pixels(images) - 0.5)
        return ImagePart(images, self.labels, self.stimulus)


def read_files(root: Path, files: Sequence[str], size: int | None) -> Tensor:
    """The central squares of image files, resized: uint8 (stimulus, 3, size, size)."""
    import numpy as np

    if size is None:
        raise ValueError("images in folders may differ in size: set images.image_size")
    images = []
    for file in files:
        image = torch.from_numpy(np.array(read_image(root / file))).permute(2, 0, 1)
        side = min(image.shape[1:])
        top, left = ((length - side) // 2 for length in image.shape[1:])
        square = to_pixels(image[None, :, top : top + side, left : left + side])
        images.append((resize(square, size) * 255).round().byte())
    return torch.cat(images)
