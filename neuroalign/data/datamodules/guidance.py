"""Labelled images, with measured responses where there are any."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from neuroalign.data.datamodules.base import BatchDataModule
from neuroalign.data.images import ArrayDataset, as_pixels, load_named
from neuroalign.functional.gram import check_infinite
from neuroalign.types import Batch


class GuidanceDataModule(BatchDataModule):
    """Labelled images for a guided classifier, with measured responses where there are any.

    Args:
        train: (images, labels), or a dataset that gives our batches; images are uint8 or float in [0, 1].
        val: The same, for validation.
        test: The same, for test.
        responses: (stimulus, voxel) for the training images, NaN rows where none was measured.
        dataset: In place of the above, a data set by name: "digits", "cifar10", "cifar100", "folder".
        root: Where a named data set's files are.
        image_size: Height and width to resize to.
        batch_size: Images a batch; the paper's is 256.
        num_workers: Loader processes.
        augment: On training batches, such as :class:`neuroalign.data.images.ShiftFlip`.
        seed: Of the order and the augmentation.
        drop_last: Leave out an incomplete last training batch.

    Yields batches with ``image``, ``label``, ``stimulus`` and, in training, ``response`` if there are any.

    Raises:
        ValueError: If images and labels (or responses) differ in number, images are not in [0, 1], a response is infinite,
            or neither arrays nor a name are given.

    Example:
        >>> data = GuidanceDataModule(dataset="digits", batch_size=64)
        >>> batch = next(iter(data.train_dataloader()))
        >>> batch["image"].shape, batch["label"].shape
        (torch.Size([64, 3, 8, 8]), torch.Size([64]))
    """

    def __init__(
        self,
        train: tuple[Any, Any] | Dataset[Batch] | None = None,
        val: tuple[Any, Any] | Dataset[Batch] | None = None,
        test: tuple[Any, Any] | Dataset[Batch] | None = None,
        *,
        responses: np.ndarray | Tensor | None = None,
        dataset: str | None = None,
        root: str | os.PathLike[str] | None = None,
        image_size: int | None = None,
        batch_size: int = 256,
        num_workers: int = 0,
        augment: nn.Module | Callable[[Tensor], Tensor] | None = None,
        seed: int = 0,
        drop_last: bool = False,
    ) -> None:
        super().__init__(
            batch_size=batch_size, num_workers=num_workers, augment=augment, seed=seed, drop_last=drop_last
        )
        if (dataset is None) == (train is None and val is None and test is None):
            raise ValueError("give either images and labels (train, val, test) or the name of a dataset")
        self.dataset, self.root, self.image_size = dataset, root, image_size
        self._given = {"train": train, "val": val, "test": test}
        self._responses = None if responses is None else torch.as_tensor(responses, dtype=torch.float32)
        check_infinite(responses=self._responses)

    def setup(self, stage: str | None = None) -> None:
        """Make the datasets, once."""
        if self.datasets:
            return
        if self.dataset is not None:
            self.datasets = dict(load_named(self.dataset, self.root, self.image_size))
            return
        self.datasets = {k: self._dataset(k, v) for k, v in self._given.items() if v is not None}

    def _dataset(self, stage: str, given: tuple[Any, Any] | Dataset[Batch]) -> Dataset[Batch]:
        if isinstance(given, Dataset):
            return given
        images, labels = given
        images, labels = as_pixels(images), torch.as_tensor(labels).long()
        if len(images) != len(labels):
            raise ValueError(f"{stage}: {len(images)} images but {len(labels)} labels")
        columns = {"label": labels, "stimulus": torch.arange(len(labels))}
        if stage == "train" and self._responses is not None:
            columns["response"] = self._responses
        return ArrayDataset(images, image_size=self.image_size, **columns)
