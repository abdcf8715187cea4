"""The base of the evaluating callbacks: when they run, on which batches, and the identity of each image."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import lightning as L
import torch
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor
from torchmetrics import Metric

from neuroalign.evaluation.images import sampled_images, which_images
from neuroalign.types import as_batch

__all__: list[str] = []


class EvaluationCallback(L.Callback, ABC):
    """A callback that measures the batches of validation and test, and logs at the end of the epoch.

    ``ModelCheckpoint`` and ``EarlyStopping`` can monitor the logged values: there is a value from the first validation on,
    and in the epochs between two measurements the last value stays (loggers get each value only once). Early stopping counts
    these epochs as epochs without improvement: a warning is given if its ``patience`` is below ``every_n_epochs``. With
    ``save_top_k`` of 2 or more ``ModelCheckpoint`` may keep an epoch that was not measured, under the last value.

    Args:
        every_n_epochs: In ``fit``, run in every n-th epoch, and in the first one that is validated; ``validate`` and ``test``
            always run.
        limit_batches: Largest number of batches to measure; None means all.

    Attributes:
        metrics: The metrics by name; reset at the start of an epoch.
    """

    metrics: Mapping[Any, Metric]

    def __init__(self, every_n_epochs: int = 1, limit_batches: int | None = None) -> None:
        if every_n_epochs < 1:
            raise ValueError(f"every_n_epochs must be at least 1; got {every_n_epochs}")
        if limit_batches is not None and limit_batches < 1:
            raise ValueError(f"limit_batches must be at least 1, or None for all; got {limit_batches}")
        self.every_n_epochs, self.limit_batches = every_n_epochs, limit_batches
        self._seen = 0
        self._last: dict[str, float] = {}  # the last values logged in fit

    @property
    def names(self) -> list[str]:
        """Names that distinguish this callback from others of its class."""
        return sorted(map(str, self.metrics))

    @property
    def state_key(self) -> str:
        """Key of the callback's state in a checkpoint."""
        return f"{type(self).__qualname__}{self.names}"

    def state_dict(self) -> dict[str, Any]:
        """The last measured values, so that a resumed training has them in epochs without a measurement."""
        return {} if self.every_n_epochs == 1 else {"last": dict(self._last)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the last measured values."""
        self._last = dict(state_dict.get("last", {}))

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Remove the values of an earlier training, unless a training is resumed."""
        if trainer.ckpt_path is None:
            self._last = {}

    @abstractmethod
    def look(
        self, trainer: L.Trainer, module: L.LightningModule, images: Tensor, labels: Tensor, index: Tensor
    ) -> None:
        """Measure one batch."""

    @abstractmethod
    def results(self) -> dict[str, Tensor]:
        """The values to log, by name."""

    def _is_due(self, trainer: L.Trainer) -> bool:
        if trainer.sanity_checking:
            return False
        return not _fitting(trainer) or not self._last or (trainer.current_epoch + 1) % self.every_n_epochs == 0

    def _start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self._seen = 0
        for metric in self.metrics.values():
            metric.reset()

    def _batch(
        self, trainer: L.Trainer, module: L.LightningModule, batch: Any, batch_idx: int, dataloader_idx: int
    ) -> None:
        limited = self.limit_batches is not None and batch_idx >= self.limit_batches
        if dataloader_idx or limited or not self._is_due(trainer):
            return
        batch = as_batch(batch)
        # Lightning's validate and test run in inference mode, and autograd refuses tensors made there.
        with torch.inference_mode(False):
            images, labels = batch["image"].clone(), batch["label"].clone()
            if labels.is_floating_point() and labels.ndim == 2:  # soft labels: the class of the largest probability
                labels = labels.argmax(1)
            index, counts = which_images(
                batch, self._seen, rank=trainer.global_rank, num_processes=trainer.world_size,
                num_images=sampled_images(_loader(trainer, dataloader_idx)),
            )  # fmt: skip
            index, counts = index.to(images.device, copy=True), counts.to(images.device)
            self._seen += len(images)
            if not bool(counts.all()):
                images, labels, index = images[counts], labels[counts], index[counts]
            if len(index):
                self.look(trainer, module, images, labels, index)

    def _end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        if self._is_due(trainer) and self._seen:
            found = self.results()
            module.log_dict({k: v.to(module.device) for k, v in found.items()}, rank_zero_only=False)
            if _fitting(trainer):
                if not self._last:
                    self._check_patience(trainer, found)
                self._last = {k: float(v) for k, v in found.items()}

    def _check_patience(self, trainer: L.Trainer, found: Mapping[str, Tensor]) -> None:
        for other in trainer.early_stopping_callbacks:
            if other.monitor in found and other.patience < self.every_n_epochs:
                rank_zero_warn(
                    f"EarlyStopping(patience={other.patience}) counts epochs in which {other.monitor!r} is not measured as "
                    "ones without improvement, and ends the training before it is measured again: every_n_epochs is "
                    f"{self.every_n_epochs}, so give a patience of at least as many"
                )

    def on_validation_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Remove the data of an earlier epoch; if this epoch is not measured, log the last values again."""
        self._start(trainer, pl_module)
        if _fitting(trainer) and not trainer.sanity_checking and not self._is_due(trainer):
            kept = {k: torch.tensor(v, device=pl_module.device) for k, v in self._last.items()}
            # Here and not at the epoch's end: Lightning requires the same options each time a hook logs under one name.
            pl_module.log_dict(kept, rank_zero_only=False, logger=False)

    def on_test_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Remove the data of an earlier epoch."""
        self._start(trainer, pl_module)

    def on_validation_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:  # fmt: skip
        """Look at the batch."""
        self._batch(trainer, pl_module, batch, batch_idx, dataloader_idx)

    def on_test_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:  # fmt: skip
        """Look at the batch."""
        self._batch(trainer, pl_module, batch, batch_idx, dataloader_idx)

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Log."""
        self._end(trainer, pl_module)

    def on_test_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Log."""
        self._end(trainer, pl_module)


def _fitting(trainer: L.Trainer) -> bool:
    return trainer.state.fn == TrainerFn.FITTING


def _loader(trainer: L.Trainer, dataloader_idx: int) -> Any:
    loaders = trainer.test_dataloaders if trainer.testing else trainer.val_dataloaders
    return loaders[dataloader_idx] if isinstance(loaders, (list, tuple)) else loaders
