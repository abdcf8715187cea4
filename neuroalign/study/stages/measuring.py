"""What all evaluations of a study share: which images, in which batches, on which device, and the tables' form."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import numpy as np
import pandas as pd
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, Subset

from neuroalign.data import collate
from neuroalign.files import write_csv
from neuroalign.study.stages.image_parts import ImageSets
from neuroalign.study.stages.images import read_images
from neuroalign.study.stages.predictor import read_predictor
from neuroalign.study.stages.trained import read_network
from neuroalign.study.work import Work
from neuroalign.types import Batch

__all__: list[str] = []

CHOICE_SEED = 0
"""All networks of all seeds are measured on the same choice of test images."""

ROWS = ("measure", "eps", "value", "n")


def images_of(work: Work) -> ImageSets:
    """The images of the result "images"."""
    return read_images(work.inputs["images"], work.sources.get("root"))


def device_of(work: Work) -> torch.device:
    """The GPU if there is one and the accelerator isn't another, else the CPU.

    It is the CPU where a training has several devices, too: its processes are forked, which can't be done after CUDA started.
    """
    wanted = work.options.get("accelerator", "auto") in ("auto", "gpu", "cuda")
    wanted = wanted and int(work.options.get("devices", 1)) == 1
    return torch.device("cuda" if wanted and torch.cuda.is_available() else "cpu")


def network_of(work: Work, role: str = "network") -> nn.Module:
    """The trained network, on the device that the stage may use."""
    return read_network(work.inputs[role]).to(device_of(work))


def features_of(work: Work) -> nn.Module:
    """The trunk of the trained network, or the predictor of responses, on the device that the stage may use."""
    if "predictor" not in work.inputs:
        return cast(nn.Module, network_of(work).trunk)
    return read_predictor(work.inputs["predictor"]).to(device_of(work)).eval()


def chosen(dataset: Dataset[Batch], num_images: int | None) -> Dataset[Batch]:
    """A number of images, drawn by a fixed seed, in the order of the data set; all of them if there are no more."""
    size = len(cast(Any, dataset))
    if num_images is None or num_images >= size:
        return dataset
    rows = np.sort(np.random.default_rng(CHOICE_SEED).permutation(size)[:num_images])
    return Subset(dataset, rows.tolist())


class Batches:
    """Batches of a data set in its order; every pass reports which share of the stage is done.

    Args:
        dataset: The images.
        work: The stage.
        text: What is being done.
        start: Share of the stage that is done before the first batch.
        end: Share after the last batch.
    """

    def __init__(self, dataset: Dataset[Batch], work: Work, text: str, *, start: float = 0.0, end: float = 1.0) -> None:
        size = int(work.settings.get("batch_size", 256))
        self.loader = DataLoader(dataset, batch_size=size, collate_fn=collate)
        self.work, self.text, self.start, self.end = work, text, start, end

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[Batch]:
        for number, batch in enumerate(self.loader):
            share = self.start + (self.end - self.start) * number / len(self.loader)
            self.work.report(self.text, share)
            yield batch


def batches_of_test(work: Work, text: str, *, num_images: int | None = None, **shares: float) -> Batches:
    """Batches of the test images, or of a number of them."""
    return Batches(chosen(images_of(work).dataset("test"), num_images), work, text, **shares)


def write_rows(work: Work, rows: list[tuple[str, float | None, float, int]]) -> None:
    """Write ``rows.csv``: measure, eps (empty where there is none), value, number of images."""
    write_csv(pd.DataFrame(rows, columns=list(ROWS)), work.out / "rows.csv")
