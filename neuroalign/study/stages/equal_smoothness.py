"""The control for smoothness: an unguided network with the weight decay that makes it as smooth as a guided one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
from torch import nn

from neuroalign.evaluation import evaluate_smoothness
from neuroalign.files import write_csv
from neuroalign.models.network_files import load_module, save_module
from neuroalign.perturbations import PGD
from neuroalign.study.smoothness_matching import match_smoothness
from neuroalign.study.stages.measuring import Batches, chosen, device_of, images_of, network_of
from neuroalign.study.stages.result_files import write_json
from neuroalign.study.work import Work

__all__: list[str] = []

Fit = Callable[[float, Path], tuple[nn.Module, pd.DataFrame]]
MOST_TRAININGS = 8


def train_as_smooth(work: Work, fit: Fit) -> tuple[nn.Module, pd.DataFrame, dict[str, Any]]:
    """Search for the weight decay at which an unguided network is as smooth as the guided one.

    Smoothness is measured at adversarial points of validation images, or of training images where none are set apart for
    validation; test images play no part. Trainings that are done are kept in the stage's scratch folder, so that a killed
    search goes on with the one that it was at.

    Args:
        work: The stage; the guided network is its result "guided".
        fit: Trains an unguided network, from its weight decay and a folder for checkpoints.

    Returns:
        The network, the log of its training, and what is known about the search.

    Raises:
        ValueError: If a smoothness is 0 or not finite.
    """
    settings, sets = work.settings["smoothness"], images_of(work)
    part = "train" if sets.val is None else "val"
    dataset = chosen(sets.dataset(part), settings["num_images"])

    def smoothness(network: nn.Module) -> float:
        batches = Batches(dataset, work, "measuring smoothness")
        attack = PGD(steps=settings["steps"])
        return evaluate_smoothness(network.to(device_of(work)), batches, attack, settings["eps"]).adversarial

    logs: dict[float, pd.DataFrame] = {}

    def train(weight_decay: float) -> nn.Module:
        network, logs[weight_decay] = _trained(work.scratch / f"weight decay {weight_decay!r}", weight_decay, fit)
        return network

    target = smoothness(network_of(work, "guided"))
    found = match_smoothness(train, smoothness, target, max_trainings=MOST_TRAININGS)
    facts = {
        "factor": None,
        "weight_decay": found.weight_decay,
        "smoothness": found.smoothness,
        "target": found.target,
        "matched": found.matched,
        "measured_on": "training images" if part == "train" else "validation images",
        "trials": found.trials.to_dict("records"),
    }
    return found.network.cpu(), logs[found.weight_decay], facts


def _trained(folder: Path, weight_decay: float, fit: Fit) -> tuple[nn.Module, pd.DataFrame]:
    """A training of the search, from its folder if it was done before."""
    file, log, done = folder / "network.safetensors", folder / "log.csv", folder / "done.json"
    if done.exists():
        return load_module(file, "network").eval(), pd.read_csv(log)
    folder.mkdir(parents=True, exist_ok=True)
    network, rows = fit(weight_decay, folder)
    save_module(network, file)
    write_csv(rows, log)
    write_json(done, {"weight_decay": weight_decay})
    return network, rows
