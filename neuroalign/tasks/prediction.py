"""Training a neural predictor: from images to the responses of a region."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torchmetrics import Metric, MetricCollection

from neuroalign.config import build
from neuroalign.losses import NeuralAlignmentLoss
from neuroalign.metrics import NoiseNormalizedCorrelation, VoxelCorrelation
from neuroalign.models import NeuralPredictor
from neuroalign.models.precision import as_dtype_of
from neuroalign.tasks.base import OptimizerFactory, SchedulerFactory, Task
from neuroalign.tasks.batches import batch_of, images_of
from neuroalign.tasks.epoch_log import as_collection
from neuroalign.types import Batch


class NeuralPredictionTask(Task):
    """Fit a predictor to responses; logs the loss and the correlation with held-out responses.

    Logs ``train/loss``, and over the validation (test) set ``val/loss``, ``val/correlation`` (median over voxels of the
    Pearson correlation over images), ``val/pattern_correlation`` (mean over images of that over voxels) and, with a
    noise ceiling, ``val/normalized_correlation`` (median of r / sqrt(NC)).

    In a batch in which too many responses are missing, the loss has nothing to compare: it is 0 for the optimiser and NaN
    as ``train/loss``. ``train/loss/mean`` and ``val/loss`` are means over the epoch's other batches, ``train/loss/empty``
    and ``val/loss/empty`` the shares of such batches; of more than half in training a warning tells once.

    Batches are dicts with ``image`` and ``response``, or pairs ``(images, responses)``. Of several validation or test loaders
    each has its own numbers, named as Lightning does, ``val/loss/dataloader_idx_0``.

    Args:
        predictor: A :class:`NeuralPredictor` or any module from images to (stimulus, voxel); or its description.
        lr: Learning rate of the default optimiser, Adam.
        weight_decay: Of the default optimiser.
        loss: A measure's name or a loss; default the paper's squared error, summed over voxels and averaged over stimuli.
            With missing responses entries weigh alike: it is the mean squared error over the valid entries of the batch
            times the number of voxels that have any, so a voxel weighs by the share of its entries that are valid.
        noise_ceiling: (voxel,) in [0, 1], a list, array or tensor, for the normalised correlation.
        optimizer: ``parameters -> optimizer``, in place of the default.
        scheduler: ``optimizer -> scheduler``; in a configuration any of torch's by name, such as
            ``torch.optim.lr_scheduler.StepLR``.
        scheduler_interval: "epoch" or "step".
        scheduler_monitor: What a ``ReduceLROnPlateau`` looks at.

    Raises:
        ValueError: If loaded from a checkpoint that can't describe its predictor, without passing one; or on a first
            batch whose images are not in [0, 1], or one without responses.
        TypeError: If several training loaders give a batch each.

    Example:
        >>> task = NeuralPredictionTask(NeuralPredictor("small_resnet", 20, image_shape=(3, 8, 8)))
        >>> task(torch.rand(2, 3, 8, 8)).shape
        torch.Size([2, 20])

    Source:
        Shao et al. 2024, arXiv 2405.02564 (Adam 1e-3, weight decay 5e-4, batches of 200, 40 epochs).
    """

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
        self.lr, self.weight_decay = float(lr), float(weight_decay)
        self.optimizer, self.scheduler = optimizer, scheduler
        self.scheduler_interval, self.scheduler_monitor = scheduler_interval, scheduler_monitor
        ceiling = None if noise_ceiling is None else torch.as_tensor(noise_ceiling, dtype=torch.float32)
        self.noise_ceiling = ceiling
        noise_ceiling = None if ceiling is None else ceiling.tolist()  # Lightning compares arguments, arrays can't be
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
        """Metrics of (preds, target) over the validation and test sets: a collection, or one."""
        metrics: dict[str, Metric | MetricCollection] = {
            "correlation": VoxelCorrelation(reduction="median"),
            "pattern_correlation": VoxelCorrelation(over="voxels", reduction="mean"),
        }
        if self.noise_ceiling is not None:
            metrics["normalized_correlation"] = NoiseNormalizedCorrelation(self.noise_ceiling, reduction="median")
        return MetricCollection(metrics, compute_groups=False)

    def forward(self, images: Tensor) -> Tensor:
        """Predicted responses (stimulus, voxel)."""
        return self.predictor(images)

    def task_loss(self, preds: Tensor, target: Tensor) -> Tensor:
        """The loss to minimise, a scalar."""
        return self.loss(preds, target)

    def read(self, batch: Any) -> Batch:
        """A batch as a dict, with images in the precision of the predictor."""
        batch = batch_of(batch, "response")
        return {**batch, "image": as_dtype_of(batch["image"], self.predictor)}

    def check_batch(self, batch: Batch, batch_idx: int) -> None:
        """Refuse a first batch with images outside [0, 1], and any without responses."""
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
        """Stimuli with a response that a batch must hold for the loss."""
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
        """Predicted responses (stimulus, voxel), of batches with responses or of images alone."""
        return self(as_dtype_of(images_of(batch), self.predictor))

    def default_optimizer(self, parameters: list[nn.Parameter]) -> Optimizer:
        """The paper's: Adam."""
        return torch.optim.Adam(parameters, lr=self.lr, weight_decay=self.weight_decay)
