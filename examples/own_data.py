"""Your own data, from a folder of pictures and responses to robustness.

Under a minute on a CPU:

python examples/own_data.py          (--fast: takes seconds, to see that it runs)

The data are MADE UP here and written first, so that the script runs: digits of
scikit-learn as PNG files, and voxels that respond to how much a picture looks like each
digit, plus noise. Nothing was recorded. Your own files need `use` only.
"""

from __future__ import annotations

import argparse
import csv
import logging
import tempfile
import warnings
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


# %% Your network: any module from images (stimulus, channel, height, width) to features
# (stimulus, feature).
class MyNet(nn.Sequential):
    """Three convolutions and their features."""

    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(3, 16, 3, padding=1),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3, padding=1),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(32, 64, 3, padding=1),
            nn.BatchNorm2d(64),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
        )


def use(folder: Path, fast: bool = False, seed: int = 0) -> None:
    # %% Pictures and responses to them. Rows of the table are trials, and name their
    # picture: repeats are averaged, and give the noise ceiling. ("responses.npy" has no
    # names: a row per picture, in the order of the files.)
    data = ResponsesDataModule(
        folder / "pictures",
        folder / "responses.csv",
        image_size=16,
        batch_size=32,
        seed=seed,
    )

    # %% A predictor of the responses, on your network; the correlations are those of
    # held-out pictures.
    L.seed_everything(seed, verbose=False)
    predictor = NeuralPredictor(MyNet(), data.num_voxels, image_shape=data.image_shape)
    task = NeuralPredictionTask(predictor, lr=3e-3, noise_ceiling=data.noise_ceiling)
    metrics = fit(task, data, epochs=1 if fast else 20)
    names = ("val/correlation", "val/normalized_correlation")
    print(", ".join(f"{name} {float(metrics[name]):.2f}" for name in names))
    predictor.save(folder / "predictor.safetensors")

    # %% Classifiers of labelled pictures (labelled/train/CLASS/*.png, val, test):
    # without guidance, the control, and with it.
    pictures = GuidanceDataModule(
        dataset="folder",
        root=folder / "labelled",
        image_size=16,
        batch_size=64,
        seed=seed,
    )
    predictor = NeuralPredictor.load(folder / "predictor.safetensors", backbone=MyNet())
    guidances = {"no guidance": None, "guided": PredictedGuidance({"IT": predictor})}
    for name, guidance in guidances.items():
        L.seed_everything(seed, verbose=False)
        network = GuidedNetwork(
            MyNet(),
            num_classes=10,
            heads={"IT": (None, data.num_voxels)},
            image_shape=data.image_shape,
        )
        task = GuidedClassificationTask(
            network, guidance, weight=0.2, lr=0.05, step_size=8
        )
        fit(task, pictures, epochs=1 if fast else 12)
        network.save(folder / f"{name}.safetensors")

    # %% Accuracy on the test pictures, and under attack; eps is the largest change of a
    # pixel, of 1 from black to white.
    for name in ("no guidance", "guided"):
        network = GuidedNetwork.load(folder / f"{name}.safetensors", backbone=MyNet())
        table = evaluate_robustness(
            network, pictures.test_dataloader(), "PGD", eps=[0, "4/255", "8/255"]
        )
        found = (f"eps {row.eps:.3f}: {row.accuracy:.3f}" for row in table.itertuples())
        print(f"{name:12}", *found, sep="  ")


def fit(
    task: L.LightningModule, data: L.LightningDataModule, epochs: int
) -> dict[str, torch.Tensor]:
    quiet = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    trainer = L.Trainer(max_epochs=epochs, accelerator="auto", **quiet)
    trainer.fit(task, data)
    task.cpu()
    return trainer.callback_metrics


def make_up(folder: Path, seed: int = 0) -> None:
    """Write made-up data in the form of your own."""
    rng = np.random.default_rng(seed)
    digits, labels = load_digits()
    large = nn.functional.interpolate(digits, 16, mode="bilinear")[:, 0]
    large = large.clamp(0, 1).numpy()
    order = rng.permutation(len(digits))
    shown, train, val, test, _ = np.split(order, [500, 1000, 1100, 1400])
    parts = {"pictures": shown, "train": train, "val": val, "test": test}
    for part, numbers in parts.items():
        for number in numbers:
            place = folder / "labelled" / part / str(int(labels[number]))
            if part == "pictures":
                place = folder / part
            place.mkdir(parents=True, exist_ok=True)
            picture = Image.fromarray(np.uint8(255 * large[number]))
            picture.save(place / f"digit {number:04d}.png")
    shown = np.sort(shown)
    pixels = large.reshape(len(large), -1)[shown]
    likeness = RidgeClassifier(alpha=10.0).fit(pixels, labels[shown])
    likeness = likeness.decision_function(pixels)
    signal = np.tanh(likeness @ rng.standard_normal((10, 40)))
    signal = (signal - signal.mean(0)) / signal.std(0)
    trials = signal + rng.standard_normal((3, *signal.shape))
    np.save(folder / "responses.npy", trials.mean(0))
    with (folder / "responses.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["stimulus", *(f"voxel{v}" for v in range(signal.shape[1]))])
        for trial in trials:
            for number, row in zip(shown, trial):
                table.writerow([f"digit {number:04d}", *row])


def main(fast: bool = False, folder: str | None = None, seed: int = 0) -> None:
    # Advice on loaders and loggers is not needed here.
    warnings.filterwarnings("ignore", module="lightning")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    place = Path(folder or tempfile.mkdtemp())
    if folder is None:
        make_up(place, seed)
        print(
            "MADE-UP data, one seed: no evidence of anything. These voxels tell no\n"
            "more than the labels, and guidance by them gains nothing: over six other\n"
            "seeds (two of them were seen while the weight was chosen) it changed\n"
            "accuracy by -0.001 (±0.005), at eps 4/255 by -0.008 (±0.012), at 8/255\n"
            "by -0.032 (±0.024; 95 % intervals)."
        )
    use(place, fast, seed)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fast", action="store_true")
    parser.add_argument(
        "--folder",
        help="a folder of your own with pictures/, responses.csv and labelled/",
    )
    parser.add_argument("--seed", type=int, default=0)
    main(**vars(parser.parse_args()))
