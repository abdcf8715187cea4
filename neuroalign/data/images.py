"""Images for training: batches of pixels in [0, 1] from arrays and data sets, and random shifts and flips."""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import Dataset, default_collate

from neuroalign.data.image_files import ImageFiles as ImageFiles  # its former place
from neuroalign.functional.pixels import as_pixels as as_pixels  # their former place
from neuroalign.functional.pixels import to_pixels as to_pixels
from neuroalign.functional.pixels import whole_size
from neuroalign.types import Batch, unknown

__all__ = ["ArrayDataset", "LabelledDataset", "ShiftFlip", "collate", "load_digits", "resize"]


def resize(images: Tensor, size: int | Sequence[int]) -> Tensor:
    """Resize float images (stimulus, channel, height, width) with antialiasing; pixels stay in [0, 1]."""
    size = (size, size) if isinstance(size, int) else tuple(size)
    if images.shape[-2:] == size:
        return images
    return F.interpolate(images, size, mode="bilinear", antialias=True, align_corners=False).clamp(0, 1)


def collate(batch: Any) -> Batch:
    """The ``collate_fn`` of our DataLoaders: passes a whole batch from ``__getitems__`` on, and joins single items."""
    return cast(Batch, batch) if isinstance(batch, Mapping) else default_collate(batch)


def _first(batch: Mapping[str, Any]) -> Batch:
    return cast(Batch, {k: v[0] for k, v in batch.items()})


class ArrayDataset(Dataset[Batch]):
    """A dataset of columns of equal length that is read batch by batch: one indexing per batch, no loop over samples.

    Use it in a DataLoader with ``collate_fn=neuroalign.data.collate``.

    Args:
        image: (stimulus, channel, height, width), uint8 or float in [0, 1]; or an object that returns uint8 (stimulus,
            height, width, channel) when it is indexed by an array of rows, such as :class:`neuroalign.data.NSDImages`.
        image_rows: (stimulus,) the row of ``image`` that belongs to each sample; None means 0, 1, 2, ...
        image_size: Height and width in pixels to resize to; None leaves images as they are.
        **columns: Tensors (stimulus, ...), such as ``label``, ``response``, ``stimulus``.

    Attributes:
        as_stored: Whether batches have uint8 images where these are stored so and need no resizing; whoever sets it divides
            by 255. Otherwise, and at first, images are float in [0, 1].

    Raises:
        ValueError: If columns differ in length.

    Example:
        >>> data = ArrayDataset(torch.rand(5, 3, 8, 8), label=torch.arange(5))
        >>> data.__getitems__([1, 3])["label"]
        tensor([1, 3])
    """

    as_stored: bool = False

    def __init__(
        self,
        image: Any,
        *,
        image_rows: np.ndarray | None = None,
        image_size: int | None = None,
        **columns: Tensor,
    ) -> None:
        self.image, self.image_rows, self.image_size, self.columns = image, image_rows, image_size, columns
        length = len(image) if image_rows is None else len(image_rows)
        for name, column in columns.items():
            if len(column) != length:
                raise ValueError(f"{length} images but {len(column)} rows of {name!r}: they must be the same stimuli")
        self._length = length

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> Batch:
        return _first(self.__getitems__([index]))

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        rows = indices if self.image_rows is None else self.image_rows[np.asarray(indices)]
        if isinstance(self.image, Tensor):
            images = self.image[torch.as_tensor(rows)]
        else:
            images = torch.from_numpy(self.image[rows]).permute(0, 3, 1, 2)
        if self.image_size is not None and images.shape[-2:] != (self.image_size, self.image_size):
            images = resize(to_pixels(images), self.image_size)
        images = images if self.as_stored else to_pixels(images)
        return cast(Batch, {"image": images, **self._columns_of(indices)})

    def _columns_of(self, indices: Sequence[int]) -> dict[str, Tensor]:
        """The rows of all columns but the images."""
        index = torch.as_tensor(indices)
        return {name: column[index] for name, column in self.columns.items()}


class LabelledDataset(Dataset[Batch]):
    """Our batches from a dataset of (image, label) pairs, such as torchvision's; images are read one at a time.

    Args:
        dataset: Returns pairs of an image tensor (channel, height, width), uint8 or float in [0, 1], and an integer.

    Attributes:
        as_stored: Whether batches have uint8 images where the dataset returns them, as in :class:`ArrayDataset`.

    Example:
        >>> data = LabelledDataset([(torch.rand(3, 4, 4), 1), (torch.rand(3, 4, 4), 0)])
        >>> data.__getitems__([0, 1])["label"]
        tensor([1, 0])
    """

    as_stored: bool = False

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Batch:
        return _first(self.__getitems__([index]))

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        pairs = [self.dataset[i] for i in indices]
        images = torch.stack([image for image, _ in pairs])
        return {
            "image": images if self.as_stored else to_pixels(images),
            "label": torch.tensor([int(label) for _, label in pairs]),
            "stimulus": torch.tensor(list(indices)),
        }


def stored(dataset: Dataset[Batch]) -> Dataset[Batch]:
    """The same dataset with uint8 images where they are stored so; a dataset that makes its batches itself as it is."""
    makes_batches: Any = getattr(type(dataset), "__getitems__", None)
    if makes_batches not in (ArrayDataset.__getitems__, LabelledDataset.__getitems__):
        return dataset
    other: Any = copy.copy(dataset)
    other.as_stored = True
    return other


class ShiftFlip(nn.Module):
    """Random shifts and horizontal flips, drawn independently for every image.

    Args:
        shift: Largest shift in pixels, in either direction; the border is filled by repeating the edge.
        flip: Whether to flip each image with probability 1/2.

    Example:
        >>> ShiftFlip(1)(torch.rand(4, 3, 8, 8)).shape
        torch.Size([4, 3, 8, 8])
    """

    def __init__(self, shift: int = 4, flip: bool = True) -> None:
        if shift < 0:
            raise ValueError(f"shift must not be negative; got {shift}")
        super().__init__()
        self.shift, self.flip = shift, flip

    def forward(self, images: Tensor) -> Tensor:
        """Shift and flip images (stimulus, channel, height, width)."""
        n, _, height, width = images.shape
        device = images.device
        rows = torch.arange(height, device=device).expand(n, -1)
        columns = torch.arange(width, device=device).expand(n, -1)
        if self.shift:
            offsets = torch.randint(-self.shift, self.shift + 1, (2, n, 1), device=device)
            rows, columns = rows + offsets[0], columns + offsets[1]
        if self.flip:
            flipped = torch.rand(n, 1, device=device) < 0.5
            columns = torch.where(flipped, width - 1 - columns, columns)
        rows, columns = rows.clamp(0, height - 1), columns.clamp(0, width - 1)
        samples = torch.arange(n, device=device)[:, None, None]
        return images[samples, :, rows[:, :, None], columns[:, None, :]].movedim(-1, 1)

    def extra_repr(self) -> str:
        """The options, for ``repr``."""
        return f"shift={self.shift}, flip={self.flip}"


def load_digits() -> tuple[Tensor, Tensor]:
    """The 1,797 handwritten digits of scikit-learn: images (1797, 3, 8, 8) in [0, 1] and labels (1797,).

    Source:
        UCI "Optical Recognition of Handwritten Digits" (Alpaydin & Kaynak 1998).
    """
    from sklearn.datasets import load_digits as load

    digits = load()
    images = torch.from_numpy(digits.images / 16).float()[:, None].expand(-1, 3, -1, -1).contiguous()
    return images, torch.from_numpy(digits.target).long()


_NAMED = ("digits", "cifar10", "cifar100", "folder")
"""Data sets that have a name."""


def check_named(name: str, root: str | os.PathLike[str] | None) -> str | os.PathLike[str] | None:
    """The folder of a data set that is given by name, after a check of the name, and that it is given where it is needed.

    Raises:
        ValueError: If the name is unknown (with near matches), or root is needed.
    """
    if name not in _NAMED:
        raise ValueError(unknown("dataset", name, _NAMED))
    if root is None and name != "digits":
        raise ValueError(f"dataset {name!r} needs root, the folder of its files")
    return root


def load_named(
    name: str, root: str | os.PathLike[str] | None = None, image_size: int | None = None
) -> Mapping[str, Dataset[Batch]]:
    """Training, validation and test sets of a data set that is given by name.

    Args:
        name: "digits" (part of scikit-learn, split 1000 / 297 / 500), "cifar10", "cifar100" (files of torchvision
            under ``root``; the last 5,000 training images are validation) or "folder" (``root/train``, ``root/val`` and,
            if it exists, ``root/test``, each with one folder per class; labels are those of the classes in ``train``).
        root: Folder of the files.
        image_size: Height and width in pixels to resize to; None leaves images as they are. "folder" needs it.

    Raises:
        ValueError: If the name is unknown (with near matches), or root or image_size is needed.
        FileNotFoundError: If the files are not there.
    """
    if name == "digits":
        images, labels = load_digits()
        order = torch.from_numpy(np.random.default_rng(0).permutation(len(images)))
        parts = dict(zip(("train", "val", "test"), order.split([1000, 297, 500])))
        return {k: _array(images[i], labels[i], i, image_size) for k, i in parts.items()}
    root = Path(check_named(name, root) or "")
    if name == "folder":
        return _folders(root, image_size)
    from torchvision import datasets

    make = datasets.CIFAR10 if name == "cifar10" else datasets.CIFAR100
    try:
        train, test = make(root, train=True), make(root, train=False)
    except RuntimeError as error:
        raise FileNotFoundError(
            f"no {name} under {root}: torchvision.datasets.{make.__name__}(root, download=True)"
        ) from error
    x, y = as_pixels(train.data), torch.tensor(train.targets)
    i = torch.arange(len(x))
    return {
        "train": _array(x[:-5000], y[:-5000], i[:-5000], image_size),
        "val": _array(x[-5000:], y[-5000:], i[-5000:], image_size),
        "test": _array(as_pixels(test.data), torch.tensor(test.targets), torch.arange(len(test.data)), image_size),
    }


def _array(images: Tensor, labels: Tensor, stimulus: Tensor, image_size: int | None) -> ArrayDataset:
    return ArrayDataset(images, image_size=image_size, label=labels, stimulus=stimulus)


def class_folders(root: str | Path, image_size: int, classes: Sequence[str] | None = None) -> LabelledDataset:
    """Images in one folder per class; the shorter side is resized with antialiasing, and the central square is cut out.

    Args:
        root: The folder that holds one folder per class.
        image_size: Height and width in pixels.
        classes: Names of the classes in the order of their labels; None means the folders found, in sorted order.

    Raises:
        FileNotFoundError: If there is no such folder, no folder of a class, or a class without images.
        TypeError: If ``image_size`` is no whole number.
        ValueError: If it is below 1, or as in :class:`neuroalign.data.image_folders.ClassFolders`.
    """
    from torchvision.transforms import v2

    from neuroalign.data.image_folders import ClassFolders

    image_size = whole_size(image_size)
    steps = [v2.ToImage(), v2.Resize(image_size, antialias=True), v2.CenterCrop(image_size)]
    return LabelledDataset(ClassFolders(root, v2.Compose(steps), classes))


def _folders(root: Path, image_size: int | None) -> dict[str, Dataset[Batch]]:
    if image_size is None:
        raise ValueError("dataset 'folder' needs image_size: its images may differ in size")
    names = [n for n in ("train", "val", "test") if (root / n).is_dir()]
    if "train" not in names or "val" not in names:
        raise FileNotFoundError(f"{root} must hold the folders 'train' and 'val', each with one folder per class")
    train = class_folders(root / "train", image_size)
    others = {n: class_folders(root / n, image_size, train.dataset.classes) for n in names if n != "train"}
    return {"train": train, **others}
