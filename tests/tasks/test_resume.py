"""A training that is resumed is the training that was never interrupted: to the bit, between epochs and within one."""

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import nn

from neuroalign import (
    FGSM,
    TRADES,
    AdversarialTraining,
    GaussianNoiseTraining,
    GradientRegularization,
    GuidanceDataModule,
    GuidedClassificationTask,
    GuidedNetwork,
    MeasuredGuidance,
    NeuralPredictionTask,
    NeuralPredictor,
    PredictedGuidance,
    ResponsesDataModule,
    RobustnessCallback,
    ShuffledGuidance,
)
from neuroalign.data import ShiftFlip
from neuroalign.tasks import RobustTraining

pytestmark = pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`")
SHAPE, V, N, BATCH = (3, 8, 8), 5, 90, 20  # 5 batches an epoch, the last of 10


class WithDropout(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.3), nn.Flatten())


class Brightness(RobustTraining):
    """Someone else's, which draws from the global generator."""

    def inputs(self, network, images, labels):
        return images * torch.rand(len(images), 1, 1, 1, device=images.device)


def task(robust=None, guidance=None, dropout=False):
    torch.manual_seed(0)
    backbone = WithDropout() if dropout else "small_resnet"
    network = GuidedNetwork(backbone, 10, {"V4": (None, V)}, image_shape=SHAPE)
    return GuidedClassificationTask(network, guidance, 0.5, robust_training=robust, lr=0.05, step_size=1)


def data(digits, **kwargs):
    images, labels = digits
    pair = (images[:N], labels[:N])
    return GuidanceDataModule(pair, (images[N : N + 20], labels[N : N + 20]), batch_size=BATCH, seed=3, **kwargs)


class Interfering(L.Callback):
    """Draws from the global generator, so many numbers as come to its mind."""

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        torch.rand(trainer.global_step % 3)


def run(module, datamodule, quiet_trainer, **kwargs):
    trainer = quiet_trainer(**{"max_epochs": 3, "limit_val_batches": 0, **kwargs.pop("trainer", {})})
    trainer.fit(module, datamodule, **kwargs)
    return {name: value.clone() for name, value in module.state_dict().items()}


def saving(tmp_path, step):
    """Keeps a checkpoint after so many batches."""
    return ModelCheckpoint(tmp_path, filename="{step}", every_n_train_steps=step, save_top_k=-1)


def same(first, second):
    assert first.keys() == second.keys()
    return [name for name, value in first.items() if not torch.equal(value, second[name])]


ROBUST = {
    "none": None,
    "adversarial": AdversarialTraining(0.1, steps=2),
    "trades": TRADES(0.1, steps=2),
    "noise": GaussianNoiseTraining(0.1),
    "gradient": GradientRegularization(0.1),
    "theirs": Brightness(),
}


@pytest.mark.parametrize("at", [5, 7], ids=["after an epoch", "within an epoch"])
@pytest.mark.parametrize("robust", ROBUST.values(), ids=ROBUST)
def test_resumed_equals_uninterrupted(digits, quiet_trainer, tmp_path, robust, at):
    callbacks = {"trainer": {"callbacks": [saving(tmp_path, at)], "enable_checkpointing": True}}
    whole = run(task(robust, dropout=True), data(digits, augment=ShiftFlip(1)), quiet_trainer, **callbacks)
    torch.manual_seed(99)
    resumed = run(
        task(robust, dropout=True),
        data(digits, augment=ShiftFlip(1)),
        quiet_trainer,
        ckpt_path=tmp_path / f"step={at}.ckpt",
    )
    assert same(whole, resumed) == []


@pytest.mark.parametrize(
    ("trainer", "at"),
    [
        ({"limit_train_batches": 3}, 4),
        ({"limit_train_batches": 3}, 3),
        ({"accumulate_grad_batches": 2, "max_epochs": 2}, 2),
        ({"max_steps": 12, "max_epochs": -1}, 7),
        ({"max_steps": 12, "max_epochs": -1}, 10),
        ({"limit_val_batches": 1, "val_check_interval": 2}, 7),
        ({"limit_val_batches": 1, "val_check_interval": 2}, 9),
        ({"limit_val_batches": 1}, 10),
    ],
    ids=lambda value: str(value),
)
def test_whatever_the_trainer_does(digits, quiet_trainer, tmp_path, trainer, at):
    options = {**trainer, "callbacks": [saving(tmp_path, at)], "enable_checkpointing": True}
    whole = run(task(ROBUST["noise"]), data(digits), quiet_trainer, trainer=options)
    again = run(
        task(ROBUST["noise"]), data(digits), quiet_trainer, trainer=trainer, ckpt_path=tmp_path / f"step={at}.ckpt"
    )
    assert same(whole, again) == []


@pytest.mark.parametrize("at", [5, 7])
def test_with_worker_processes(digits, quiet_trainer, tmp_path, at):
    """They begin to load before Lightning says which epoch it is."""
    options = {"callbacks": [saving(tmp_path, at)], "enable_checkpointing": True, "max_epochs": 2}
    whole = run(task(ROBUST["noise"]), data(digits, num_workers=1), quiet_trainer, trainer=options)
    again = run(
        task(ROBUST["noise"]), data(digits, num_workers=1), quiet_trainer, trainer={"max_epochs": 2},
        ckpt_path=tmp_path / f"step={at}.ckpt",
    )  # fmt: skip
    assert same(whole, again) == []


def test_an_interrupted_batch_is_done_again(digits, quiet_trainer, tmp_path):
    class Fails(L.Callback):
        def on_train_batch_start(self, trainer, module, batch, batch_idx):
            if trainer.global_step == 7:
                trainer.save_checkpoint(tmp_path / "failed.ckpt")
                raise RuntimeError("out of luck")

    def make():
        return task(ROBUST["noise"]), data(digits, augment=ShiftFlip(1))

    whole = run(*make(), quiet_trainer)
    with pytest.raises(RuntimeError, match="out of luck"):
        run(*make(), quiet_trainer, trainer={"callbacks": [Fails()]})
    assert same(whole, run(*make(), quiet_trainer, ckpt_path=tmp_path / "failed.ckpt")) == []


@pytest.mark.parametrize("kind", ["shuffled", "measured"])
def test_with_guidance_and_enough_images_in_every_batch(digits, quiet_trainer, tmp_path, kind):
    responses = torch.randn(N, V, generator=torch.Generator().manual_seed(1))
    responses[N // 3 :] = torch.nan

    def make():
        torch.manual_seed(1)
        predictor = NeuralPredictor("small_resnet", V, image_shape=SHAPE)
        guidance = {
            "shuffled": ShuffledGuidance(PredictedGuidance({"V4": predictor})),
            "measured": MeasuredGuidance("V4", loss="cka"),
        }[kind]
        more = {"responses": responses, "min_valid": 6} if kind == "measured" else {}
        return task(ROBUST["noise"], guidance), data(digits, **more)

    options = {"callbacks": [saving(tmp_path, 7)], "enable_checkpointing": True}
    whole = run(*make(), quiet_trainer, trainer=options)
    assert same(whole, run(*make(), quiet_trainer, ckpt_path=tmp_path / "step=7.ckpt")) == []


def test_a_predictor_with_a_readout_that_draws(quiet_trainer, tmp_path):
    generator = torch.Generator().manual_seed(0)
    images, responses = torch.rand(60, *SHAPE, generator=generator), torch.randn(60, V, generator=generator)

    def make():
        torch.manual_seed(0)
        predictor = NeuralPredictor("small_resnet", V, image_shape=SHAPE, layer="layer2", head="gaussian")
        return NeuralPredictionTask(predictor), ResponsesDataModule(images, responses, batch_size=20)

    options = {"callbacks": [saving(tmp_path, 4)], "enable_checkpointing": True}
    whole = run(*make(), quiet_trainer, trainer=options)
    torch.manual_seed(5)
    assert same(whole, run(*make(), quiet_trainer, ckpt_path=tmp_path / "step=4.ckpt")) == []


def test_draws_are_by_seed_step_and_process_alone(digits, quiet_trainer):
    """Not by what else draws from the global generator, nor by what another callback measures."""
    robust = ROBUST["noise"]
    alone = run(task(robust, dropout=True), data(digits), quiet_trainer)
    measured = RobustnessCallback(FGSM(), 0.05)
    options = {"callbacks": [Interfering(), measured], "limit_val_batches": 1.0}
    assert same(alone, run(task(robust, dropout=True), data(digits), quiet_trainer, trainer=options)) == []

    def other(draw):
        module = task(robust, dropout=True)
        torch.manual_seed(draw)
        return run(module, data(digits), quiet_trainer)

    assert same(other(1), other(1)) == []
    assert same(other(1), other(2)) != []


def test_no_two_steps_nor_epochs_draw_alike(digits, quiet_trainer):
    seen = []

    class Watching(RobustTraining):
        def inputs(self, network, images, labels):
            seen.append(torch.rand(3))
            return images

    module = task(Watching())
    run(module, data(digits), quiet_trainer, trainer={"max_epochs": 2})
    run(module, data(digits), quiet_trainer, trainer={"max_epochs": 1})  # a training of its own
    assert len(torch.stack(seen).unique(dim=0)) == len(seen) == 15


def test_an_older_checkpoint_is_resumed_too(digits, quiet_trainer, tmp_path):
    """Without the seed, and without a state of the loader."""
    options = {"callbacks": [saving(tmp_path, 7)], "enable_checkpointing": True, "max_epochs": 2}
    run(task(ROBUST["noise"]), data(digits), quiet_trainer, trainer=options)
    old = torch.load(tmp_path / "step=7.ckpt", weights_only=True)
    assert isinstance(old.pop("neuroalign_step_seed"), int)
    old["loops"]["fit_loop"]["state_dict"].pop("combined_loader")
    torch.save(old, tmp_path / "old.ckpt")
    again = run(
        task(ROBUST["noise"]), data(digits), quiet_trainer, trainer={"max_epochs": 2}, ckpt_path=tmp_path / "old.ckpt"
    )
    assert all(value.isfinite().all() for value in again.values())
