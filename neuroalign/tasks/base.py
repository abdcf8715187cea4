"""What both tasks share: optimisers that can be replaced, and the rule for modules in checkpoints."""

from __future__ import annotations

import os
import pickle
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import lightning as L
import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.data import DistributedSampler
from torchmetrics import MetricCollection

from neuroalign.checksums import check_checkpoint
from neuroalign.config import DescriptionError, description_of
from neuroalign.metrics.means import WeightedMean
from neuroalign.types import Batch, as_batch, check_images

if TYPE_CHECKING:
    from typing_extensions import Self

OptimizerFactory = Callable[[Iterable[nn.Parameter]], Optimizer]
SchedulerFactory = Callable[[Optimizer], Any]


class Task(L.LightningModule, ABC):
    """A LightningModule whose checkpoints hold plain values only.

    The rule for modules given as arguments: one that was itself built from plain values is stored as its description
    and rebuilt by ``load_from_checkpoint`` from the file alone; any other must be passed again. Weights are always in
    the file.

    Subclasses override ``default_optimizer`` and ``default_scheduler``, or a user ``configure_optimizers`` as in any
    LightningModule.
    """

    optimizer: OptimizerFactory | None
    scheduler: SchedulerFactory | None
    scheduler_interval: str
    _batch_idx = 0
    val_metrics: MetricCollection
    test_metrics: MetricCollection

    def __init__(self) -> None:
        super().__init__()
        self.epoch_means = nn.ModuleDict()  # by what they are logged as, when it first is
        self._may_be_empty: set[str] = set()
        self._told_empty: set[str] = set()

    def remember(self, *, modules: Mapping[str, Any], values: Mapping[str, Any]) -> None:
        """Save hyperparameters: plain values, and of each module its description where it has one."""
        described = {k: description_of(m) for k, m in modules.items()}
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
        """A task from its checkpoint, as Lightning's, whose arguments these are.

        Of the file, only data is read, and each tensor is compared with its checksum before.

        Args:
            checkpoint_path: A path, URL or open file; the last two are not compared.
            map_location: Where tensors go.
            hparams_file: A file whose hyperparameters stand in for the checkpoint's.
            strict: Whether the weights must be exactly the network's.
            weights_only: Default True: tensors and plain values. False lets the file run any code.
            **kwargs: Arguments of the task in place of those in the file.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it is damaged, empty, no checkpoint of this task, holds more than data, or a description in it
                names what none may: see :func:`neuroalign.config.build`.
        """
        if isinstance(checkpoint_path, (str, os.PathLike)) and "://" not in str(checkpoint_path):
            check_checkpoint(checkpoint_path)
        # Lightning would let the file name the function that builds the task, and with it any class at all.
        kwargs["_instantiator"] = None
        only = weights_only is None or weights_only
        try:
            return super().load_from_checkpoint(checkpoint_path, map_location, hparams_file, strict, only, **kwargs)
        except DescriptionError as error:
            raise DescriptionError(f"{checkpoint_path}: {error}") from error
        except (pickle.UnpicklingError, EOFError) as error:
            raise ValueError(f"{checkpoint_path} is no checkpoint of {cls.__name__}: it is damaged, or holds more than "
                             "tensors and plain values, of which nothing was run") from error  # fmt: skip
        except (AttributeError, KeyError, IndexError, TypeError) as error:
            if kwargs.keys() != {"_instantiator"}:  # what the caller gave may be what doesn't fit
                raise
            raise ValueError(f"{checkpoint_path} is no checkpoint of {cls.__name__} ({error})") from error

    def check_batch(self, batch: Batch, batch_idx: int) -> None:
        """Refuse a first batch whose images are not in [0, 1]; override to let anything else through.

        A DataModule of ours that augments checked its images before: noise may carry them outside.
        """
        datamodule = getattr(self.trainer, "datamodule", None)
        if batch_idx == 0 and getattr(datamodule, "augment", None) is None:
            check_images(batch["image"])

    def trainable_parameters(self) -> list[nn.Parameter]:
        """The parameters that require gradients: those of a frozen predictor don't."""
        return [p for p in self.parameters() if p.requires_grad]

    @abstractmethod
    def evaluate(self, batch: Batch, stage: str, metrics: MetricCollection) -> None:
        """Log the loss of a validation or test batch as ``<stage>/...`` and update the stage's metrics."""

    def counted_once(self, target: Tensor) -> Tensor:
        """Targets (stimulus, voxel) of the batch being evaluated, NaN for images that a DistributedSampler repeats.

        It does so at its end, to even the processes' shares out.
        """
        loaders = self.trainer.test_dataloaders if self.trainer.testing else self.trainer.val_dataloaders
        loader = loaders[0] if isinstance(loaders, (list, tuple)) else loaders
        sampler, batch_size = getattr(loader, "sampler", None), getattr(loader, "batch_size", None)
        if not isinstance(sampler, DistributedSampler) or batch_size is None:
            return target
        place = self._batch_idx * batch_size + torch.arange(len(target), device=target.device)
        repeated = place * sampler.num_replicas + sampler.rank >= len(sampler.dataset)
        return torch.where(repeated[:, None], torch.nan, target)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Update the validation metrics."""
        self._batch_idx = batch_idx
        self.check_batch(as_batch(batch), batch_idx)
        self.evaluate(batch, "val", self.val_metrics)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Update the test metrics."""
        self._batch_idx = batch_idx
        self.check_batch(as_batch(batch), batch_idx)
        self.evaluate(batch, "test", self.test_metrics)

    def log_metrics(self, metrics: MetricCollection, batch_size: int, stage: str) -> None:
        """Log an epoch's metrics once it ends."""
        options = {"on_step": False, "on_epoch": True, "prog_bar": stage == "val"}
        self.log_dict(dict(metrics.items()), batch_size=batch_size, **options)

    def log_mean(self, name: str, value: Tensor, weight: Tensor | float) -> None:
        """Log the weighted mean of a number over the epoch's batches; NaN where no batch has a weight."""
        key = _key(name)
        if key not in self.epoch_means:
            self.epoch_means[key] = WeightedMean().to(self.device)
        self.epoch_means[key].update(value, weight)
        self.log(name, self.epoch_means[key], on_step=False, on_epoch=True, metric_attribute=f"epoch_means.{key}")

    def log_term(self, name: str, value: Tensor, valid: Tensor | None, size: int) -> None:
        """Log a training loss of which some batches have nothing to compare.

        Args:
            name: What its steps are logged as, NaN where there was nothing. The mean over the epoch's other batches is
                ``<name>/mean``, the share of batches with nothing ``<name>/empty``.
            value: Scalar.
            valid: Whether it had something to compare, a scalar bool tensor; None if it doesn't tell.
            size: Number of stimuli in the batch.
        """
        value = value.detach()
        self.log(name, value if valid is None else torch.where(valid, value, torch.nan), batch_size=size)
        if valid is not None:
            self.log_mean(f"{name}/mean", value, size * valid)
            self.log_empty(name, valid)

    def log_empty(self, name: str, valid: Tensor) -> None:
        """Log as ``<name>/empty`` the share of the epoch's batches in which a loss had nothing to compare."""
        self.log_mean(f"{name}/empty", (~valid).float(), 1.0)
        if not name.startswith(("val/", "test/")):
            self._may_be_empty.add(name)

    def stimuli_needed(self, name: str) -> int:
        """Stimuli with a target that a batch must hold for the loss that is logged as ``name``."""
        return 1

    def on_train_epoch_end(self) -> None:
        """Warn once of each loss that had nothing to compare in more than half of the epoch's batches."""
        for name in sorted(self._may_be_empty - self._told_empty):
            mean = self.epoch_means[_key(f"{name}/empty")]
            # Asked on every process: they add theirs up.
            if mean.update_called and (share := float(mean.compute())) > 0.5:
                self._told_empty.add(name)
                needed = self.stimuli_needed(name)
                rank_zero_warn(
                    f"{name}: in {share:.0%} of the epoch's batches there was nothing to compare, since it takes {needed} or "
                    "more stimuli with a target in a batch. Such a batch teaches nothing here and is left out of the logged "
                    "mean. Use larger batches, or GuidanceDataModule(min_valid=...), which puts enough images with "
                    "responses into each" + (", or 'mse', for which one is enough" if needed > 1 else "")
                )

    @abstractmethod
    def default_optimizer(self, parameters: list[nn.Parameter]) -> Optimizer:
        """The paper's optimiser."""

    def default_scheduler(self, optimizer: Optimizer) -> Any:
        """The paper's schedule, None for a constant rate."""
        return None

    def configure_optimizers(self) -> Any:
        """The given optimiser and scheduler, or the paper's."""
        parameters = self.trainable_parameters()
        optimizer = self.optimizer(parameters) if self.optimizer else self.default_optimizer(parameters)
        if self.scheduler is not None:
            scheduler, interval = self.scheduler(optimizer), self.scheduler_interval
        else:  # a schedule in the paper's epochs would be wrong for somebody else's optimiser
            scheduler, interval = (None if self.optimizer else self.default_scheduler(optimizer)), "epoch"
        if scheduler is None:
            return optimizer
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": interval}}


def _key(name: str) -> str:
    return name.replace(".", "_")  # which names of modules may not hold


def one_cycle(
    total_steps: int, max_lr: float, pct_start: float = 0.3
) -> Callable[[Optimizer], torch.optim.lr_scheduler.LRScheduler]:
    """A factory for torch's one-cycle schedule, for a task's ``scheduler`` with ``scheduler_interval="step"``."""

    def make(optimizer: Optimizer) -> torch.optim.lr_scheduler.LRScheduler:
        return torch.optim.lr_scheduler.OneCycleLR(
            optimizer, max_lr, total_steps=total_steps, pct_start=pct_start, cycle_momentum=False
        )

    return make
