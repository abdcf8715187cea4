"""Logging over an epoch: metrics, means over batches with something to compare, and a warning if most had nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import lightning as L
import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor, nn
from torchmetrics import Metric, MetricCollection

from neuroalign.metrics.means import WeightedMean

__all__: list[str] = []


class EpochLog(L.LightningModule):
    """A LightningModule that logs each validation or test loader separately.

    If there are several loaders, each has its own metrics, and Lightning adds ``/dataloader_idx_<number>`` to the names.
    Fabric accepts numbers only and has no epochs, so there the current values of the metrics are logged.
    """

    def __init__(self) -> None:
        super().__init__()
        self.epoch_means = nn.ModuleDict()  # by their name in the log, made when it is first logged
        self.further_metrics = nn.ModuleDict()  # by stage and loader, from the second loader on
        self._loader_idx = 0
        self._may_be_empty: set[str] = set()
        self._told_empty: set[str] = set()
        self._logged_in_epoch: dict[tuple[str | None, str], tuple[int, int]] = {}  # of training

    def on_fit_start(self) -> None:
        """Log the metrics of training again, also in an epoch that an earlier run began."""
        self._logged_in_epoch = {}

    def on_validation_start(self) -> None:
        """Log the metrics of training again after a validation, at whose end their values may have been asked for."""
        self._logged_in_epoch = {}

    def metrics_of(self, stage: str, loader: int = 0) -> MetricCollection:
        """The metrics of a stage ("val" or "test") for one of its loaders."""
        first = getattr(self, f"{stage}_metrics")
        if not loader:
            return first
        if (key := f"{stage}-{loader}") not in self.further_metrics:
            further = first.clone()
            further.reset()
            self.further_metrics[key] = further
        return cast(MetricCollection, self.further_metrics[key])

    def log_metrics(self, metrics: MetricCollection, batch_size: int, stage: str) -> None:
        """Log metrics at the end of the epoch."""
        path = f"further_metrics.{stage}-{self._loader_idx}" if self._loader_idx else f"{stage}_metrics"
        for (name, metric), key in zip(metrics.items(), metrics.keys(keep_base=True)):
            self.log_metric(name, metric, f"{path}.{key}", batch_size, prog_bar=stage == "val")

    def log_metric(
        self, name: str, metric: Metric, path: str, batch_size: int | None = None, *, prog_bar: bool = False
    ) -> None:
        """Log a metric's value over the epoch. In training Lightning is told once an epoch, since that takes time.

        Args:
            name: Name in the log.
            metric: An attribute of this module or of a submodule.
            path: Dotted name of the metric.
            batch_size: Number of stimuli in the batch.
            prog_bar: Whether to show it in the progress bar.
        """
        if self._fabric is not None:
            self.log(name, metric.compute())
            return
        trainer, place = self._trainer, (self._current_fx_name, name)
        if trainer is not None and getattr(trainer, "training", False):
            epoch = (id(trainer), trainer.current_epoch)
            if self._logged_in_epoch.get(place) == epoch:
                return
            self._logged_in_epoch[place] = epoch
        options: dict[str, Any] = {"on_step": False, "on_epoch": True, "prog_bar": prog_bar, "batch_size": batch_size}
        self.log(name, metric, metric_attribute=path, **options)

    def log_mean(self, name: str, value: Tensor, weight: Tensor | float) -> None:
        """Log the weighted mean of a number over the epoch's batches; NaN where no batch has a weight."""
        key = _key(name) + (f"-{self._loader_idx}" if self._loader_idx else "")
        if key not in self.epoch_means:
            self.epoch_means[key] = WeightedMean().to(self.device)
        mean = cast(WeightedMean, self.epoch_means[key])
        mean.update(value, weight)
        self.log_metric(name, mean, f"epoch_means.{key}")

    def log_term(self, name: str, value: Tensor, valid: Tensor | None, size: int) -> None:
        """Log a training loss that has nothing to compare in some batches; the arguments are those of :meth:`term_value`."""
        self.log(name, self.term_value(name, value, valid, size), batch_size=size)

    def term_value(self, name: str, value: Tensor, valid: Tensor | None, size: int) -> Tensor:
        """The value to log of a training loss that has nothing to compare in some batches: NaN in such a batch.

        ``<name>/mean``, the mean over the epoch's other batches, and ``<name>/empty``, the share of batches with nothing to
        compare, are logged here.

        Args:
            name: Name of the value in the log.
            value: The loss, a scalar.
            valid: Whether it had something to compare, a scalar bool tensor; None if the loss doesn't say.
            size: Number of stimuli in the batch.
        """
        value = value.detach()
        if valid is None:
            return value
        self.log_mean(f"{name}/mean", value, size * valid)
        self.log_empty(name, valid)
        return torch.where(valid, value, torch.nan)

    def log_empty(self, name: str, valid: Tensor) -> None:
        """Log the share of the epoch's batches in which a loss had nothing to compare, as ``<name>/empty``."""
        self.log_mean(f"{name}/empty", (~valid).float(), 1.0)
        if not name.startswith(("val/", "test/")):
            self._may_be_empty.add(name)

    def stimuli_needed(self, name: str) -> int:
        """Number of stimuli with a target that the loss logged as ``name`` needs in a batch."""
        return 1

    def on_train_epoch_end(self) -> None:
        """Warn once per loss if it had nothing to compare in more than half of the epoch's batches."""
        for name in sorted(self._may_be_empty - self._told_empty):
            mean = cast(WeightedMean, self.epoch_means[_key(f"{name}/empty")])
            # Computed on every process, since the processes add up their values.
            if mean.update_called and (share := float(mean.compute())) > 0.5:
                self._told_empty.add(name)
                needed = self.stimuli_needed(name)
                rank_zero_warn(
                    f"{name}: in {share:.0%} of the epoch's batches there was nothing to compare, since it takes {needed} or "
                    "more stimuli with a target in a batch. Such a batch teaches nothing here and is left out of the logged "
                    "mean. Use larger batches, or GuidanceDataModule(min_valid=...), which puts enough images with "
                    "responses into each" + (", or 'mse', for which one is enough" if needed > 1 else "")
                )


def as_collection(metrics: Metric | MetricCollection | Mapping[str, Metric]) -> MetricCollection:
    """Metrics as a collection: a single metric is named by its class, metrics in a dict by their keys.

    Example:
        >>> from torchmetrics.classification import MulticlassAccuracy
        >>> list(as_collection(MulticlassAccuracy(10)))
        ['MulticlassAccuracy']
    """
    if isinstance(metrics, MetricCollection):
        return metrics
    return MetricCollection(metrics if isinstance(metrics, Metric) else dict(metrics))


def _key(name: str) -> str:
    return name.replace(".", "_")  # names of modules may not hold a dot
