"""Loaders over datasets that return whole batches, with exact resumption."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any, cast

import lightning as L
import torch
from lightning.pytorch.trainer.states import TrainerStatus
from lightning.pytorch.utilities.model_helpers import is_overridden
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, DistributedSampler

from neuroalign.data.augmentation import augmented, batch_seed, refuse_normalising, treats_batches_alike
from neuroalign.data.datamodules.loader import ResumableLoader
from neuroalign.data.images import collate, stored, to_pixels
from neuroalign.types import Batch, as_batch

__all__ = ["BatchDataModule"]

_PINNED = ("cuda", "xpu")  # devices to which copies from pinned memory overlap with the work on the last batch


class BatchDataModule(L.LightningDataModule):
    """Loaders over datasets that return whole batches; a resumed run continues exactly like an uninterrupted one.

    Subclasses fill ``self.datasets`` ("train", "val" and, if there is one, "test") in ``setup``.

    The order of an epoch depends only on ``seed`` and the epoch; augmentation depends only on ``seed``, the number of the
    batch and the process. Under a distributed strategy each process gets its share. A training that is resumed within an
    epoch continues with the epoch's next batch.

    Images that are stored as uint8 travel so to the device of a Trainer, in a quarter of the bytes and from pinned memory
    where the device is a GPU, and are divided by 255 there: every hook that receives a batch on its device, and every loop of
    your own, sees floats in [0, 1]. Only who iterates over ``trainer.val_dataloaders`` itself finds uint8; the loader of
    ``trainer.datamodule.val_dataloader()`` gives a callback floats. A module or DataModule that overrides
    ``on_before_batch_transfer`` or ``transfer_batch_to_device`` gets floats there, as they are divided before.

    Args:
        batch_size: Images per batch (of each process).
        num_workers: Number of loader processes.
        augment: Applied to training batches on their device, from float images (stimulus, channel, height, width) to images
            of the same form. An augmentation that would treat all images of a batch alike, such as torchvision's random
            crops and flips, is called image by image; :class:`neuroalign.data.images.ShiftFlip` draws for each image in one
            call. It acts only inside a Lightning Trainer. None means none.
        seed: Seed of the order and of the augmentation.
        drop_last: Whether to leave out an incomplete last training batch.

    Raises:
        ValueError: If an argument is out of range, ``augment`` normalises, a requested set doesn't exist, or
            ``drop_last`` leaves no training batch.
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
        if num_workers < 0:
            raise ValueError(f"num_workers must be at least 0, which loads in this process; got {num_workers}")
        refuse_normalising(augment)
        self.batch_size, self.num_workers, self.augment = batch_size, num_workers, augment
        self.seed, self.drop_last = seed, drop_last
        self.datasets: dict[str, Dataset[Batch]] = {}
        self._alike: tuple[Any, bool] | None = None  # the augmentation that was tried out, and the result

    def _loader(self, stage: str) -> DataLoader[Batch]:
        if not self.datasets:
            self.setup("fit")
        if stage not in self.datasets:
            raise ValueError(f"there is no {stage} set; there are {sorted(self.datasets)}")
        sampler = None
        if stage == "train" and self.augment is not None and self.trainer is None:
            warnings.warn(
                "augment acts where a Lightning Trainer trains; in a loop of your own, augment the batches yourself",
                stacklevel=3,
            )
        if stage == "train":
            world, rank = (self.trainer.world_size, self.trainer.global_rank) if self.trainer else (1, 0)
            sampler = self.train_sampler(self.datasets[stage], world, rank)
            if self.drop_last and len(sampler) < self.batch_size:
                raise ValueError(
                    f"drop_last=True leaves no training batch: {len(sampler)} images (of each process) are fewer than "
                    f"batch_size={self.batch_size}"
                )
        device = self._device()
        make = ResumableLoader if stage == "train" else DataLoader
        loader = make(
            stored(self.datasets[stage]) if device is not None and self._divides() else self.datasets[stage],
            batch_size=self.batch_size,  # passed by name: Lightning looks for it when it rebuilds a loader
            sampler=sampler,
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
            collate_fn=collate,
            drop_last=self.drop_last and stage == "train",
            pin_memory=device is not None and device.type in _PINNED,
        )
        if isinstance(loader, ResumableLoader) and self.trainer is not None:
            loader.num_done = self._num_done
        return loader

    def _device(self) -> torch.device | None:
        """The device of a running Trainer that asks for a loader; None if somebody else asks, such as a callback."""
        trainer = self.trainer
        if (
            trainer is None
            or getattr(trainer, "datamodule", None) is not self
            or trainer.state.status != TrainerStatus.RUNNING
        ):
            return None
        in_hook = getattr(trainer.lightning_module, "_current_fx_name", None) is not None
        return None if in_hook else trainer.strategy.root_device

    def _divides(self) -> bool:
        """Whether nobody but this class's hook receives batches before their images are divided."""
        if type(self).on_after_batch_transfer is not BatchDataModule.on_after_batch_transfer:
            return False
        earlier = ("on_before_batch_transfer", "transfer_batch_to_device")
        receivers = (self, cast(L.Trainer, self.trainer).lightning_module)
        return not any(is_overridden(name, receiver) for name in earlier for receiver in receivers)

    def _num_done(self) -> int:
        """Number of batches of the epoch that were done before training was resumed within it."""
        loop = getattr(self.trainer, "fit_loop", None)
        # The loop is "restarting" until it has done its first batch.
        return loop.epoch_loop.batch_progress.current.ready if loop is not None and loop.epoch_loop.restarting else 0

    def train_sampler(self, dataset: Dataset[Batch], num_replicas: int, rank: int) -> DistributedSampler[Batch]:
        """The sampler of this process's share of the training images."""
        return DistributedSampler(dataset, num_replicas, rank, seed=self.seed)

    def train_dataloader(self) -> DataLoader[Batch]:
        """Shuffled training batches."""
        return self._loader("train")

    def val_dataloader(self) -> DataLoader[Batch] | list[Any]:
        """Validation batches, in order; an empty list while fitting without a validation set."""
        if not self.datasets:
            self.setup("fit")
        fitting = self.trainer is not None and self.trainer.state.fn == "fit"
        return [] if fitting and "val" not in self.datasets else self._loader("val")

    def test_dataloader(self) -> DataLoader[Batch]:
        """Test batches, in order."""
        return self._loader("test" if "test" in self.datasets or not self.datasets else "val")

    def predict_dataloader(self) -> DataLoader[Batch]:
        """Batches of the test set, or of the validation set if there is no test set, in order."""
        return self.test_dataloader()

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Divide uint8 images by 255, and augment training batches, each with random numbers of its own.

        See ``neuroalign.data.augmentation``.
        """
        images = batch.get("image") if isinstance(batch, Mapping) else None
        if isinstance(images, Tensor) and images.dtype == torch.uint8:
            batch = {**batch, "image": to_pixels(images)}
        trainer = self.trainer
        if self.augment is None or trainer is None or not trainer.training:
            return batch
        batch = as_batch(batch)
        images = batch["image"]
        if self._alike is None or self._alike[0] is not self.augment:
            self._alike = self.augment, treats_batches_alike(self.augment, images[0])
        # The batch counter, not the optimiser's step, which doesn't advance while gradients are accumulated. A resumed run
        # continues the count.
        number = trainer.fit_loop.epoch_loop.batch_progress.total.completed
        seed = batch_seed(self.seed, number, trainer.global_rank)
        return {**batch, "image": augmented(self.augment, images, seed, image_by_image=self._alike[1])}
