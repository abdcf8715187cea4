"""How a network of a study is trained: epochs, optimiser, schedule, machine."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from neuroalign.study.settings.base import Description, Settings

__all__ = ["PredictorTraining", "StageResources", "TeacherTraining", "Training"]


class Training(Settings):
    """Settings of one training.

    Args:
        epochs: Passes through the training images.
        batch_size: Images per batch, of all processes together.
        optimizer: ``"sgd"``, ``"adam"`` or ``"adamw"``.
        lr: Largest learning rate.
        momentum: Momentum of SGD.
        weight_decay: Weight decay of the optimiser.
        schedule: ``"one_cycle"`` (up, then down to 0, by the step), ``"step"`` (times 0.1 every ``step_size`` epochs),
            ``"cosine"`` (down to 0, by the step) or ``"constant"``.
        step_size: Epochs between steps of the ``"step"`` schedule.
        augment: Augmentation of training images; None means none.
        channels_last: Whether convolutions see channels last: on a CPU they take two thirds of the time.
        precision: Precision by Lightning's name.
        accelerator: ``"auto"``, ``"cpu"``, ``"gpu"``, ... of Lightning.
        devices: Number of devices of one training.
        strategy: Strategy of Lightning for several devices.
        num_workers: Number of processes that load images.
        logger: ``"csv"``, ``"tensorboard"`` or ``"wandb"``.
    """

    epochs: int = Field(40, ge=1)
    batch_size: int = Field(128, ge=1)
    optimizer: Literal["sgd", "adam", "adamw"] = "sgd"
    lr: float = Field(0.1, gt=0, allow_inf_nan=False)
    momentum: float = Field(0.9, ge=0, lt=1)
    weight_decay: float = Field(1e-4, ge=0, allow_inf_nan=False)
    schedule: Literal["one_cycle", "step", "cosine", "constant"] = "one_cycle"
    step_size: int = Field(20, ge=1)
    augment: Description | None = None
    channels_last: bool = True
    precision: str = "32-true"
    accelerator: str = "auto"
    devices: int = Field(1, ge=1)
    strategy: str = "auto"
    num_workers: int = Field(0, ge=0)
    logger: Literal["csv", "tensorboard", "wandb"] = "csv"


class PredictorTraining(Training):
    """Settings of a predictor's training: those of :class:`Training` with the paper's values where nothing is said.

    Source:
        Shao et al. 2024, arXiv 2405.02564: Adam, learning rate 1e-3, weight decay 5e-4, batches of 200, 40 epochs.
    """

    batch_size: int = Field(200, ge=1)
    optimizer: Literal["sgd", "adam", "adamw"] = "adam"
    lr: float = Field(1e-3, gt=0, allow_inf_nan=False)
    weight_decay: float = Field(5e-4, ge=0, allow_inf_nan=False)


class TeacherTraining(Training):
    """Settings of the training of a simulated subject's object level."""

    epochs: int = Field(60, ge=1)
    batch_size: int = Field(64, ge=1)


class StageResources(Settings):
    """What one stage takes of a machine; it never changes a result.

    Args:
        cpus: Number of cores.
        gpus: Number of GPUs, a fraction to share one; None means what the training asks for.
        memory_gb: Largest memory in GiB; None means unknown.
        minutes: Longest time in minutes; None means the cluster's own limit.
    """

    cpus: int = Field(1, ge=1)
    gpus: float | None = Field(None, ge=0)
    memory_gb: float | None = Field(None, gt=0)
    minutes: int | None = Field(None, ge=1)
