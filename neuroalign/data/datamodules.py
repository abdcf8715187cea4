"""DataModules: images with responses, and images with labels, as batches that our tasks read."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import lightning as L
import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, DistributedSampler

from neuroalign.data.images import ArrayDataset, as_pixels, collate, load_named
from neuroalign.data.nsd import NSDImages, read_nsd
from neuroalign.data.responses import Responses
from neuroalign.types import Batch


class BatchDataModule(L.LightningDataModule):
    """Loaders over datasets that give whole batches, shuffled so that a resumed run goes on as it would have.

    Subclasses fill ``self.datasets`` ("train", "val" and, where there is one, "test") in ``setup``.

    The order of an epoch depends on ``seed`` and the epoch alone, and augmentation on ``seed`` and the step alone; under
    a distributed strategy each process gets its share.

    Args:
        batch_size: Images a batch (of each process).
        num_workers: Loader processes.
        augment: From float images (stimulus, channel, height, width) to the same, on training batches, after they are
            on the device.
        seed: Of the order and the augmentation.
        drop_last: Leave out an incomplete last training batch.
    """

    def __init__(
        self,
        *,
        batch_size: int = 256,
        num_workers: int = 0,
        augment: nn.Module | Callable[[Tensor], Tensor] | None = None,
        seed: int = 0,
        drop_last: bool = False,
    ) -> None:
        super().__init__()
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1; got {batch_size}")
        self.batch_size, self.num_workers, self.augment = batch_size, num_workers, augment
        self.seed, self.drop_last = seed, drop_last
        self.datasets: dict[str, Dataset[Batch]] = {}

    def _loader(self, stage: str) -> DataLoader[Batch]:
        if not self.datasets:
            self.setup("fit")
        if stage not in self.datasets:
            raise ValueError(f"there is no {stage} set; there are {sorted(self.datasets)}")
        sampler = None
        if stage == "train":
            world, rank = (self.trainer.world_size, self.trainer.global_rank) if self.trainer else (1, 0)
            sampler = DistributedSampler(self.datasets[stage], world, rank, seed=self.seed)
        return DataLoader(
            self.datasets[stage],
            batch_size=self.batch_size,  # by name: Lightning looks for it when it rebuilds a loader
            sampler=sampler,
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
            collate_fn=collate,
            drop_last=self.drop_last and stage == "train",
        )

    def train_dataloader(self) -> DataLoader[Batch]:
        """Shuffled training batches."""
        return self._loader("train")

    def val_dataloader(self) -> DataLoader[Batch] | list[Any]:
        """Validation batches, in order; none while fitting without a validation set."""
        if not self.datasets:
            self.setup("fit")
        fitting = self.trainer is not None and self.trainer.state.fn == "fit"
        return [] if fitting and "val" not in self.datasets else self._loader("val")

    def test_dataloader(self) -> DataLoader[Batch]:
        """Test batches, in order."""
        return self._loader("test" if "test" in self.datasets or not self.datasets else "val")

    def predict_dataloader(self) -> DataLoader[Batch]:
        """Batches of the test set (the validation set, where there is no other), in order."""
        return self.test_dataloader()

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Augment training batches; a seed for each step makes a resumed run draw what it would have drawn."""
        if self.augment is None or self.trainer is None or not self.trainer.training:
            return batch
        images = batch["image"]
        devices = [images.device] if images.is_cuda else []
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(self.seed * 1_000_003 + self.trainer.global_step)
            return {**batch, "image": self.augment(images)}


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
        ValueError: If images and labels (or responses) differ in number, images are not in [0, 1], or neither arrays
            nor a name are given.

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


class ResponsesDataModule(BatchDataModule):
    """Any images with any responses to them, for a neural predictor.

    Args:
        images: (image, channel, height, width), uint8 or float in [0, 1].
        responses: (image, voxel), a row for each image, or a :class:`Responses`, averaged over repeats, whose
            ``stimulus`` are rows of ``images``.
        val: Rows of the responses for validation; default the shared images of a :class:`Responses`, where it has any,
            else a random ``val_fraction``.
        val_fraction: Share of the stimuli for validation.
        standardize: Z-score every voxel with the mean and standard deviation of the training rows.
        image_size: Height and width to resize to.
        batch_size: Images a batch; the paper's is 200.
        num_workers: Loader processes.
        augment: On training batches.
        seed: Of the split, the order and the augmentation.

    Yields batches with ``image``, ``response``, ``stimulus``.

    Raises:
        ValueError: If images and responses differ in number, or a stimulus has several rows (average them first).

    Example:
        >>> data = ResponsesDataModule(torch.rand(50, 3, 8, 8), torch.randn(50, 20), batch_size=10)
        >>> {k: v.shape for k, v in next(iter(data.train_dataloader())).items() if k != "stimulus"}
        {'image': torch.Size([10, 3, 8, 8]), 'response': torch.Size([10, 20])}
    """

    def __init__(
        self,
        images: np.ndarray | Tensor,
        responses: np.ndarray | Tensor | Responses,
        *,
        val: Sequence[int] | np.ndarray | None = None,
        val_fraction: float = 0.1,
        standardize: bool = True,
        image_size: int | None = None,
        batch_size: int = 200,
        num_workers: int = 0,
        augment: nn.Module | Callable[[Tensor], Tensor] | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size=batch_size, num_workers=num_workers, augment=augment, seed=seed)
        if not isinstance(responses, Responses):
            values = np.asarray(responses)
            if len(values) != len(images):
                raise ValueError(f"{len(images)} images but responses to {len(values)} stimuli")
            responses = Responses.from_arrays(values)
        self.images, self.image_size = as_pixels(images), image_size
        self.train_responses, self.val_responses = _split(responses, val, val_fraction, seed)
        if responses.stimulus.max() >= len(images) or responses.stimulus.min() < 0:
            raise ValueError(f"responses name stimulus {responses.stimulus.max()}, but there are {len(images)} images")
        if standardize:
            self.train_responses, self.val_responses = (
                part.standardize(self.train_responses) for part in (self.train_responses, self.val_responses)
            )

    @property
    def num_voxels(self) -> int:
        """V."""
        return self.train_responses.num_voxels

    def setup(self, stage: str | None = None) -> None:
        """Make the datasets, once."""
        if not self.datasets:
            self.datasets = {
                "train": _dataset(self.images, self.train_responses, self.image_size),
                "val": _dataset(self.images, self.val_responses, self.image_size),
            }


class NSDDataModule(BatchDataModule):
    """The paper's neural data: one subject's region, from the files of NSD to batches.

    Reads single trials, z-scores every voxel within each session, averages repeats, takes the shared images as
    validation, and z-scores with the mean and standard deviation of the training images. Images are read from the brick
    when a batch needs them.

    Args:
        root: The folder that holds ``nsddata``, ``nsddata_betas`` and ``nsddata_stimuli``.
        subject: 1 to 8.
        roi: A region or several, of V1, V2, V3, V4, VO, PHC, LO, TO.
        betas: Version of the betas.
        space: A volume space.
        sessions: 1-based session numbers; default all on disk.
        zscore_sessions: Whether to z-score within sessions. The paper's script doesn't; NSD's authors do.
        pca_variance: Replace voxels by principal components that hold this share of the variance, fitted on training.
        shuffle_seed: The control of wrong responses: give every image another's, by :meth:`Responses.shuffled`, in
            training only; validation stays right, so that its correlation tells what such a predictor knows.
        image_size: Height and width to resize to; default that of the brick.
        batch_size: Images a batch; the paper's is 200.
        num_workers: Loader processes.
        augment: On training batches.
        seed: Of the order and the augmentation.

    Attributes:
        train_responses: :class:`Responses` to the training images, once set up.
        val_responses: To the shared images, once set up.

    Raises:
        FileNotFoundError: If files are missing (named).
        NSDError: If files are damaged or contradict each other.
        ValueError: If the region is unknown; the message lists near matches.

    Example:
        >>> import tempfile
        >>> from neuroalign.data import write_simulated_nsd
        >>> root = tempfile.mkdtemp()
        >>> _ = write_simulated_nsd(root, np.random.rand(500, 3, 8, 8), np.arange(500) % 10)
        >>> data = NSDDataModule(root, subject=1, roi="V1", batch_size=50)
        >>> next(iter(data.train_dataloader()))["response"].shape
        torch.Size([50, 80])

    Source:
        Shao et al. 2024, arXiv 2405.02564; Allen et al. 2022, Nature Neuroscience.
    """

    train_responses: Responses
    val_responses: Responses

    def __init__(
        self,
        root: str | os.PathLike[str],
        subject: int = 1,
        roi: str | list[str] = "V4",
        *,
        betas: str = "betas_fithrf_GLMdenoise_RR",
        space: str = "func1pt8mm",
        sessions: list[int] | None = None,
        zscore_sessions: bool = True,
        pca_variance: float | None = None,
        shuffle_seed: int | None = None,
        image_size: int | None = None,
        batch_size: int = 200,
        num_workers: int = 0,
        augment: nn.Module | Callable[[Tensor], Tensor] | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size=batch_size, num_workers=num_workers, augment=augment, seed=seed)
        self.root, self.subject, self.roi, self.betas, self.space = root, subject, roi, betas, space
        self.sessions, self.zscore_sessions, self.pca_variance = sessions, zscore_sessions, pca_variance
        self.shuffle_seed, self.image_size = shuffle_seed, image_size

    @property
    def num_voxels(self) -> int:
        """V, known once set up."""
        self.setup()
        return self.train_responses.num_voxels

    def setup(self, stage: str | None = None) -> None:
        """Read and prepare, once."""
        if self.datasets:
            return
        responses = read_nsd(
            self.root, self.subject, roi=self.roi, betas=self.betas, space=self.space, sessions=self.sessions
        )
        if self.zscore_sessions:
            responses = responses.zscore_sessions()
        train, val = responses.average_repeats().split_shared()
        kept = ~np.isnan(train.standardize(train).values).all(0)  # voxels that say nothing in training
        train, val = train.select(voxels=kept), val.select(voxels=kept)
        if self.pca_variance is not None:
            val, train = val.pca(self.pca_variance, reference=train), train.pca(self.pca_variance)
        self.train_responses, self.val_responses = train.standardize(train), val.standardize(train)
        if self.shuffle_seed is not None:
            self.train_responses = self.train_responses.shuffled(self.shuffle_seed)
        images = NSDImages(self.root)
        self.datasets = {
            "train": _dataset(images, self.train_responses, self.image_size),
            "val": _dataset(images, self.val_responses, self.image_size),
        }


def _split(
    responses: Responses, val: Sequence[int] | np.ndarray | None, val_fraction: float, seed: int
) -> tuple[Responses, Responses]:
    n = len(responses)
    if len(np.unique(responses.stimulus)) != n:
        raise ValueError("some stimulus has several rows: call average_repeats first, or training and validation may "
                         "share an image")  # fmt: skip
    if val is None and responses.shared.any():
        return responses.split_shared()
    if val is None:
        if not 0 < val_fraction < 1:
            raise ValueError(f"val_fraction must be between 0 and 1; got {val_fraction}")
        val = np.random.default_rng(seed).permutation(n)[: max(1, round(val_fraction * n))]
    mask = np.zeros(n, dtype=bool)
    mask[np.asarray(val)] = True
    if mask.all() or not mask.any():
        raise ValueError(
            f"{int(mask.sum())} of {n} rows are for validation: training needs some, and so does validation"
        )
    return responses.rows(~mask), responses.rows(mask)


def _dataset(images: Any, responses: Responses, image_size: int | None) -> ArrayDataset:
    return ArrayDataset(
        images,
        image_rows=responses.stimulus,
        image_size=image_size,
        response=torch.from_numpy(responses.values),
        stimulus=torch.from_numpy(responses.stimulus),
    )
