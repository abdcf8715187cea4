"""The base of both tasks: repeatable training steps, replaceable optimisers, and the content of checkpoints."""

from __future__ import annotations

import os
import pickle
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau
from torch.utils.data import DistributedSampler
from torchmetrics import MetricCollection

from neuroalign.addresses import redacted
from neuroalign.config import DescriptionError, OwnModuleError, description_of, saved_description_of
from neuroalign.models.frozen import only_frozen_in_eval
from neuroalign.models.network_files import TASKS
from neuroalign.tasks.epoch_log import EpochLog
from neuroalign.tasks.state_dicts import as_in, renamed, uncompiled
from neuroalign.tasks.step_draws import drawing, fresh_seed, step_seed
from neuroalign.tensor_files import check_checkpoint
from neuroalign.types import Batch, as_batch, check_images

if TYPE_CHECKING:
    from typing import Self

__all__: list[str] = []

OptimizerFactory = Callable[[Iterable[nn.Parameter]], Optimizer]
# Two types, for configurations: the first accepts a scheduler's class, the second a function that makes a factory.
SchedulerFactory = Callable[[Optimizer], LRScheduler] | Callable[[Optimizer], Any]
_SEED = "neuroalign_step_seed"


class Task(EpochLog, ABC):
    """A LightningModule whose checkpoints hold plain values only; a training resumed from one is as if never interrupted.

    The rule for modules given as arguments: a module that was itself built from plain values is stored as its description,
    and ``load_from_checkpoint`` rebuilds it from the file alone; any other module must be passed again. Weights are always in
    the file, under the names that they have without ``torch.compile``.

    All random numbers of a training step (adversarial starts, noise, dropout) depend on the number of the batch, the process
    and one seed, which is taken from torch's global generator when training starts and kept in checkpoints. So a resumed
    training draws the same numbers as without the interruption, even if other code draws from the global generator. In a loop
    without a Lightning Trainer the global generator is used.

    Subclasses override ``default_optimizer`` and ``default_scheduler``; users may override ``configure_optimizers`` as in any
    LightningModule. A subclass that overrides ``training_step`` puts its step inside :meth:`repeatable`.
    """

    predicts: str
    """What ``predict_step`` returns, a name for :class:`neuroalign.callbacks.PredictionWriter`."""
    optimizer: OptimizerFactory | None
    scheduler: SchedulerFactory | None
    scheduler_interval: str
    scheduler_monitor: str
    _batch_idx = 0
    _step_seed: int | None = None
    _without_warning: warnings.catch_warnings[None] | None = None
    val_metrics: MetricCollection
    test_metrics: MetricCollection
    _holds: str | None = None
    """The argument with the network that the task trains, under whose name checkpoints hold its weights."""

    def remember(self, *, modules: Mapping[str, Any], values: Mapping[str, Any]) -> None:
        """Save hyperparameters: plain values, and the description of each module that has one.

        If the network has a backbone of the user's own class, its description names that class: ``NeuralPredictor.load`` and
        ``GuidedNetwork.load`` then read the network, given the backbone again.
        """
        described = {k: saved_description_of(m) if k == self._holds else description_of(m) for k, m in modules.items()}
        self.save_hyperparameters({**values, **{k: d for k, d in described.items() if d is not None}})

    @classmethod
    def load_from_checkpoint(
        cls,
        checkpoint_path: Any,
        map_location: Any = None,
        hparams_file: Any = None,
        strict: bool | None = None,
        weights_only: bool | None = None,
        **kwargs: Any,
    ) -> Self:
        """Load a task from its checkpoint; the arguments are those of Lightning's method.

        Only data is read from the file, and each tensor is compared with its checksum first.

        Args:
            checkpoint_path: A path, URL or open file; checksums are compared for a path only.
            map_location: Device of the tensors.
            hparams_file: A file whose hyperparameters replace those of the checkpoint.
            strict: Whether the names of the weights must be exactly those of the task.
            weights_only: True, or None (the default), reads tensors and plain values only. False lets the file run any code.
            **kwargs: Arguments of the task that replace those in the file.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If the file is damaged, empty, not a checkpoint of this task, or holds more than data, or if a
                description in it names something that descriptions may not name: see :func:`neuroalign.config.build`.
        """
        if isinstance(checkpoint_path, (str, os.PathLike)) and "://" not in str(checkpoint_path):
            check_checkpoint(checkpoint_path)
        # Lightning would let the file name the function that builds the task, and so any class.
        kwargs["_instantiator"] = None
        only, shown = weights_only is None or weights_only, redacted(str(checkpoint_path))
        try:
            return super().load_from_checkpoint(checkpoint_path, map_location, hparams_file, strict, only, **kwargs)
        except OwnModuleError as error:
            raise ValueError(
                f"{shown}: the {cls._holds} has a module of your own class {error.wanted}: build it as before and give it, "
                f"load_from_checkpoint(path, {cls._holds}=...)"
            ) from error
        except DescriptionError as error:
            raise DescriptionError(f"{shown}: {error}") from error
        except (pickle.UnpicklingError, EOFError, RecursionError) as error:
            raise ValueError(f"{shown} is no checkpoint of {cls.__name__}: it is damaged, or holds more than "
                             "tensors and plain values; no code in it was run") from error  # fmt: skip
        except ValueError as error:
            if "network" not in kwargs and "predictor" not in kwargs:  # the file had to say what it holds
                _check_file(cls, checkpoint_path)
            if str(checkpoint_path) in str(error):
                raise
            raise ValueError(f"{checkpoint_path}: {str(error)[:500]}") from error
        except (AttributeError, KeyError, IndexError, TypeError) as error:
            if kwargs.keys() != {"_instantiator"}:  # the caller's own arguments may be wrong
                raise
            reason = f"it lacks {error}; weights alone are not enough" if isinstance(error, KeyError) else str(error)
            raise ValueError(f"{shown} is no checkpoint of {cls.__name__} ({reason})") from error

    def check_batch(self, batch: Batch, batch_idx: int) -> None:
        """Raise an error if images of the first batch are not in [0, 1]; override to accept other images.

        A DataModule of neuroalign with augmentation has checked its images before, since noise may move them outside.
        """
        datamodule = getattr(self._trainer, "datamodule", None)
        if batch_idx == 0 and getattr(datamodule, "augment", None) is None:
            check_images(batch["image"])

    @contextmanager
    def repeatable(self, images: Tensor) -> Iterator[None]:
        """A context in which random numbers depend on the seed, the number of the batch and the process only.

        Args:
            images: (stimulus, channel, height, width), the images of the batch.

        Raises:
            ValueError: If BatchNorm refuses a batch of one image; the message says what to do.
        """
        try:
            loop = getattr(self._trainer, "fit_loop", None)
            if loop is None:
                yield
                return
            if self._step_seed is None:
                self._step_seed = int(self.trainer.strategy.broadcast(fresh_seed()))
            # Counts every completed batch, but not one that ended in an exception.
            step = loop.epoch_loop.batch_progress.total.completed
            with drawing(step_seed(self._step_seed, step, self.global_rank), images.device):
                yield
        except ValueError as error:
            if len(images) == 1 and "more than 1 value per channel" in str(error):
                raise ValueError(
                    "this training batch holds one image, from which BatchNorm can't compute a variance: leave it out, "
                    "drop_last=True, or use another batch size"
                ) from error
            raise

    def on_fit_start(self) -> None:
        """Remove the seed of an earlier training, unless a training is resumed.

        Modules in eval mode are no news where all of them are in a :class:`neuroalign.models.frozen.Frozen`.
        """
        super().on_fit_start()
        if self.trainer.ckpt_path is None:
            self._step_seed = None
        if only_frozen_in_eval(self):
            self._without_warning = warnings.catch_warnings()
            self._without_warning.__enter__()
            warnings.filterwarnings("ignore", message=r"Found \d+ module\(s\) in eval mode at the start of training")

    def on_train_start(self) -> None:
        """Show warnings about modules in eval mode again: before this hook, Lightning warns about frozen ones, too."""
        super().on_train_start()
        if self._without_warning is not None:
            self._without_warning.__exit__(None, None, None)
            self._without_warning = None

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Store the seed of the steps' random numbers, and weights under their names without ``torch.compile``."""
        if self._step_seed is not None:
            checkpoint[_SEED] = self._step_seed
        if "state_dict" in checkpoint:
            checkpoint["state_dict"] = renamed(checkpoint["state_dict"], uncompiled)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore the seed, and rename weights to the names in this task, compiled or not.

        Raises:
            ValueError: If it is a checkpoint of another task.
        """
        path = getattr(self._trainer, "ckpt_path", None)
        try:
            _check_kind(type(self), checkpoint)
        except ValueError as error:
            raise ValueError(f"{redacted(str(path))}: {error}" if path else str(error)) from None
        self._step_seed = checkpoint.get(_SEED)
        if "state_dict" in checkpoint:
            checkpoint["state_dict"] = as_in(checkpoint["state_dict"], self.state_dict())

    def trainable_parameters(self) -> list[nn.Parameter]:
        """The parameters that require gradients; those of a frozen predictor don't."""
        return [p for p in self.parameters() if p.requires_grad]

    def read(self, batch: Any) -> Batch:
        """The batch of any step as a dict."""
        return as_batch(batch)

    @abstractmethod
    def evaluate(self, batch: Batch, stage: str, metrics: MetricCollection) -> None:
        """Log the loss of a validation or test batch as ``<stage>/...`` and update the stage's metrics."""

    def counted_once(self, target: Tensor) -> Tensor:
        """Targets (stimulus, voxel) of the batch being evaluated, with NaN for images that a DistributedSampler repeats.

        The sampler repeats images at the end of an epoch, to give all processes the same number of images.
        """
        if self._trainer is None:
            return target
        loaders = self.trainer.test_dataloaders if self.trainer.testing else self.trainer.val_dataloaders
        loader = _loaders(loaders)[self._loader_idx]
        sampler, batch_size = getattr(loader, "sampler", None), getattr(loader, "batch_size", None)
        if not isinstance(sampler, DistributedSampler) or batch_size is None:
            return target
        place = self._batch_idx * batch_size + torch.arange(len(target), device=target.device)
        repeated = place * sampler.num_replicas + sampler.rank >= len(cast(Sized, sampler.dataset))
        return torch.where(repeated[:, None], torch.nan, target)

    def validation_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Update the validation metrics."""
        self._evaluate(batch, batch_idx, dataloader_idx, "val")

    def test_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Update the test metrics."""
        self._evaluate(batch, batch_idx, dataloader_idx, "test")

    def _evaluate(self, batch: Any, batch_idx: int, dataloader_idx: int, stage: str) -> None:
        batch = self.read(batch)
        self._batch_idx, self._loader_idx = batch_idx, dataloader_idx
        try:
            self.check_batch(batch, batch_idx)
            self.evaluate(batch, stage, self.metrics_of(stage, dataloader_idx))
        finally:
            self._loader_idx = 0

    @abstractmethod
    def default_optimizer(self, parameters: list[nn.Parameter]) -> Optimizer:
        """The paper's optimiser."""

    def default_scheduler(self, optimizer: Optimizer) -> Any:
        """The paper's schedule; None for a constant learning rate."""
        return None

    def configure_optimizers(self) -> Any:
        """The given optimiser and scheduler, or the defaults."""
        parameters = self.trainable_parameters()
        optimizer = self.optimizer(parameters) if self.optimizer else self.default_optimizer(parameters)
        if self.scheduler is not None:
            scheduler, interval = self.scheduler(optimizer), self.scheduler_interval
        else:  # the paper's schedule would be wrong for another optimiser
            scheduler, interval = (None if self.optimizer else self.default_scheduler(optimizer)), "epoch"
        if scheduler is None:
            return optimizer
        config = {"scheduler": scheduler, "interval": interval}
        if isinstance(scheduler, ReduceLROnPlateau):
            config["monitor"] = self.scheduler_monitor
        return {"optimizer": optimizer, "lr_scheduler": config}


def checked_rate(name: str, value: Any) -> float:
    """An optimiser's rate as a number; it is refused here, as the optimiser would only say so when training starts.

    Raises:
        TypeError: If it is no number.
        ValueError: If it is negative or not finite.

    Example:
        >>> checked_rate("lr", -1)
        Traceback (most recent call last):
        ValueError: lr must be a finite number of at least 0; got -1
    """
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise TypeError(f"{name} must be a number; got {value!r}") from None
    if not 0 <= number < float("inf"):
        raise ValueError(f"{name} must be a finite number of at least 0; got {value}")
    return number


def _check_kind(task: type[Task], checkpoint: Mapping[str, Any]) -> None:
    """Refuse a checkpoint whose weights are those of another task's network."""
    state = checkpoint.get("state_dict")
    if task._holds is None or not isinstance(state, Mapping):
        return
    held = {str(key).partition(".")[0] for key in state}
    other = next((TASKS[name] for name in TASKS if name in held), None)
    if task._holds not in held and other is not None:
        raise ValueError(f"this is a checkpoint of {other}, not of {task.__name__}")


def _check_file(task: type[Task], path: Any) -> None:
    """Refuse a file that is another task's checkpoint; one that can't be read is left to other messages."""
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception:
        return
    try:
        _check_kind(task, checkpoint if isinstance(checkpoint, Mapping) else {})
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _loaders(loaders: Any) -> list[Any]:
    """The validation or test loaders of a Trainer, in the order of their ``dataloader_idx``."""
    loaders = getattr(loaders, "flattened", loaders)  # a CombinedLoader
    if isinstance(loaders, Mapping):
        loaders = list(loaders.values())
    return list(loaders) if isinstance(loaders, (list, tuple)) else [loaders]


def one_cycle(total_steps: int, max_lr: float, pct_start: float = 0.3) -> Callable[[Optimizer], LRScheduler]:
    """A factory for torch's one-cycle schedule, for a task's ``scheduler`` with ``scheduler_interval="step"``."""

    def make(optimizer: Optimizer) -> LRScheduler:
        return torch.optim.lr_scheduler.OneCycleLR(
            optimizer, max_lr, total_steps=total_steps, pct_start=pct_start, cycle_momentum=False
        )

    return make
