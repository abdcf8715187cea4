"""Fabric on two processes; run by test_parallel.py in a process of its own."""

import json
import sys
from pathlib import Path

import torch
from lightning.fabric import Fabric
from torch.utils.data import DataLoader, TensorDataset

from neuroalign import FGSM, evaluate_robustness
from tests.guidance.test_parallel import N, data, gradients, loss_of, made


def work(fabric, out):
    network, guidance = made()
    optimizer = torch.optim.SGD(network.parameters(), 0.0)
    network, optimizer = fabric.setup(network, optimizer)
    rows = slice(fabric.global_rank * N // 2, (fabric.global_rank + 1) * N // 2)
    images, labels = (x[rows] for x in data())
    fabric.backward(loss_of(network, guidance, images, labels))
    loader = fabric.setup_dataloaders(DataLoader(TensorDataset(*data()), 4))
    table = evaluate_robustness(network, loader, FGSM(), [0.0])
    if fabric.global_rank == 0:
        out.write_text(
            json.dumps({"gradients": gradients(network).tolist(), "num_images": int(table["num_images"][0])})
        )


if __name__ == "__main__":
    fabric = Fabric(accelerator="cpu", devices=2, strategy="ddp_fork")
    fabric.launch(work, Path(sys.argv[1]))
