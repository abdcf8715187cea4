"""Training a neural predictor, which maps images to the responses of a region."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torchmetrics import Metric, MetricCollection

from neuroalign.config import build
from neuroalign.functional.checks import check_choice
from neuroalign.losses import NeuralAlignmentLoss
from neuroalign.metrics import NoiseNormalizedCorrelation, VoxelCorrelation
from neuroalign.models import NeuralPredictor
from neuroalign.models.precision import as_dtype_of
from neuroalign.tasks.base import OptimizerFactory, SchedulerFactory, Task, checked_rate
from neuroalign.tasks.batches import batch_of, images_of
from neuroalign.tasks.epoch_log import as_collection
from neuroalign.types import Batch

__all__ = ["NeuralPredictionTask"]


class NeuralPredictionTask(Task):
    """Fit a predictor to responses, and log the loss and the correlation with held-out responses.

    Logs ``train/loss``, and over the validation (test) set ``val/loss``, ``val/correlation`` (median over voxels of the
    Pearson correlation over images), ``val/pattern_correlation`` (mean over images of the correlation over voxels) and, with
    a noise ceiling, ``val/normalized_correlation`` (median of r / sqrt(NC)).

    In a batch in which too many responses are missing, the loss has nothing to compare: it is 0 for the optimiser, and
    ``train/loss`` is NaN. ``train/loss/mean`` and ``val/loss`` are means over the epoch's other batches, ``train/loss/empty``
    and ``val/loss/empty`` the shares of such batches; a warning is given once if the share in training is above one half.

    Batches are dicts with ``image`` and ``response``, or pairs ``(images, responses)``. If there are several validation or
    test loaders, each has its own values under Lightning's names, ``val/loss/dataloader_idx_0``.

    Args:
        predictor: A :class:`NeuralPredictor` or any module from images to (stimulus, voxel); or its description.
        lr: Learning rate of the default optimiser, Adam.
        weight_decay: Weight decay of the default optimiser.
        loss: A measure's name or a loss; None means the paper's squared error, summed over voxels and averaged over stimuli.
            With missing responses all valid entries have the same weight: the loss is the mean squared error over the valid
            entries of the batch times the number of voxels that have any, so a voxel weighs by the share of its entries that
            are valid.
        noise_ceiling: (voxel,) in [0, 1], a list, array or tensor, for the normalised correlation. A configuration of the
            command line that leaves it out gets that of its DataModule.
        optimizer: ``parameters -> optimizer``; None means the default.
        scheduler: ``optimizer -> scheduler``; None means the default. In a configuration, any scheduler of torch by name,
            such as ``torch.optim.lr_scheduler.StepLR``.
        scheduler_interval: When the scheduler steps, every "epoch" or every "step".
        scheduler_monitor: Name of the logged value that a ``ReduceLROnPlateau`` monitors.

    Raises:
        ValueError: If loaded from a checkpoint that doesn't describe its predictor and no predictor is passed; or if the
            first batch has images outside [0, 1], or any batch has no responses.
        TypeError: If several training loaders give one batch each.

    Example:
        >>> predictor = NeuralPredictor("small_resnet", 20, image_shape=(3, 8, 8))
        >>> task = NeuralPredictionTask(predictor)
        >>> task(torch.rand(2, 3, 8, 8)).shape
        torch.Size([2, 20])

    Source:
        Shao et al. 2024, arXiv 2405.02564 (Adam 1e-3, weight decay 5e-4, batches of 200, 40 epochs).
    """

    predicts = "responses"
    _holds = "predictor"

    def __init__(
        self,
        predictor: NeuralPredictor | nn.Module | dict[str, Any] | None = None,
        *,
        lr: float = 1e-3,
        weight_decay: float = 5e-4,
        loss: str | nn.Module | dict[str, Any] | None = None,
        noise_ceiling: Sequence[float] | None = None,
        optimizer: OptimizerFactory | None = None,
        scheduler: SchedulerFactory | None = None,
        scheduler_interval: str = "epoch",
        scheduler_monitor: str = "val/loss",
    ) -> None:
        super().__init__()
        if predictor is None:
            raise ValueError(
                "give a predictor. (A checkpoint of one that was not built from plain values can't rebuild it: "
                "load_from_checkpoint(path, predictor=...).)"
            )
        self.predictor: nn.Module = build(predictor, nn.Module)
        if loss is None:
            loss = NeuralAlignmentLoss("mse", voxel_reduction="sum")
        elif isinstance(loss, str):
            loss = NeuralAlignmentLoss(loss)
        self.loss: nn.Module = build(loss, nn.Module)
        self.lr, self.weight_decay = checked_rate("lr", lr), checked_rate("weight_decay", weight_decay)
        self.optimizer, self.scheduler = optimizer, scheduler
        check_choice("scheduler_interval", scheduler_interval, ("epoch", "step"))
        self.scheduler_interval, self.scheduler_monitor = scheduler_interval, scheduler_monitor
        ceiling = None if noise_ceiling is None else torch.as_tensor(noise_ceiling, dtype=torch.float32)
        self.noise_ceiling = ceiling
        noise_ceiling = None if ceiling is None else ceiling.tolist()  # Lightning compares arguments with ==
        self.remember(
            modules={"predictor": self.predictor, "loss": self.loss},
            values={
                "lr": self.lr,
                "weight_decay": self.weight_decay,
                "noise_ceiling": noise_ceiling,
            },
        )
        self.val_metrics = as_collection(self.configure_metrics()).clone(prefix="val/")
        self.test_metrics = as_collection(self.configure_metrics()).clone(prefix="test/")

    def configure_metrics(self) -> MetricCollection | Metric:
        """The metrics of (preds, target) over the validation and test sets: a collection or a single metric."""
        metrics: dict[str, Metric | MetricCollection] = {
            "correlation": VoxelCorrelation(reduction="median"),
            "pattern_correlation": VoxelCorrelation(over="voxels", reduction="mean"),
        }
        if self.noise_ceiling is not None:
            metrics["normalized_correlation"] = NoiseNormalizedCorrelation(self.noise_ceiling, reduction="median")
        return MetricCollection(metrics, compute_groups=False)

    def on_fit_start(self) -> None:
        """Refuse data of another number of voxels before training begins.

        Raises:
            ValueError: If the predictor and the DataModule have different numbers of voxels.
        """
        super().on_fit_start()
        here, there = (
            getattr(each, "num_voxels", None) for each in (self.predictor, getattr(self.trainer, "datamodule", None))
        )
        own_metrics = type(self).configure_metrics is not NeuralPredictionTask.configure_metrics
        if isinstance(here, int) and isinstance(there, int) and here != there and not own_metrics:
            raise ValueError(
                f"the predictor has num_voxels={here}, and the data have {there} voxels: they must be the same (a "
                "configuration may leave num_voxels out)"
            )

    def forward(self, images: Tensor) -> Tensor:
        """Predicted responses (stimulus, voxel)."""
        return self.predictor(images)

    def task_loss(self, preds: Tensor, target: Tensor) -> Tensor:
        """The loss to minimise, a scalar."""
        return self.loss(preds, target)

    def read(self, batch: Any) -> Batch:
        """The batch as a dict, with images in the precision of the predictor."""
        batch = batch_of(batch, "response")
        return {**batch, "image": as_dtype_of(batch["image"], self.predictor)}

    def check_batch(self, batch: Batch, batch_idx: int) -> None:
        """Raise an error if the first batch has images outside [0, 1], or any batch has no responses."""
        super().check_batch(batch, batch_idx)
        if "response" not in batch:
            raise ValueError(
                f"a predictor's batch needs 'response'; this one has {sorted(batch)}: use a ResponsesDataModule or an "
                "NSDDataModule"
            )

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """One step."""
        batch = self.read(batch)
        self.check_batch(batch, batch_idx)
        with self.repeatable(batch["image"]):
            loss = self.task_loss(self(batch["image"]), batch["response"])
        self.log_term("train/loss", loss, getattr(self.loss, "last_valid", None), len(batch["image"]))
        return loss

    def stimuli_needed(self, name: str) -> int:
        """Number of stimuli with a response that the loss needs in a batch."""
        return getattr(self.loss, "min_valid", 1)

    def evaluate(self, batch: Batch, stage: str, metrics: MetricCollection) -> None:
        """Log the loss and update the metrics."""
        preds = self(batch["image"])
        size = len(batch["image"])
        loss = self.task_loss(preds, batch["response"])
        valid = getattr(self.loss, "last_valid", None)
        self.log_mean(f"{stage}/loss", loss, size if valid is None else size * valid)
        if valid is not None:
            self.log_empty(f"{stage}/loss", valid)
        metrics.update(preds, self.counted_once(batch["response"]))
        self.log_metrics(metrics, size, stage)

    def predict_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Tensor:
        """Predicted responses (stimulus, voxel), for batches with responses or images alone."""
        return self(as_dtype_of(images_of(batch), self.predictor))

    def default_optimizer(self, parameters: list[nn.Parameter]) -> Optimizer:
        """The paper's optimiser: Adam."""
        return torch.optim.Adam(parameters, lr=self.lr, weight_decay=self.weight_decay)
