"""Two processes train, validate and attack as one does; run by test_ddp.py in a process of its own."""

import json
import sys

import lightning as L
import torch
from torch import nn

from neuroalign import (
    FGSM,
    GuidanceDataModule,
    GuidedClassificationTask,
    GuidedNetwork,
    ManifoldGeometryCallback,
    MeasuredGuidance,
    NeuralAlignmentLoss,
    NeuralPredictionTask,
    NeuralPredictor,
    PredictedGuidance,
    ResponsesDataModule,
    RobustnessCallback,
    WeightedGuidance,
)
from neuroalign.data import load_digits

SHAPE = (3, 8, 8)
KEPT = ("val", "rob", "geo", "alignment")


def backbone(seed=0):
    """Without BatchNorm, whose statistics are those of each process's own batch."""
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.Tanh(), nn.Flatten(), nn.Linear(288, 16), nn.Tanh())


def trainer(devices, folder, **kwargs):
    return L.Trainer(
        accelerator="cpu", devices=devices, strategy="ddp_fork" if devices > 1 else "auto", logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False, default_root_dir=folder,
        num_sanity_val_steps=0, **kwargs,
    )  # fmt: skip


class Record(L.Callback):
    """Bring back from the child what a forked process would take to its grave."""

    def __init__(self, path):
        self.path = path

    def on_fit_end(self, trainer, module):
        if trainer.global_rank == 0:
            metrics = {k: float(v) for k, v in trainer.callback_metrics.items() if k.startswith(KEPT)}
            torch.save({"state": module.state_dict(), "metrics": metrics}, self.path)


def guided(devices, folder, path):
    images, labels = load_digits()
    head = GuidedNetwork(backbone(), 10, {"V4": ("4", 6)}, image_shape=SHAPE)
    guidance = PredictedGuidance({"V4": NeuralPredictor(backbone(1), 6, image_shape=SHAPE)}, loss="pearson")
    task = GuidedClassificationTask(head, guidance, 0.5, lr=0.02)
    # 95 validation images: the sampler of two processes repeats one, which must not count twice
    data = GuidanceDataModule(
        (images[:200], labels[:200]), (images[200:295], labels[200:295]), batch_size=40 // devices
    )
    callbacks = [RobustnessCallback(FGSM(), 0.05), ManifoldGeometryCallback("network.trunk.backbone.3"), Record(path)]
    trainer(devices, folder, max_epochs=1, callbacks=callbacks).fit(task, data)


def many(devices, folder, path):
    """Two regions with set-level measures, learned weights and ragged batches."""
    images, labels = load_digits()
    network = GuidedNetwork(backbone(), 10, {"V4": ("3", 6), "TO": ("4", 7)}, image_shape=SHAPE)
    predictors = {
        head: NeuralPredictor(backbone(i), n, image_shape=SHAPE) for i, (head, n) in enumerate((("V4", 9), ("TO", 7)))
    }
    guidance = PredictedGuidance(
        predictors, loss={"V4": NeuralAlignmentLoss("cka", momentum=0.8), "TO": "gaussian_nll"}
    )
    task = GuidedClassificationTask(network, WeightedGuidance(guidance, "learned"), 0.5, lr=0.02)
    data = GuidanceDataModule((images[:190], labels[:190]), batch_size=40 // devices)
    trainer(devices, folder, max_epochs=1, callbacks=[Record(path)]).fit(task, data)


def sparse(devices, folder, path):
    """One image in ten has responses: most batches are too small for "cka", and a process may have none for "mse"."""
    images, labels = load_digits()
    network = GuidedNetwork(backbone(), 10, {"V4": ("3", 6), "TO": ("4", 6)}, image_shape=SHAPE)
    responses = torch.randn(200, 6, generator=torch.Generator().manual_seed(1))
    responses[torch.rand(200, generator=torch.Generator().manual_seed(2)) > 0.1] = torch.nan
    heads = {"V4": list(range(6)), "TO": list(range(6))}
    guidance = MeasuredGuidance(heads, loss={"V4": NeuralAlignmentLoss("cka"), "TO": "mse"})
    task = GuidedClassificationTask(network, guidance, 0.5, lr=0.02)
    data = GuidanceDataModule((images[:200], labels[:200]), responses=responses, batch_size=20 // devices)
    trainer(devices, folder, max_epochs=1, callbacks=[Record(path)]).fit(task, data)


def predicted(devices, folder, path):
    torch.manual_seed(5)
    images, responses = torch.rand(90, *SHAPE), torch.randn(90, 6)
    task = NeuralPredictionTask(
        NeuralPredictor(backbone(2), 6, image_shape=SHAPE), optimizer=lambda p: torch.optim.SGD(p, 0.01)
    )
    data = ResponsesDataModule(images, responses, val=range(60, 90), batch_size=20 // devices)
    trainer(devices, folder, max_epochs=1, callbacks=[Record(path)]).fit(task, data)


if __name__ == "__main__":
    folder, result = sys.argv[1:]
    torch.set_num_threads(1)
    worst, metrics = {}, {}
    for name, run in (("guided", guided), ("many", many), ("sparse", sparse), ("predicted", predicted)):
        for devices in (2, 1):  # two first: a fork must not inherit autograd's threads
            run(devices, folder, f"{folder}/{name}{devices}.pt")
        one, two = (torch.load(f"{folder}/{name}{d}.pt", weights_only=True) for d in (1, 2))
        worst[name] = max(float((one["state"][k].double() - v.double()).abs().max()) for k, v in two["state"].items())
        metrics[name] = [one["metrics"], two["metrics"]]
    with open(result, "w") as file:  # noqa: PTH123
        json.dump({"worst": worst, "metrics": metrics}, file)
