"""Labelled images for a guided classifier, with measured responses for some of them."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset, DistributedSampler

from neuroalign.data.datamodules.base import BatchDataModule
from neuroalign.data.fields import as_identities, as_values
from neuroalign.data.images import ArrayDataset, as_pixels, check_named, load_named
from neuroalign.data.mixing import MinValidSampler, check_min_valid
from neuroalign.data.responses import Responses
from neuroalign.types import Batch

__all__ = ["GuidanceDataModule"]


class GuidanceDataModule(BatchDataModule):
    """Labelled images for a guided classifier, with measured responses for some of them.

    Yields batches with ``image``, ``label``, ``stimulus`` and, in training, ``response`` if there are any.

    Args:
        train: (images, labels), or a dataset that returns our batches; images are uint8 or float in [0, 1].
        val: The same for validation.
        test: The same for the test set.
        responses: (stimulus, voxel) for the training images, with NaN rows for images without responses.
        min_valid: Smallest number of images with responses (rows that are not all NaN) in every training batch of each
            process, for measures of sets that need several; None means no minimum. Every image comes once per epoch; if
            images with responses are too few for all batches they are repeated, and the epoch has more batches: see
            :class:`neuroalign.data.MinValidSampler`. A repeated image also counts again in the task's own loss.
        dataset: In place of the above, the name of a data set: "digits", "cifar10", "cifar100", "folder".
        root: Folder of a named data set's files.
        image_size: Height and width in pixels to resize to; None leaves images as they are.
        batch_size: Images per batch; the paper's is 256.
        num_workers: Number of loader processes.
        augment: Augmentation of training batches, such as :class:`neuroalign.data.images.ShiftFlip`; None means none.
        seed: Seed of the order and of the augmentation.
        drop_last: Whether to leave out an incomplete last training batch.

    Raises:
        TypeError: If responses are no real numbers, or labels are names.
        ValueError: If images and labels (or responses) differ in number, images are not in [0, 1], a response is infinite, a
            label is no whole number from 0 on, neither arrays nor a name are given, or ``min_valid`` is larger than the
            number of images with responses, or than a batch.

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
        min_valid: int | None = None,
    ) -> None:
        super().__init__(
            batch_size=batch_size, num_workers=num_workers, augment=augment, seed=seed, drop_last=drop_last
        )
        if (dataset is None) == (train is None and val is None and test is None):
            raise ValueError("give either images and labels (train, val, test) or the name of a dataset")
        if dataset is not None:
            check_named(dataset, root)
        self.dataset, self.root, self.image_size = dataset, root, image_size
        self._given = {"train": train, "val": val, "test": test}
        self._responses = None if responses is None else _values(responses)
        self.min_valid = min_valid
        if min_valid is not None:
            if self._responses is None or not isinstance(train, (tuple, list)):
                raise ValueError(
                    "min_valid counts the images that have responses: give train=(images, labels) and responses with it"
                )
            check_min_valid(min_valid, batch_size, self._measured())

    def setup(self, stage: str | None = None) -> None:
        """Make the datasets, once."""
        if self.datasets:
            return
        if self.dataset is not None:
            self.datasets = dict(load_named(self.dataset, self.root, self.image_size))
            return
        self.datasets = {k: self._dataset(k, v) for k, v in self._given.items() if v is not None}

    def _measured(self) -> np.ndarray:
        assert self._responses is not None
        return (~self._responses.isnan()).any(1).numpy()

    def train_sampler(self, dataset: Dataset[Batch], num_replicas: int, rank: int) -> DistributedSampler[Batch]:
        """The sampler of this process's share of the training images."""
        if self.min_valid is None:
            return super().train_sampler(dataset, num_replicas, rank)
        options = {"num_replicas": num_replicas, "rank": rank, "seed": self.seed}
        return MinValidSampler(self._measured(), self.min_valid, self.batch_size, **options)

    def _dataset(self, stage: str, given: tuple[Any, Any] | Dataset[Batch]) -> Dataset[Batch]:
        if isinstance(given, Dataset):
            return given
        if not isinstance(given, (tuple, list)) or len(given) != 2:
            raise TypeError(f"{stage} must be (images, labels), or a dataset; got {type(given).__name__}")
        images, labels = given
        images, labels = as_pixels(images), torch.from_numpy(as_identities(labels, f"{stage}: labels"))
        if bool((labels < 0).any()):
            raise ValueError(f"{stage}: labels count classes from 0; found {int(labels.min())}")
        if len(images) != len(labels):
            raise ValueError(f"{stage}: {len(images)} images but {len(labels)} labels")
        columns: dict[str, Any] = {"label": labels, "stimulus": torch.arange(len(labels))}
        if stage == "train" and self._responses is not None:
            columns["response"] = self._responses
        return ArrayDataset(images, image_size=self.image_size, **columns)


def _values(responses: Any) -> Tensor:
    if isinstance(responses, Responses):
        raise TypeError(
            "responses must be (image, voxel) for the training images, NaN rows where none was measured; got Responses: "
            "values = numpy.full((len(images), r.num_voxels), numpy.nan); values[r.stimulus] = r.values"
        )
    values = torch.from_numpy(as_values(responses, "responses"))
    if values.ndim != 2:
        raise ValueError(f"responses must be (image, voxel); got shape {tuple(values.shape)}")
    return values
