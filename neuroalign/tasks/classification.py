"""Training a classifier whose responses must also match a brain's."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torchmetrics import Metric, MetricCollection
from torchmetrics.classification import MulticlassAccuracy

from neuroalign.config import build
from neuroalign.functional.checks import check_choice, check_labels
from neuroalign.functional.host import readable
from neuroalign.guidance.network_heads import check_network_heads
from neuroalign.guidance.responses import (
    PredictedGuidance,
    TargetGuidance,
    loss_of_term,
    nothing,
    target_guidances,
    valid_terms,
)
from neuroalign.metrics import CKA, NoiseNormalizedCorrelation, VoxelCorrelation
from neuroalign.models import GuidedNetwork
from neuroalign.models.precision import as_dtype_of
from neuroalign.tasks.base import OptimizerFactory, SchedulerFactory, Task, checked_rate
from neuroalign.tasks.batches import batch_of, check_soft_labels, images_of, whole_labels
from neuroalign.tasks.epoch_log import as_collection
from neuroalign.tasks.robust_training import RobustTraining
from neuroalign.tasks.state_dicts import renamed
from neuroalign.types import Batch

__all__ = ["GuidedClassificationTask"]


class GuidedClassificationTask(Task):
    r"""Classify images while matching a brain: :math:`L = (1-\alpha)\,\mathrm{CE} + \alpha \sum \text{guidance terms}`.

    Logs ``train/loss``, ``train/task_loss``, ``train/accuracy``, ``alignment/<layer>/<region>/<measure>`` for every guidance
    term (with :class:`WeightedGuidance` also its ``alignment_weight/...``), ``train/robust_penalty`` if the robust training
    has a penalty, and ``val/task_loss``, ``val/accuracy`` (``test/...``). Guidance acts in training only. If it has targets
    for validation or test images, the match of the heads is logged as ``val/alignment/<layer>/<region>/correlation`` (median
    over voxels of the correlation over images; ``.../normalized_correlation`` if the responses were measured and their noise
    ceiling is known, ``.../cka`` for a head of another width than its target), whatever the guidance's weight is.

    In a batch in which too many responses are missing, a guidance term has nothing to compare: it is 0 in the loss and NaN in
    the log. Also logged are ``alignment/.../mean``, its mean over the epoch's other batches, and ``alignment/.../empty``, the
    share of such batches; a warning is given once if the share is above one half. For :class:`ShuffledGuidance`,
    ``alignment/<layer>/<region>/dropped`` is the share of images for which no other image's target was available.

    Batches are dicts or pairs ``(images, labels)``. Labels may be soft, probabilities (stimulus, class), as torchvision's
    ``MixUp`` and ``CutMix`` make them: the loss uses them as they are, and accuracy uses the class of the largest
    probability. If there are several validation or test loaders, each has its own values under Lightning's names,
    ``val/accuracy/dataloader_idx_0``. To change a part, override one small method: ``task_loss``, ``configure_metrics``,
    ``configure_optimizers``.

    Args:
        network: A :class:`GuidedNetwork` (or any module called as ``network(images, with_responses=True)``, or with a method
            ``forward_with_responses``, and with ``num_classes``), or its description.
        guidance: Called as ``guidance(responses, batch)``, returns loss terms by name; None trains without guidance.
        weight: alpha, in [0, 1]: the share of guidance in the loss. Without guidance the loss is the task's loss.
        task_weight: Weight of the task's loss (with a penalty of robust training), at least 0; None means 1 - alpha with
            guidance and 1 without. The control for step size is an unguided network with ``task_weight=1 - alpha``: it
            takes the steps along cross-entropy that a guided network takes. ``task_loss`` is logged without this weight.
        head_reduction: ``"sum"`` (default, the formula above) adds up the terms of all heads, so that more heads give
            guidance more weight; ``"mean"`` divides by the number of guided heads, which keeps the meaning of alpha. With one
            head both are the same.
        robust_training: A method of robust training, combined with any guidance: :class:`AdversarialTraining`,
            :class:`TRADES`, :class:`GaussianNoiseTraining`, :class:`GradientRegularization` or your own ``RobustTraining``;
            its description; or None. The target of guidance stays that of the clean image, and a penalty belongs to the
            task's share of the loss. Training loss and accuracy are computed on the images that the method returns.
        lr: Learning rate of the default optimiser, SGD with momentum.
        momentum: Momentum of the default optimiser.
        weight_decay: Weight decay of the default optimiser.
        step_size: The default schedule divides the learning rate by ten every this many epochs.
        optimizer: ``parameters -> optimizer``; None means the default.
        scheduler: ``optimizer -> scheduler``; None means the default. In a configuration, any scheduler of torch by name,
            such as ``torch.optim.lr_scheduler.StepLR``.
        scheduler_interval: When the scheduler steps, every "epoch" or every "step".
        scheduler_monitor: Name of the logged value that a ``ReduceLROnPlateau`` monitors.

    Raises:
        ValueError: If a weight is out of its range; if the network has no head that the guidance needs, or one of another
            width than its target; if loaded from a checkpoint that doesn't describe its network and no
            network is passed; on a first batch with images outside [0, 1]; or on a batch with labels out of range (on a GPU:
            the first batch).
        TypeError: If several training loaders give one batch each.

    Example:
        >>> heads = {"V4": (None, 30)}
        >>> network = GuidedNetwork("small_resnet", 10, heads, image_shape=(3, 8, 8))
        >>> task = GuidedClassificationTask(network, weight=0.9)
        >>> task(torch.rand(2, 3, 8, 8)).shape  # logits
        torch.Size([2, 10])

    Source:
        Shao et al. 2024, arXiv 2405.02564 (alpha 0.9; SGD 0.1, momentum 0.9, weight decay 1e-4, a tenth every 20 of 60
        epochs, batches of 256).
    """

    predicts = "logits"
    _holds = "network"

    def __init__(
        self,
        network: GuidedNetwork | nn.Module | dict[str, Any] | None = None,
        guidance: nn.Module | dict[str, Any] | None = None,
        weight: float = 0.9,
        *,
        task_weight: float | None = None,
        head_reduction: Literal["sum", "mean"] = "sum",
        robust_training: RobustTraining | dict[str, Any] | None = None,
        lr: float = 0.1,
        momentum: float = 0.9,
        weight_decay: float = 1e-4,
        step_size: int = 20,
        optimizer: OptimizerFactory | None = None,
        scheduler: SchedulerFactory | None = None,
        scheduler_interval: str = "epoch",
        scheduler_monitor: str = "val/task_loss",
    ) -> None:
        super().__init__()
        if network is None:
            raise ValueError(
                "give a network. (A checkpoint of one that was not built from plain values can't rebuild it: "
                "load_from_checkpoint(path, network=...).)"
            )
        if isinstance(weight, str) or not 0 <= weight <= 1:
            raise ValueError(f"weight is the share of guidance in the loss, in [0, 1]; got {weight}")
        if task_weight is not None and not 0 <= task_weight < float("inf"):
            raise ValueError(
                f"task_weight is the weight of the task's loss, a finite number of at least 0; got {task_weight}"
            )
        self.network: nn.Module = build(network, nn.Module)
        self._takes_responses = "with_responses" in inspect.signature(self.network.forward).parameters
        if not hasattr(self.network, "num_classes"):
            raise TypeError(
                f"{type(self.network).__name__} has no `num_classes`: wrap it, GuidedNetwork(backbone, num_classes, heads), "
                "or GuidedNetwork(classifier, None, heads) where it gives logits already"
            )
        self.guidance: nn.Module | None = None if guidance is None else build(guidance, nn.Module)
        for module in [] if self.guidance is None else self.guidance.modules():
            if isinstance(module, PredictedGuidance):
                module.checks_images = False  # check_batch checks them, and allows for augmentation
        if not isinstance(robust_training, (RobustTraining, Mapping, type(None))):
            raise TypeError(
                f"robust_training must be a RobustTraining object, such as AdversarialTraining(8 / 255); got "
                f"{robust_training!r}"
            )
        self.robust_training: RobustTraining | None = (
            None if robust_training is None else build(robust_training, RobustTraining)
        )
        if isinstance(self.network, GuidedNetwork) and weight > 0:
            check_network_heads(self.guidance, dict(self.network.heads.items()))
        check_choice("head_reduction", head_reduction, ("sum", "mean"))
        self.weight, self.head_reduction = float(weight), head_reduction
        self.task_weight = None if task_weight is None else float(task_weight)
        self.lr, self.momentum = checked_rate("lr", lr), checked_rate("momentum", momentum)
        self.weight_decay = checked_rate("weight_decay", weight_decay)
        rounded = round(checked_rate("step_size", step_size))
        if rounded != step_size or rounded < 1:
            raise ValueError(f"step_size is a whole number of epochs, at least 1; got {step_size}")
        self.step_size = rounded
        self.optimizer, self.scheduler = optimizer, scheduler
        check_choice("scheduler_interval", scheduler_interval, ("epoch", "step"))
        self.scheduler_interval, self.scheduler_monitor = scheduler_interval, scheduler_monitor
        self.remember(
            modules={"network": self.network, "guidance": self.guidance, "robust_training": self.robust_training},
            values={
                "weight": self.weight,
                "task_weight": self.task_weight,
                "head_reduction": head_reduction,
                "lr": self.lr,
                "momentum": self.momentum,
                "weight_decay": self.weight_decay,
                "step_size": self.step_size,
            },
        )
        self.train_metrics = as_collection(self.configure_metrics()).clone(prefix="train/")
        self.val_metrics = as_collection(self.configure_metrics()).clone(prefix="val/")
        self.test_metrics = as_collection(self.configure_metrics()).clone(prefix="test/")
        self._terms: dict[str, str] = {}  # by their name in the log
        self.alignment_metrics = nn.ModuleDict()  # by stage, head and kind, made at the first targets

    def configure_metrics(self) -> MetricCollection | Metric:
        """The metrics of (logits, labels), logged for every stage: a collection or a single metric."""
        return MetricCollection({"accuracy": MulticlassAccuracy(_num_classes(self.network), average="micro")})

    def check_batch(self, batch: Batch, batch_idx: int) -> None:
        """Raise an error if the first batch has images outside [0, 1], or labels are out of range.

        Labels on the CPU are checked in every batch, those on a GPU in the first: the host would wait for the others.
        """
        super().check_batch(batch, batch_idx)
        if "label" not in batch:
            raise ValueError(
                f"a classifier's batch needs 'label'; this one has {sorted(batch)}: use a GuidanceDataModule"
            )
        looks = batch_idx == 0 or readable(batch["label"])  # a folder's last class comes in its last batch
        if looks and not check_soft_labels(batch["label"], len(batch["image"]), _num_classes(self.network)):
            check_labels(batch["label"], _num_classes(self.network))

    def read(self, batch: Any) -> Batch:
        """The batch as a dict, with images in the precision of the network and whole labels as int64."""
        batch = batch_of(batch, "label")
        known = {"image": as_dtype_of(batch["image"], self.network)}
        if isinstance(labels := batch.get("label"), Tensor) and not labels.is_floating_point():
            known["label"] = labels.long()
        return {**batch, **known}  # type: ignore[typeddict-item]

    def task_loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The loss of the task without guidance, a scalar."""
        return nn.functional.cross_entropy(logits, labels)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (stimulus, class)."""
        return self.network(images)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """One step."""
        batch = self.read(batch)
        self.check_batch(batch, batch_idx)
        with self.repeatable(batch["image"]):
            return self._step(batch)

    def _step(self, batch: Batch) -> Tensor:
        images, labels = batch["image"], batch["label"]
        robust = self.robust_training
        inputs = images if robust is None else robust.inputs(self.network, images, labels)
        logits, responses = self._forward_with_responses(inputs)
        task_loss = self.task_loss(logits, labels)
        logged: dict[str, Tensor] = {}
        if robust is not None:
            penalty = robust.penalty(self.network, images, labels, logits)
            task_loss = task_loss + penalty
            if type(robust).penalty is not RobustTraining.penalty:
                logged["train/robust_penalty"] = penalty.detach()
        if self.guidance is None or self.weight == 0:
            loss = (task_loss if self.task_weight is None else self.task_weight * task_loss) + nothing(responses)
        else:
            terms = self.guidance(responses, batch)
            guided = sum(terms.values()) / self._num_heads(terms)
            weighted_task = getattr(self.guidance, "weighted_task", None)
            weighted = task_loss if weighted_task is None else weighted_task(task_loss)
            share = 1 - self.weight if self.task_weight is None else self.task_weight
            loss = share * weighted + self.weight * guided + nothing(responses)
            logged |= self._term_values(terms, len(images))
        logged |= {"train/loss": loss.detach(), "train/task_loss": task_loss.detach()}
        self.log_dict(logged, batch_size=len(images))
        self.train_metrics.update(logits.detach(), whole_labels(labels))
        self.log_metrics(self.train_metrics, len(images), "train")
        return loss

    def _term_values(self, terms: Mapping[str, Tensor], size: int) -> dict[str, Tensor]:
        """What a training batch logs of the guidance terms per step; their means over the epoch are logged here."""
        values: dict[str, Tensor] = {}
        valid = valid_terms(self.guidance)
        for term, value in terms.items():
            name = f"alignment/{self.term_path(term)}"
            self._terms[name] = term
            values[name] = self.term_value(name, value, valid.get(term), size)
        for guidance in target_guidances(self.guidance):
            dropped = getattr(guidance, "last_dropped", None)
            if dropped is None:
                continue
            for head in dict.fromkeys(t.rpartition("/")[0] for t in guidance.last_valid):
                share = dropped.to(self.device, non_blocking=True)
                self.log_mean(f"alignment/{self.term_path(f'{head}/dropped')}", share, size)
        for name, factor in getattr(self.guidance, "last_weights", {}).items():
            values[f"alignment_weight/{self.term_path(name)}"] = torch.as_tensor(factor)
        if self.guidance is not None and getattr(self.guidance, "weigh_task", False):
            values["alignment_weight/task"] = torch.as_tensor(self.guidance.last_task_weight)
        return values

    def stimuli_needed(self, name: str) -> int:
        """Number of stimuli with a target that the guidance term logged as ``name`` needs in a batch."""
        return getattr(loss_of_term(self.guidance, self._terms.get(name, "")), "min_valid", 1)

    def _num_heads(self, terms: Mapping[str, Tensor]) -> int:
        """The number by which the sum of the terms is divided."""
        if self.head_reduction == "sum":
            return 1
        return max(1, len({name.rpartition("/")[0] for name in terms}))

    def term_path(self, term: str) -> str:
        """``<layer>/<region>/<measure>`` of a guidance term ``<head>/<measure>``, if the network knows the head's layer.

        The layer of a head on the final features is called "features". A head whose name begins with its layer, such as
        "layer3/V4", keeps its name.
        """
        head = term.rpartition("/")[0]
        layers = getattr(self.network, "head_layers", {})
        if head not in layers:
            return term
        layer = layers[head] or "features"
        return term if head.startswith(f"{layer}/") else f"{layer}/{term}"

    def _forward_with_responses(self, images: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        if self._takes_responses:  # by calling the module, so that parallel wrappers and hooks run
            return self.network(images, with_responses=True)
        forward = getattr(self.network, "forward_with_responses", None)
        if forward is not None:
            return forward(images)
        if self.guidance is not None and self.weight > 0:
            raise TypeError(
                f"{type(self.network).__name__} has no forward_with_responses, which guidance needs: wrap the backbone in "
                "a GuidedNetwork"
            )
        return self.network(images), {}

    def evaluate(self, batch: Batch, stage: str, metrics: MetricCollection) -> None:
        """Log the task's loss and the heads' alignment, and update the metrics."""
        images, size = batch["image"], len(batch["image"])
        guidances = target_guidances(self.guidance)
        targets = [(guidance, guidance.held_out_targets(batch)) for guidance in guidances]
        if any(found for _, found in targets):
            logits, responses = self._forward_with_responses(images)
            if type(self).forward is not GuidedClassificationTask.forward:
                logits = self(images)  # a subclass may compute logits differently
            for guidance, found in targets:
                for head, target in found.items():
                    self._align(guidance, head, responses[head], target, stage)
        else:
            logits = self(images)
        loss = self.task_loss(logits, batch["label"])
        self.log(f"{stage}/task_loss", loss, batch_size=size, sync_dist=True)
        metrics.update(logits, whole_labels(batch["label"]))
        self.log_metrics(metrics, size, stage)

    def _align(self, guidance: TargetGuidance, head: str, preds: Tensor, target: Tensor, stage: str) -> None:
        """Update and log the alignment metrics of one head."""
        ceiling = guidance.ceiling_of(head)
        makers: dict[str, Callable[[], Metric]] = {"correlation": VoxelCorrelation}
        if preds.shape[1] != target.shape[1]:
            makers = {"cka": CKA}
        elif ceiling is not None:
            makers["normalized_correlation"] = partial(NoiseNormalizedCorrelation, ceiling, reduction="median")
        for kind, make in makers.items():
            key = f"{stage}-{head}-{kind}" + (f"-{self._loader_idx}" if self._loader_idx else "")
            if key not in self.alignment_metrics:
                self.alignment_metrics[key] = make().to(self.device)
            metric = cast(Metric, self.alignment_metrics[key])
            metric.update(preds.float(), self.counted_once(target.float()))
            name = f"{stage}/alignment/{self.term_path(f'{head}/{kind}')}"
            self.log_metric(name, metric, f"alignment_metrics.{key}", len(preds))

    def predict_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Tensor:
        """Logits (stimulus, class), for batches with labels or images alone."""
        return self(as_dtype_of(images_of(batch), self.network))

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Drop the weights of guidance from the file if this task has no guidance (not described, and not passed)."""
        super().on_load_checkpoint(checkpoint)
        if self.guidance is None and "state_dict" in checkpoint:
            left_out = ("guidance.", "guidance")
            checkpoint["state_dict"] = renamed(
                checkpoint["state_dict"],
                lambda key: None if key == left_out[1] or key.startswith(left_out[0]) else key,
            )

    def default_optimizer(self, parameters: list[nn.Parameter]) -> Optimizer:
        """The paper's optimiser: SGD with momentum."""
        return torch.optim.SGD(parameters, lr=self.lr, momentum=self.momentum, weight_decay=self.weight_decay)

    def default_scheduler(self, optimizer: Optimizer) -> Any:
        """The paper's schedule: a tenth of the learning rate every ``step_size`` epochs."""
        return torch.optim.lr_scheduler.StepLR(optimizer, self.step_size, gamma=0.1)


def _num_classes(network: nn.Module) -> int:
    return cast(int, network.num_classes)
