"""What happens beside a training of a study: a table of epochs, a checkpoint to go on from, a stop at the first bad loss."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Checkpoint
from torch import Tensor

from neuroalign.files import whole

__all__: list[str] = []

_READ_EVERY = 20  # batches between looks at the loss: each look waits for the device


class EpochTable(L.Callback):
    """Collects one row per epoch: what was logged, with values of single steps averaged over the epoch.

    The rows are part of checkpoints, so that a resumed training has those of all its epochs.

    Args:
        path: JSON file that receives the rows when training ends, since processes of their own return no objects.

    Attributes:
        rows: The rows so far.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.rows = path, list[dict[str, float]]()
        self._of_steps: set[str] | None = None  # names of what is logged per step
        self._sums: dict[str, tuple[Tensor, Tensor]] = {}

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._of_steps = None

    def state_dict(self) -> dict[str, Any]:
        """The rows so far."""
        return {"rows": [dict(row) for row in self.rows]}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """The rows of the epochs before."""
        self.rows = [dict(row) for row in state_dict["rows"]]

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._sums = {}

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        logged = _scalars(trainer.callback_metrics)
        if self._of_steps is None:  # from the second epoch on, values of the epoch before are among them
            self._of_steps = set(logged)
        for name in self._of_steps & logged.keys():
            value = logged[name]
            there = ~value.isnan()  # a loss is NaN in a batch that has nothing to compare
            total, count = self._sums.get(name, (torch.zeros_like(value), torch.zeros_like(value)))
            self._sums[name] = total + value.nan_to_num(0.0), count + there

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        of_epoch = {k: v for k, v in _scalars(trainer.callback_metrics).items() if k not in self._sums}
        row: dict[str, float] = {"epoch": trainer.current_epoch + 1, "step": trainer.global_step}
        row |= {name: float(total / count) for name, (total, count) in self._sums.items()}
        row |= {name: float(value) for name, value in of_epoch.items()}
        self.rows.append(row)

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.is_global_zero:
            with whole(self.path) as temporary:
                temporary.write_text(json.dumps(self.rows))


def _scalars(values: Mapping[str, Any]) -> dict[str, Tensor]:
    return {k: v.detach().float() for k, v in values.items() if isinstance(v, Tensor) and v.numel() == 1}


class FiniteLoss(L.Callback):
    """Stops a training whose loss is NaN or infinite, before a checkpoint is written.

    The loss is remembered on its device and looked at every few batches, since each look waits for the device.

    Args:
        name: What is trained, for the message.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._first: Tensor | None = None  # number of the first bad step, -1 while there is none

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._first = None

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        loss = outputs["loss"] if isinstance(outputs, Mapping) else outputs
        if not isinstance(loss, Tensor):
            return
        step = torch.full_like(loss.detach(), batch_idx + 1)
        first = torch.full_like(step, -1) if self._first is None else self._first
        self._first = torch.where((first < 0) & ~loss.detach().isfinite(), step, first)
        if loss.device.type == "cpu" or (batch_idx + 1) % _READ_EVERY == 0:
            self._look(trainer)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._look(trainer)

    def _look(self, trainer: L.Trainer) -> None:
        if self._first is not None and (step := int(self._first)) >= 0:
            raise ValueError(
                f"{self.name}: the loss is NaN or infinite in epoch {trainer.current_epoch + 1}, step {step}. A smaller "
                "learning rate, or a smaller share of guidance, often helps; missing responses must be NaN, never infinite"
            )


class LastCheckpoint(Checkpoint):
    """Keeps one checkpoint, of the last epoch's end; a killed process leaves the one before.

    Args:
        path: The file.
        seconds: Shortest time between two checkpoints: short epochs would take longer to save than to train.
    """

    def __init__(self, path: Path, seconds: float) -> None:
        self.path, self.seconds = path, seconds
        self._saved = time.monotonic()

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        # All processes must save together, and their clocks differ.
        if not trainer.strategy.broadcast(time.monotonic() - self._saved >= self.seconds):
            return
        temporary = self.path.with_name(f"{self.path.name}.part")
        trainer.save_checkpoint(temporary)
        if trainer.is_global_zero:
            temporary.replace(self.path)
        self._saved = time.monotonic()


class Report(L.Callback):
    """Reports the share of a training that is done.

    Args:
        report: Called with a text and the share.
        share: The shares of the stage at which the training begins and ends.
    """

    def __init__(self, report: Callable[[str, float], None], share: tuple[float, float]) -> None:
        self.report, self.share = report, share

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.is_global_zero:
            done, of = trainer.current_epoch + 1, trainer.max_epochs or 1
            begin, end = self.share
            self.report(f"epoch {done}/{of}", begin + (end - begin) * done / of)
