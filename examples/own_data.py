"""Your own data: a folder of pictures, responses to them and a network of your own, up to robustness. Under a minute on a CPU.

python examples/own_data.py          (--fast: takes seconds, to see that it runs)

The data here are MADE UP and written first, so that the script runs: digits of scikit-learn as PNG files, and voxels that
respond to blurred pixels plus noise. Nothing was recorded. With your own data, `use` is all you need.
"""

from __future__ import annotations

import argparse
import csv
import logging
import tempfile
from pathlib import Path

import lightning as L
import numpy as np
import torch
from PIL import Image
from sklearn.linear_model import RidgeClassifier
from torch import nn

from neuroalign import (
    GuidanceDataModule,
    GuidedClassificationTask,
    GuidedNetwork,
    NeuralPredictionTask,
    NeuralPredictor,
    PredictedGuidance,
    ResponsesDataModule,
    evaluate_robustness,
)
from neuroalign.data import load_digits


# %% Your network: any module from images to features.
class MyNet(nn.Sequential):
    def __init__(self, width: int = 16) -> None:
        super().__init__(
            *[nn.Conv2d(3, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(), nn.MaxPool2d(2)],
            *[nn.Conv2d(width, 2 * width, 3, padding=1), nn.BatchNorm2d(2 * width), nn.ReLU(), nn.MaxPool2d(2)],
            *[nn.Conv2d(2 * width, 4 * width, 3, padding=1), nn.BatchNorm2d(4 * width), nn.ReLU()],
            *[nn.AdaptiveAvgPool2d(2), nn.Flatten()],
        )


def trainer(epochs: int) -> L.Trainer:
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}
    return L.Trainer(max_epochs=epochs, accelerator="auto", **quiet)


def use(folder: Path, responses: str = "responses.csv", fast: bool = False, seed: int = 0, weight: float = 0.5) -> dict[str, list[float]]:
    # %% The folder's pictures and the responses to them; repeats give the noise ceiling, and are averaged.
    L.seed_everything(seed, verbose=False)
    data = ResponsesDataModule(folder / "pictures", folder / responses, image_size=16, batch_size=32, seed=seed)

    # %% A predictor of the responses, on your network; r of held-out pictures, and r divided by the ceiling's root.
    predictor = NeuralPredictor(MyNet(), data.num_voxels, image_shape=data.image_shape)
    task = NeuralPredictionTask(predictor, lr=3e-3, noise_ceiling=data.noise_ceiling)
    fit = trainer(2 if fast else 30)
    fit.fit(task, data)
    print({name: round(float(value), 2) for name, value in fit.callback_metrics.items() if "correlation" in name})

    # %% A classifier of labelled pictures, guided by the predictor, and its control without guidance.
    pictures = GuidanceDataModule(dataset="folder", root=folder / "labelled", image_size=16, batch_size=64)
    results = {}
    for name, guidance in (("no guidance", None), ("guided", PredictedGuidance({"IT": predictor}))):
        L.seed_everything(seed, verbose=False)
        network = GuidedNetwork(MyNet(), 10, heads={"IT": (None, data.num_voxels)}, image_shape=data.image_shape)
        task = GuidedClassificationTask(network, guidance, weight=weight, lr=0.05, step_size=15)
        trainer(1 if fast else 20).fit(task, pictures)
        for part, loader in (("val", pictures.val_dataloader()), ("test", pictures.test_dataloader())):
            table = evaluate_robustness(network.cpu(), loader, "PGD", eps=[0, "4/255", "8/255"])
            results[name, part] = table["accuracy"].tolist()
    return results


def make_up(folder: Path, seed: int = 0) -> None:
    """Write made-up data in the form of your own: pictures, responses as .npy and as .csv, and labelled pictures."""
    rng = np.random.default_rng(seed)
    digits, labels = load_digits()
    large = torch.nn.functional.interpolate(digits, 16, mode="bilinear").clamp(0, 1)
    order = rng.permutation(len(digits))
    shown, train, val, test = np.split(order, [500, 1000, 1200])
    for name, numbers in {"pictures": shown, "train": train, "val": val, "test": test}.items():
        for number in numbers:
            place = folder / name if name == "pictures" else folder / "labelled" / name / str(int(labels[number]))
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray((255 * large[number, 0]).byte().numpy()).save(place / f"digit {number:04d}.png")
    names = sorted(f"digit {number:04d}" for number in shown)
    numbers = [int(name[-4:]) for name in names]
    blurred = torch.nn.functional.avg_pool2d(large[:, :1], 5, 2).flatten(1).numpy()
    likeness = RidgeClassifier(alpha=30.0).fit(blurred[numbers], labels[numbers]).decision_function(blurred[numbers])
    signal = np.maximum(likeness @ rng.standard_normal((10, 40)), 0)
    signal = (signal - signal.mean(0)) / signal.std(0)
    trials = signal + rng.standard_normal((3, *signal.shape))
    np.save(folder / "responses.npy", trials.mean(0))  # a row per picture, in the order of their names
    with (folder / "responses.csv").open("w", newline="") as file:  # a row per trial, with the picture's name
        table = csv.writer(file)
        table.writerow(["stimulus", *(f"voxel{v}" for v in range(signal.shape[1]))])
        table.writerows([name, *values] for trial in trials for name, values in zip(names, trial))
