"""Training runs of a study: train a predictor or a classifier from a recipe and a seed."""

from __future__ import annotations

import copy
import itertools
import math
import warnings
from collections.abc import Callable, Sized
from dataclasses import dataclass
from typing import Any, cast

import lightning as L
import torch
from torch import Tensor, nn

from neuroalign.data import BatchDataModule
from neuroalign.functional import pearson
from neuroalign.guidance import WeightedGuidance, match_gradient_scale
from neuroalign.study.fitting import quiet
from neuroalign.tasks import GuidedClassificationTask, NeuralPredictionTask, RobustTraining
from neuroalign.tasks.base import one_cycle
from neuroalign.types import Batch

__all__ = ["Recipe", "correlation_on", "matched_control", "train_classifier", "train_predictor"]

EpochHook = Callable[[], None]


@dataclass(frozen=True)
class Recipe:
    """Settings of a training: one-cycle schedule over a fixed number of epochs.

    Args:
        epochs: Passes through the training images.
        max_lr: Peak of the learning rate.
        weight_decay: Weight decay of the optimiser.
        momentum: Momentum of SGD, for classifiers.
    """

    epochs: int
    max_lr: float
    weight_decay: float
    momentum: float = 0.9


class _EpochHook(L.Callback):
    def __init__(self, hook: EpochHook) -> None:
        self.hook = hook

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.hook()


def _fit(
    task: L.LightningModule, data: BatchDataModule, epochs: int, on_epoch: EpochHook | None, **trainer: Any
) -> None:
    options: dict[str, Any] = {
        "accelerator": "cpu",
        "devices": 1,
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "limit_val_batches": 0,
        "num_sanity_val_steps": 0,
        **trainer,
    }
    callbacks = [*options.pop("callbacks", []), *([_EpochHook(on_epoch)] if on_epoch else [])]
    with quiet():
        L.Trainer(max_epochs=epochs, callbacks=callbacks, **options).fit(task, datamodule=data)


def _steps(data: BatchDataModule, epochs: int) -> int:
    data.setup("fit")
    return epochs * math.ceil(len(cast(Sized, data.datasets["train"])) / data.batch_size)


def train_predictor(
    make: Callable[[], nn.Module],
    data: BatchDataModule,
    recipe: Recipe,
    seed: int,
    *,
    on_epoch: EpochHook | None = None,
    **trainer: Any,
) -> nn.Module:
    """Train a predictor of responses.

    Args:
        make: Makes the predictor; called under the seed.
        data: Images and responses.
        recipe: Settings of the training, with Adam.
        seed: Seed of the initial weights.
        on_epoch: Called after each epoch.
        **trainer: Further arguments of the Trainer, such as ``accelerator`` or ``strategy``.

    Returns:
        The predictor, in eval mode.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        task = NeuralPredictionTask(
            make().to(memory_format=torch.channels_last),  # convolutions on a CPU take two thirds of the time
            optimizer=lambda p: torch.optim.Adam(p, lr=recipe.max_lr, weight_decay=recipe.weight_decay),
            scheduler=one_cycle(_steps(data, recipe.epochs), recipe.max_lr),
            scheduler_interval="step",
        )
        _fit(task, data, recipe.epochs, on_epoch, **trainer)
    return task.predictor.eval()


def train_classifier(
    make: Callable[[], nn.Module],
    data: BatchDataModule,
    recipe: Recipe,
    seed: int,
    *,
    guidance: nn.Module | None = None,
    weight: float = 0.9,
    matched_to: nn.Module | None = None,
    robust_training: RobustTraining | None = None,
    on_epoch: EpochHook | None = None,
    **trainer: Any,
) -> nn.Module:
    """Train a classifier, guided or not.

    Args:
        make: Makes the network; called under the seed, so that all conditions of a replication start alike.
        data: Images and labels.
        recipe: Settings of the training, with SGD and momentum.
        seed: Seed of the initial weights.
        guidance: Guidance of the network; None trains without guidance.
        weight: Share of guidance in the loss.
        matched_to: For a control, the guidance that it is compared with: :func:`matched_control` scales the control's
            gradient on the initial network to that guidance's.
        robust_training: Robust-training method, such as :class:`AdversarialTraining`; None trains on plain images.
        on_epoch: Called after each epoch.
        **trainer: Further arguments of the Trainer, such as ``accelerator`` or ``strategy``.

    Returns:
        The network, in eval mode.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = make().to(memory_format=torch.channels_last)
        if matched_to is not None and guidance is not None:
            guidance = matched_control(guidance, matched_to, make, data, seed)
        task = GuidedClassificationTask(
            network,
            guidance,
            weight,
            robust_training=robust_training,
            optimizer=lambda p: torch.optim.SGD(
                p, lr=recipe.max_lr, momentum=recipe.momentum, weight_decay=recipe.weight_decay
            ),
            scheduler=one_cycle(_steps(data, recipe.epochs), recipe.max_lr),
            scheduler_interval="step",
        )
        _fit(task, data, recipe.epochs, on_epoch, **trainer)
    return network.eval()


def matched_control(
    control: nn.Module, treatment: nn.Module, make: Callable[[], nn.Module], data: BatchDataModule, seed: int
) -> WeightedGuidance:
    """A control whose gradient has the treatment's scale on the network before training.

    See :func:`neuroalign.guidance.match_gradient_scale`; the batches are the first eight of training, without augmentation.

    Args:
        control: The guidance to scale.
        treatment: The guidance that the control is compared with.
        make: Makes the network; called under the seed.
        data: Images and labels.
        seed: Seed of the initial weights.

    Returns:
        The control with the factor as ``weights["*"]``.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return match_gradient_scale(control, treatment, make(), _first_batches(data))


def _first_batches(data: BatchDataModule, num: int = 8) -> list[Batch]:
    """The first training batches without augmentation."""
    data.setup("fit")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*augment acts where a Lightning Trainer trains.*")
        return list(itertools.islice(data.train_dataloader(), num))


@torch.no_grad()
def correlation_on(predictor: nn.Module, images: Tensor, responses: Tensor) -> Tensor:
    """Pearson r (voxel,) of predicted responses to images (stimulus, channel, height, width) with ``responses``."""
    predictor = copy.deepcopy(predictor).eval()
    return pearson(torch.cat([predictor(batch) for batch in images.split(256)]), responses)
