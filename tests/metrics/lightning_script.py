"""Metrics logged by a LightningModule on one process and on two; run by test_contract.py in a process of its own."""

import json
import sys
from pathlib import Path

import lightning as L
import torch
from torch.utils.data import DataLoader, TensorDataset

from neuroalign import CKA, RobustAccuracy, VoxelCorrelation


class Logging(L.LightningModule):
    """Logs every metric updated, and called."""

    def __init__(self):
        super().__init__()
        made = {"robust": RobustAccuracy, "cka": CKA, "voxels": VoxelCorrelation}
        self.updated = torch.nn.ModuleDict({name: make() for name, make in made.items()})
        self.called = torch.nn.ModuleDict({name: make() for name, make in made.items()})

    def test_step(self, batch, batch_idx):
        logits, labels, x, y = batch
        for name in self.updated:
            pair = (logits, labels) if name == "robust" else (x, y)
            self.updated[name].update(*pair)
            self.log(name, self.updated[name], on_step=False, on_epoch=True)
            self.called[name](*pair)
            self.log(f"called {name}", self.called[name], on_step=False, on_epoch=True)


class Record(L.Callback):
    """Bring back from the child what a forked process would take to its grave."""

    def __init__(self, path):
        self.path = path

    def on_test_end(self, trainer, module):
        if trainer.global_rank == 0:
            self.path.write_text(json.dumps({k: float(v) for k, v in trainer.callback_metrics.items()}))


def main(out):
    g = torch.Generator().manual_seed(0)
    labels = torch.randint(5, (64,), generator=g)
    logits = torch.nn.functional.one_hot(labels, 5) + torch.randn(64, 5, generator=g)
    x = torch.randn(64, 6, generator=g)
    data = TensorDataset(logits, labels, x, x + torch.randn(64, 6, generator=g))
    found = []
    for devices in (1, 2):
        path = out.with_name(f"{devices}.json")
        trainer = L.Trainer(
            accelerator="cpu", devices=devices, strategy="ddp_fork" if devices > 1 else "auto", logger=False,
            enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
            default_root_dir=out.parent, callbacks=[Record(path)],
        )  # fmt: skip
        trainer.test(Logging(), DataLoader(data, 8), verbose=False)
        found.append(json.loads(path.read_text()))
    out.write_text(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
