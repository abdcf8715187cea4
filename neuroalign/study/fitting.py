"""Train a task as a study's settings say: optimiser, schedule, machine, logger, and going on after an interruption."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightning as L
import torch
from lightning.pytorch.plugins.environments import LightningEnvironment
from torch import Tensor, nn
from torch.optim import Optimizer

from neuroalign.checksums import DamagedFileError
from neuroalign.data.images import to_pixels
from neuroalign.study.augmentations import augmentation
from neuroalign.study.fit_callbacks import EpochTable, FiniteLoss, LastCheckpoint, Report
from neuroalign.study.settings.training import Training
from neuroalign.tasks.base import one_cycle
from neuroalign.tensor_files import check_checkpoint

if TYPE_CHECKING:
    import pandas as pd

    from neuroalign.data import BatchDataModule
    from neuroalign.study.work import Work
    from neuroalign.tasks.base import Task

__all__: list[str] = []

_CHECKPOINT_SECONDS = 5.0


@contextmanager
def quiet() -> Iterator[None]:
    """Hide Lightning's banners and its advice for long trainings: a study starts many short ones."""
    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*does not have many workers.*")
            warnings.filterwarnings("ignore", ".*LeafSpec.*")
            warnings.filterwarnings("ignore", ".*number of training batches.*")
            warnings.filterwarnings("ignore", ".*in eval mode at the start of training.*")  # the frozen predictor
            yield
    finally:
        logger.setLevel(level)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """A context in which torch draws from a seed; what was drawn before it goes on afterwards.

    Example:
        >>> with seeded(0):
        ...     first = torch.rand(2)
        >>> with seeded(0):
        ...     bool((torch.rand(2) == first).all())
        True
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def settings_of(training: Training | Mapping[str, Any]) -> Training:
    """A training's settings, also from the plain values of a stage, which lack those of the machine."""
    return training if isinstance(training, Training) else Training(**training)


def loading(training: Training | Mapping[str, Any], work: Work, seed: int) -> dict[str, Any]:
    """Arguments of a DataModule for a training: its share of the batch, loader processes, augmentation and seed.

    Args:
        training: Settings of the training.
        work: The stage's work, with ``devices`` and ``num_workers`` among its options.
        seed: Seed of the order and of the augmentation.
    """
    training = settings_of(training)
    return {
        "batch_size": max(1, training.batch_size // int(work.options.get("devices", 1))),
        "num_workers": int(work.options.get("num_workers", 0)),
        "augment": augmentation(training.augment),
        "seed": seed,
    }


def fit_task(
    task: Task,
    data: BatchDataModule,
    training: Training | Mapping[str, Any],
    work: Work,
    *,
    validate: bool = True,
    callbacks: Sequence[L.Callback] = (),
    share: tuple[float, float] = (0.0, 1.0),
    name: str = "training",
    checkpoint_seconds: float = _CHECKPOINT_SECONDS,
) -> pd.DataFrame:
    """Train a task; an attempt that was killed goes on from its last checkpoint, and ends as if never interrupted.

    Call it inside :func:`seeded`, where the network was made too: the seed of the steps is drawn from torch's generator.

    Args:
        task: The task, whose optimiser and schedule are set to those of the training.
        data: Training batches, and validation batches where there are any; :func:`loading` has arguments for it.
        training: Settings of the training; values of the machine are taken from ``work.options``.
        work: The stage's work. Checkpoints go to ``work.scratch``; logs of TensorBoard or Weights & Biases to ``work.out``.
        validate: Whether to measure validation batches after each epoch, if there are any.
        callbacks: Further callbacks.
        share: The shares of the stage at which the training begins and ends, for ``work.report``.
        name: Name of the training's files in ``work.scratch``; a stage with several trainings gives each its own.
        checkpoint_seconds: Shortest time between two checkpoints.

    Returns:
        One row per epoch: ``epoch`` and ``step`` from 1, and what the task logged; values of single steps are averaged over
        the epoch.

    Raises:
        ValueError: If the loss is NaN or infinite; the message names the epoch and the step.
    """
    import pandas as pd

    training = settings_of(training)
    _set_optimizer(task, training)
    if training.channels_last:
        _channels_last(task)
    scratch = work.scratch / name
    scratch.mkdir(parents=True, exist_ok=True)
    table, checkpoint, rows = EpochTable(scratch / "epochs.json"), scratch / "last.ckpt", scratch / "epochs.json"
    data.setup("fit")
    beside = [
        table,
        FiniteLoss(work.name),
        Report(work.report, share),
        *callbacks,
        LastCheckpoint(checkpoint, checkpoint_seconds),
    ]
    with quiet():
        trainer = L.Trainer(
            max_epochs=training.epochs,
            precision=training.precision,  # type: ignore[arg-type]  # any of Lightning's names
            callbacks=beside,
            logger=_logger(work, scratch),
            plugins=[
                LightningEnvironment()
            ],  # SLURM's variables describe the job of the whole study, not this training
            limit_val_batches=None if validate and "val" in data.datasets else 0,
            num_sanity_val_steps=0,
            enable_checkpointing=True,
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=str(scratch),
            **_machine(work.options),
        )
        trainer.fit(task, datamodule=data, ckpt_path=_to_go_on_from(checkpoint))
    _keep_logs(scratch / "logs", work.out / "logs")
    return pd.DataFrame(json.loads(rows.read_text()))


def inference_device(work: Work) -> torch.device:
    """The device on which a trained network is called: a GPU if the stage trains on one, else the CPU."""
    on_gpu = work.options.get("accelerator", "cpu") in ("auto", "gpu", "cuda") and torch.cuda.is_available()
    return torch.device("cuda" if on_gpu else "cpu")


@torch.no_grad()
def predicted(predictor: nn.Module, batches: Iterable[Tensor], device: torch.device) -> Tensor:
    """Predicted responses (stimulus, voxel), on the CPU.

    Args:
        predictor: From images to responses; it comes back on the CPU.
        batches: Images (stimulus, channel, height, width), uint8, or float in [0, 1].
        device: Where the predictor is called.
    """
    predictor.to(device)
    try:
        return torch.cat([predictor(to_pixels(batch.to(device))).cpu() for batch in batches])
    finally:
        predictor.cpu()


def _to_go_on_from(checkpoint: Path) -> str | None:
    """The checkpoint of a killed attempt, unless a crash of the machine damaged it."""
    if not checkpoint.exists():
        return None
    try:
        check_checkpoint(checkpoint)
    except DamagedFileError:
        checkpoint.unlink()
        return None
    return str(checkpoint)


def _machine(options: Mapping[str, Any]) -> dict[str, Any]:
    devices, strategy = int(options.get("devices", 1)), options.get("strategy", "auto")
    if devices > 1 and strategy in ("auto", "ddp"):
        strategy = "ddp_fork"  # plain ddp would start the program of the whole study again, once per device
    return {"accelerator": options.get("accelerator", "auto"), "devices": devices, "strategy": strategy}


def _logger(work: Work, scratch: Path) -> Any:
    kind = work.options.get("logger", "csv")
    if kind == "csv":
        return False  # the table of epochs is written as CSV in any case
    folder = scratch / "logs"
    folder.mkdir(parents=True, exist_ok=True)
    try:
        if kind == "tensorboard":
            return L.pytorch.loggers.TensorBoardLogger(folder, name="", version="")
        # The same run goes on after an interruption.
        run = hashlib.sha256(str(scratch.resolve()).encode()).hexdigest()[:16]
        return L.pytorch.loggers.WandbLogger(name=work.name, save_dir=folder, id=run, resume="allow")
    except ModuleNotFoundError as error:
        raise ImportError(f"the logger {kind!r} needs its package: pip install {kind}") from error


def _keep_logs(written: Path, kept: Path) -> None:
    if written.exists():
        shutil.copytree(written, kept, dirs_exist_ok=True)


def _channels_last(task: nn.Module) -> None:
    """Convolutions of the trained network on channels last: on a CPU they take two thirds of the time."""
    for name in ("network", "predictor"):
        if isinstance(network := getattr(task, name, None), nn.Module):
            network.to(memory_format=torch.channels_last)


def _set_optimizer(task: Task, training: Training) -> None:
    """The optimiser and the schedule; not lambdas, which other processes couldn't be given."""
    task.optimizer = partial(_optimizer, training)
    task.scheduler = None if training.schedule == "constant" else partial(_scheduler, training, task)
    task.scheduler_interval = "epoch" if training.schedule == "step" else "step"


def _optimizer(training: Training, parameters: Iterable[nn.Parameter]) -> Optimizer:
    common: dict[str, Any] = {"lr": training.lr, "weight_decay": training.weight_decay}
    if training.optimizer == "sgd":
        return torch.optim.SGD(parameters, momentum=training.momentum, **common)
    makers: dict[str, Callable[..., Optimizer]] = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
    return makers[training.optimizer](parameters, **common)


def _scheduler(training: Training, task: Task, optimizer: Optimizer) -> Any:
    if training.schedule == "step":
        return torch.optim.lr_scheduler.StepLR(optimizer, training.step_size, gamma=0.1)
    steps = int(task.trainer.estimated_stepping_batches)
    if training.schedule == "cosine":
        return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    return one_cycle(steps, training.lr)(optimizer)
