"""Training of a study's classifier: the network, its images, its guidance, and what is written about it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn
from torchmetrics import MetricCollection
from torchmetrics.classification import MulticlassAccuracy

from neuroalign.config import build
from neuroalign.evaluation import weights_hash
from neuroalign.files import write_csv
from neuroalign.guidance import WeightedGuidance
from neuroalign.models import GuidedNetwork, ResponseHead
from neuroalign.models.network_files import save_module
from neuroalign.study.fitting import fit_task, loading, seeded
from neuroalign.study.settings.conditions import KINDS
from neuroalign.study.stages.equal_smoothness import train_as_smooth
from neuroalign.study.stages.guidance import HEAD, Making, make_guidance, make_treatment
from neuroalign.study.stages.image_parts import ImageSets
from neuroalign.study.stages.measuring import device_of, images_of
from neuroalign.study.stages.region_stimuli import (
    NO_LABEL,
    RegionStimuli,
    TrainingData,
    TrainingImages,
    least_own,
    read_region_stimuli,
)
from neuroalign.study.stages.result_files import write_json
from neuroalign.study.stages.trained import FILE
from neuroalign.study.training import matched_control
from neuroalign.study.work import Work
from neuroalign.tasks import AdversarialTraining, GradientRegularization, GuidedClassificationTask
from neuroalign.types import Batch

__all__: list[str] = []


def train_network(work: Work) -> None:
    """Train the network of a condition and write it, with its log and what is known about it.

    Raises:
        ValueError: If the settings and the results that are needed don't fit, or the loss is not finite.
    """
    began = time.monotonic()
    run = ClassifierRun(work)
    try:
        if run.kind == "smoothness matched":
            network, log, facts = train_as_smooth(work, run.fit_unguided)
        else:
            network, log = run.fit(run.guidance)
            facts = {"factor": run.factor}
    except ValueError as error:
        if str(error).startswith(work.name):
            raise
        raise ValueError(f"{work.name}: {error}") from error
    save_module(network, work.out / FILE)
    write_csv(log, work.out / "log.csv")
    known = {
        "num_voxels": run.making.num_voxels,
        "epochs": int(run.training["epochs"]),
        "steps": int(log["step"].iloc[-1]),
        "weights_crc": weights_hash(network),
        "seconds": round(time.monotonic() - began, 1),
        **facts,
    }
    write_json(work.out / "network.json", known)


@dataclass
class ClassifierRun:
    """One training of a study's classifier.

    Args:
        work: The stage.
    """

    work: Work

    @property
    def condition(self) -> Mapping[str, Any]:
        """Settings of the condition."""
        return self.work.settings["condition"]

    @property
    def kind(self) -> str:
        """Kind of the condition."""
        return self.condition["kind"]

    @property
    def training(self) -> Mapping[str, Any]:
        """Settings of the training."""
        return self.work.settings["training"]

    @property
    def seed(self) -> int:
        """Seed of the replication."""
        return int(self.work.settings["seed"])

    @cached_property
    def images(self) -> ImageSets:
        """The images."""
        return images_of(self.work)

    @cached_property
    def own_stimuli(self) -> RegionStimuli | None:
        """The region's own stimuli, for kinds of guidance that need no predictor of the region."""
        if KINDS[self.kind].needs not in ("responses", "rdm"):
            return None
        return read_region_stimuli(self.work.inputs, self.images.image_shape)

    @cached_property
    def making(self) -> Making:
        """What the guidance is made from."""
        subject, region = self.work.settings.get("subject"), self.work.settings["region"]
        return Making(
            self.kind,
            self.work.inputs,
            TrainingImages(self.images.dataset("train"), self.own_stimuli),
            self.images.num_classes,
            self.seed,
            draw=f"{subject} {region}",
            loss=self.condition["loss"],
            options=self.condition["options"],
            device=device_of(self.work),
        )

    @cached_property
    def guidance(self) -> nn.Module | None:
        """The guidance; that of a control at the gradient scale of its treatment."""
        made, matched_to = make_guidance(self.making), self.condition["matched_to"]
        if made is None or matched_to is None:
            return made
        treatment, device = make_treatment(self.making, matched_to), self.making.device
        return matched_control(
            made.to(device), treatment.to(device), lambda: self.network().to(device), self.data(devices=1), self.seed
        )

    @property
    def factor(self) -> float | None:
        """The number that a control's guidance is multiplied by to have its treatment's gradient scale."""
        made = self.guidance
        return float(made.weights["*"]) if isinstance(made, WeightedGuidance) else None  # type: ignore[arg-type]

    def network(self) -> GuidedNetwork:
        """The network before training: the same trunk and classifier for all conditions of a seed, whatever their head."""
        given, region = self.work.settings["network"], self.work.settings["region"]
        heads = self._heads(given, region)  # before the seed counts: reading a predictor draws random numbers, too
        with seeded(self.seed):
            made = GuidedNetwork(
                given["backbone"],
                self.images.num_classes,
                heads,
                image_shape=self.images.image_shape,
                weights=given["weights"],
            )
        return made.to(memory_format=torch.channels_last) if self.training["channels_last"] else made

    def _heads(self, given: Mapping[str, Any], region: str | None) -> dict[str, ResponseHead]:
        layer = given["layer"].get(region) if isinstance(given["layer"], Mapping) else given["layer"]
        if self.own_stimuli is not None and self.own_stimuli.rdm is not None:
            # Dissimilarities don't say how many voxels there are: those of the layer itself are compared.
            return {HEAD: ResponseHead(layer, None, "identity")}
        width = self.making.num_voxels
        return {} if width is None else {HEAD: ResponseHead(layer, width, size=given["size"] or 1)}

    def data(self, devices: int | None = None) -> TrainingData:
        """The batches of training, in the order of the seed: each device's share of them; None means the stage's devices."""
        work = self.work if devices is None else replace(self.work, options={**self.work.options, "devices": devices})
        own, options = self.own_stimuli, loading(self.training, work, self.seed)
        return TrainingData(
            self.making.images,
            None if self.images.val is None else self.images.dataset("val"),
            min_own=None if own is None else least_own(own, options["batch_size"]),
            **options,
        )

    def fit(
        self, guidance: nn.Module | None, *, scratch: Path | None = None, **changes: Any
    ) -> tuple[GuidedNetwork, pd.DataFrame]:
        """Train from the start, or go on from where a killed training was.

        Args:
            guidance: The guidance; None trains without.
            scratch: Folder of the checkpoints; None means the stage's own.
            **changes: Settings of the training that are other than the condition's.

        Returns:
            The network in eval mode on the CPU, and the log, a row per epoch.
        """
        work = self.work if scratch is None else replace(self.work, scratch=scratch)
        network = self.network()
        with seeded(
            self.seed
        ):  # after the network is made, since that takes as many random numbers as its head is wide
            log = fit_task(self._task(network, guidance), self.data(), {**self.training, **changes}, work)
        return network.cpu().eval(), log

    def fit_unguided(self, weight_decay: float, scratch: Path) -> tuple[GuidedNetwork, pd.DataFrame]:
        """:meth:`fit` without guidance, at another weight decay and with checkpoints in another folder."""
        return self.fit(None, scratch=scratch, weight_decay=weight_decay)

    def _task(self, network: GuidedNetwork, guidance: nn.Module | None) -> GuidedClassificationTask:
        robust = build(self.condition["robust_training"])
        weight = float(self.condition["weight"])
        options: dict[str, Any] = {"robust_training": robust}
        if self.kind == "cross-entropy weight":
            options["task_weight"] = 1 - weight
        if self.own_stimuli is not None:
            if isinstance(robust, (AdversarialTraining, GradientRegularization)):
                raise ValueError(
                    f"{type(robust).__name__} needs the label of every image, and the region's own stimuli, which "
                    f"{self.kind!r} mixes in, have none: use TRADES or Gaussian noise beside it"
                )
            return PartlyLabelledTask(network, guidance, weight, **options)
        return GuidedClassificationTask(network, guidance, weight, **options)


class PartlyLabelledTask(GuidedClassificationTask):
    """Guided classification of which some training images have no label (:data:`NO_LABEL`): these are only guided."""

    def configure_metrics(self) -> MetricCollection:
        """Accuracy over the images that have a label."""
        num_classes = int(self.network.num_classes)  # type: ignore[arg-type]
        return MetricCollection({"accuracy": MulticlassAccuracy(num_classes, average="micro", ignore_index=NO_LABEL)})

    def check_batch(self, batch: Batch, batch_idx: int) -> None:
        """Refuse images outside [0, 1] and labels that are neither a class nor missing."""
        labels = torch.where(batch["label"] == NO_LABEL, 0, batch["label"])
        super().check_batch({**batch, "label": labels}, batch_idx)

    def task_loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Cross-entropy over the images that have a label; 0 if there is none."""
        total = nn.functional.cross_entropy(logits, labels, ignore_index=NO_LABEL, reduction="sum")
        return total / (labels != NO_LABEL).sum().clamp_min(1)
