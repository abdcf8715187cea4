"""Schedulers from a configuration: by their class, by a function, and one that looks at a number."""

import sys

import pytest
import torch
from lightning import LightningDataModule, LightningModule
from lightning.pytorch.cli import LightningCLI

from neuroalign import (
    GuidanceDataModule,
    GuidedClassificationTask,
    GuidedNetwork,
    NeuralPredictionTask,
    NeuralPredictor,
)

SHAPE = (3, 8, 8)


def halved(optimizer: torch.optim.Optimizer) -> torch.optim.lr_scheduler.LRScheduler:
    return torch.optim.lr_scheduler.MultiplicativeLR(optimizer, lambda epoch: 0.5)


def configured(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["neuroalign"])
    network = ["neuroalign.GuidedNetwork", "--model.network.backbone=small_resnet", "--model.network.num_classes=10",
               "--model.network.image_shape=[3,8,8]"]  # fmt: skip
    cli = LightningCLI(
        LightningModule, LightningDataModule, subclass_mode_model=True, subclass_mode_data=True, run=False,
        save_config_callback=None, seed_everything_default=0,
        args=["--model=neuroalign.tasks.GuidedClassificationTask", f"--model.network={network[0]}", *network[1:],
              "--data=neuroalign.data.GuidanceDataModule", "--data.dataset=digits", "--trainer.accelerator=cpu",
              "--trainer.logger=false", *arguments],
    )  # fmt: skip
    return cli.model.configure_optimizers()["lr_scheduler"]


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("StepLR", ["--model.scheduler.step_size=3"]),
        ("torch.optim.lr_scheduler.StepLR", ["--model.scheduler.step_size=3"]),
        ("torch.optim.lr_scheduler.CosineAnnealingLR", ["--model.scheduler.T_max=3"]),
        ("torch.optim.lr_scheduler.OneCycleLR", ["--model.scheduler.max_lr=0.1", "--model.scheduler.total_steps=30"]),
        ("torch.optim.lr_scheduler.ReduceLROnPlateau", ["--model.scheduler.patience=3"]),
    ],
)
def test_torchs_schedulers_go_by_their_class(monkeypatch, name, arguments):
    found = configured(monkeypatch, f"--model.scheduler={name}", *arguments, "--model.scheduler_interval=step")
    assert type(found["scheduler"]).__name__ == name.rpartition(".")[2]
    assert found["interval"] == "step"
    assert found.get("monitor") == ("val/task_loss" if "Plateau" in name else None)


def test_a_function_goes_by_its_name(monkeypatch):
    found = configured(monkeypatch, f"--model.scheduler={__name__}.halved")
    assert type(found["scheduler"]).__name__ == "MultiplicativeLR"


def test_a_plateau_is_seen(digits, quiet_trainer):
    images, labels = digits
    pair = (images[:40], labels[:40])

    def rate(task, module):
        trainer = quiet_trainer(max_epochs=3)
        trainer.fit(task, module)
        return trainer.optimizers[0].param_groups[0]["lr"]

    def never_better(optimizer):
        return torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, mode="max", threshold=1e9, patience=0, factor=0.5)

    network = GuidedNetwork("small_resnet", 10, image_shape=SHAPE)
    module = GuidanceDataModule(pair, pair, batch_size=20)
    task = GuidedClassificationTask(network, lr=0.08, scheduler=never_better, scheduler_monitor="val/accuracy")
    assert rate(task, module) == pytest.approx(0.02)
    wrong = GuidedClassificationTask(network, scheduler=never_better, scheduler_monitor="val/acuracy")
    with pytest.raises(Exception, match="val/acuracy"):
        rate(wrong, module)
    predictor = NeuralPredictionTask(NeuralPredictor("small_resnet", 5, image_shape=SHAPE), scheduler=never_better)
    assert predictor.configure_optimizers()["lr_scheduler"]["monitor"] == "val/loss"


def test_an_unknown_interval():
    network = GuidedNetwork("small_resnet", 10, image_shape=SHAPE)
    predictor = NeuralPredictor("small_resnet", 5, image_shape=SHAPE)
    for make in (lambda **k: GuidedClassificationTask(network, **k), lambda **k: NeuralPredictionTask(predictor, **k)):
        with pytest.raises(ValueError, match=r"unknown scheduler_interval 'epok'.*did you mean 'epoch'"):
            make(scheduler_interval="epok")
