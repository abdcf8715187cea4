"""Callbacks on pairs without identities, on one process and on two; run by test_pairs.py in a process of its own."""

import json
import sys
from pathlib import Path

import lightning as L
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from neuroalign import FGSM, InputSmoothnessCallback, ManifoldGeometryCallback, RobustnessCallback

N = 11  # two processes don't share them out evenly: the sampler repeats one


class Classifier(L.LightningModule):
    """Anybody's module: called, it gives logits."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(48, 6), nn.Tanh(), nn.Linear(6, 3))

    def forward(self, images):
        return self.net(images)

    def validation_step(self, batch, batch_idx):
        pass


class Record(L.Callback):
    """Bring back from the child what a forked process would take to its grave."""

    def __init__(self, path, robustness):
        self.path, self.robustness = path, robustness

    def on_validation_end(self, trainer, module):
        if trainer.global_rank == 0:
            counts = [metric.num_images for metric in self.robustness.metrics.values()]
            logged = {k: float(v) for k, v in trainer.callback_metrics.items()}
            self.path.write_text(json.dumps({"counts": counts, "logged": logged}))


def data():
    g = torch.Generator().manual_seed(1)
    images, module = torch.rand(N, 3, 4, 4, generator=g), Classifier()
    labels = module(images).argmax(1).detach()
    labels[:3] = (labels[:3] + 1) % 3  # the image that is repeated comes first: it must not count twice
    return images, labels


def main(out):
    found = []
    for devices in (1, 2):
        robustness, path = RobustnessCallback(FGSM(), [0.0, 0.02]), out.with_name(f"{devices}.json")
        others = [InputSmoothnessCallback(), ManifoldGeometryCallback("net.2", num_samples=10)]
        trainer = L.Trainer(
            accelerator="cpu", devices=devices, strategy="ddp_fork" if devices > 1 else "auto", logger=False,
            enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
            default_root_dir=out.parent, callbacks=[robustness, *others, Record(path, robustness)],
        )  # fmt: skip
        trainer.validate(Classifier(), DataLoader(TensorDataset(*data()), 2), verbose=False)
        found.append(json.loads(path.read_text()))
    out.write_text(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
