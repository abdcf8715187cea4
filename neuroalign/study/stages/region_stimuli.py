"""A region's own stimuli, with what is known about them, among the training images of a classifier."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, DistributedSampler

from neuroalign.data import BatchDataModule, MinValidSampler
from neuroalign.data.images import ArrayDataset, resize, to_pixels
from neuroalign.study.stages.responses import read_rdm, read_responses, read_stimuli
from neuroalign.types import Batch

__all__: list[str] = []

NO_LABEL = -100
"""The label of a stimulus without a class: torch's cross-entropy leaves such images out."""


@dataclass(frozen=True)
class RegionStimuli:
    """The stimuli that a region was recorded with.

    Args:
        images: (stimulus, channel, height, width), float in [0, 1].
        responses: (stimulus, voxel), z-scored over these stimuli; None where only dissimilarities are known.
        rdm: (stimulus, stimulus) dissimilarities; None where responses are known.
    """

    images: Tensor
    responses: Tensor | None = None
    rdm: Tensor | None = None


def read_region_stimuli(inputs: Mapping[str, Path], image_shape: Sequence[int]) -> RegionStimuli:
    """The stimuli of the results "stimuli" and "responses" at the shape of the classifier's images.

    Of measured responses only the stimuli that are not for validation count.

    Args:
        inputs: Folders of the results by role.
        image_shape: (channel, height, width) of the classifier's images.

    Raises:
        ValueError: If the stimuli have another number of channels.
    """
    stimuli = read_stimuli(inputs["stimuli"])
    if (inputs["responses"] / "rdm.safetensors").exists():
        return RegionStimuli(_shaped(stimuli.images, image_shape), rdm=read_rdm(inputs["responses"]))
    recorded = read_responses(inputs["responses"])
    train = recorded.split_shared()[0] if recorded.shared.any() else recorded
    values = train.standardize(train).values
    values = values[:, ~np.isnan(values).all(0)]  # a constant voxel is NaN everywhere, and needs no output
    images = _shaped(stimuli.of(train.stimulus), image_shape)
    return RegionStimuli(images, responses=torch.from_numpy(values))


def _shaped(images: Tensor, shape: Sequence[int]) -> Tensor:
    """Images as pixels of another shape; grey ones get as many equal channels as are needed."""
    images = to_pixels(images)
    if images.shape[1] == 1:
        images = images.expand(-1, shape[0], -1, -1)
    if images.shape[1] != shape[0]:
        raise ValueError(
            f"the region's stimuli have {images.shape[1]} channels, the classifier's images {shape[0]}: one network must "
            "be able to see both"
        )
    return resize(images, tuple(shape[1:])).contiguous()


class TrainingImages(Dataset[Batch]):
    """Labelled images, numbered by their place, and perhaps a region's own stimuli after them.

    The stimuli have the label :data:`NO_LABEL`, and the labelled images the response NaN.

    Args:
        labelled: The labelled images.
        stimuli: The region's own stimuli.
    """

    def __init__(self, labelled: Any, stimuli: RegionStimuli | None = None) -> None:
        self.labelled, self.stimuli = labelled, stimuli
        self.own: ArrayDataset | None = None
        self.num_voxels: int | None = None
        if stimuli is not None:
            columns: dict[str, Any] = {"label": torch.full((len(stimuli.images),), NO_LABEL)}
            if stimuli.responses is not None:
                columns["response"] = stimuli.responses
                self.num_voxels = stimuli.responses.shape[1]
            self.own = ArrayDataset(stimuli.images, **columns)

    def __len__(self) -> int:
        return len(self.labelled) + (0 if self.own is None else len(self.own))

    def __getitem__(self, index: int) -> Batch:
        return cast(Batch, {k: v[0] for k, v in cast(dict[str, Tensor], self.__getitems__([index])).items()})

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        wanted = torch.as_tensor(indices)
        outside = wanted >= len(self.labelled)
        parts = [self._labelled(wanted[~outside])] if bool((~outside).any()) else []
        if self.own is not None and bool(outside.any()):
            own = self.own.__getitems__((wanted[outside] - len(self.labelled)).tolist())
            parts.append(cast(dict[str, Tensor], own))
        back = torch.cat([(~outside).nonzero()[:, 0], outside.nonzero()[:, 0]]).argsort()
        joined = {key: torch.cat([part[key] for part in parts])[back] for key in parts[0]}
        return cast(Batch, {**joined, "stimulus": wanted})

    def _labelled(self, rows: Tensor) -> dict[str, Tensor]:
        batch = self.labelled.__getitems__(rows.tolist())
        found = {"image": batch["image"], "label": batch["label"].long()}
        if self.num_voxels is not None:
            found["response"] = torch.full((len(rows), self.num_voxels), torch.nan)
        return found


class TrainingData(BatchDataModule):
    """Batches of labelled images, with at least a given number of the region's own stimuli in each.

    Args:
        train: The training images.
        val: Images for validation; None means none.
        min_own: Smallest number of the region's own stimuli in a batch; stimuli are repeated where there are too few.
        **options: Of :class:`neuroalign.data.BatchDataModule`.
    """

    def __init__(
        self, train: TrainingImages, val: Dataset[Batch] | None = None, *, min_own: int | None = None, **options: Any
    ) -> None:
        super().__init__(**options)
        self.train, self.val, self.min_own = train, val, min_own
        self.setup()

    def setup(self, stage: str | None = None) -> None:
        """Name the sets."""
        self.datasets = {"train": self.train} if self.val is None else {"train": self.train, "val": self.val}

    def train_sampler(self, dataset: Dataset[Batch], num_replicas: int, rank: int) -> DistributedSampler[Batch]:
        """The sampler of this process's share of the training images."""
        if self.min_own is None:
            return super().train_sampler(dataset, num_replicas, rank)
        own = np.arange(len(self.train)) >= len(self.train.labelled)
        return MinValidSampler(own, self.min_own, self.batch_size, num_replicas=num_replicas, rank=rank, seed=self.seed)


def least_own(stimuli: RegionStimuli, batch_size: int) -> int:
    """The number of a region's own stimuli that every batch has at least: a quarter of it, as far as there are so many.

    Example:
        >>> least_own(RegionStimuli(torch.rand(92, 3, 8, 8)), 128)
        32
    """
    return max(1, min(len(stimuli.images), math.ceil(batch_size / 4)))
