"""Bookkeeping of long measurements, and the cost of the masking report: ``python -m tests.benchmarks.evaluation``.

CPU time of one thread. Bookkeeping is what a measurement with a checkpoint costs beyond the passes through the network, here
the mean pixel, and the attack, a single step; the limit is 2 s for 50,000 images. The masking report's limit is 15 % of a
suite on 200 images. Here no image is fooled at the report's budget, which is its most expensive case.
"""

from __future__ import annotations

import argparse
import math
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import neuroalign.evaluation.suite_result as suite_result
from neuroalign import FGSM, GuidedNetwork, evaluate_robustness
from neuroalign.evaluation import evaluate_suite, robustness_suite
from neuroalign.evaluation.suites import SuiteName
from neuroalign.perturbations import Classifier, Contrast
from neuroalign.perturbations.attacks.budget import per_sample

EPS, BATCH, LIMIT_S, LIMIT_SHARE = 0.01, 128, 2.0, 0.15
NUM_IMAGES = (5_000, 10_000, 20_000, 50_000)
Batches = list[tuple[Tensor, Tensor]]


class MeanPixel(nn.Module):
    """Two classes, dark and light."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([1.0, -1.0]))

    def forward(self, x: Tensor) -> Tensor:
        return (x.mean((1, 2, 3))[:, None] - 0.5) * self.weight


def seconds(call: Callable[..., Any], *args: Any, **kwargs: Any) -> float:
    start = time.process_time()
    call(*args, **kwargs)
    return time.process_time() - start


def batches(model: nn.Module, num_images: int, shape: tuple[int, ...]) -> Batches:
    images = torch.rand(num_images, *shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        labels = torch.cat([model(x).argmax(1) for x in images.split(BATCH)])
    return list(zip(images.split(BATCH), labels.split(BATCH)))


def passes(model: nn.Module, loader: Batches) -> None:
    """What a measurement of one attack at one budget asks of the network and of the attack."""
    attack, classifier = FGSM(), Classifier(model)
    for x, y in loader:
        classifier.logits(x)
        attack.search(classifier, x, y, per_sample(EPS, x, "linf"), torch.arange(len(x)))


def bookkeeping(folder: Path) -> None:
    model = MeanPixel().eval()
    evaluate_robustness(model, batches(model, BATCH, (3, 8, 8)), FGSM(), EPS)  # warm up
    print(f"bookkeeping, s: measured, resumed; limit {LIMIT_S:g} s for {NUM_IMAGES[-1]:,} images")
    spent = []
    for n in NUM_IMAGES:
        loader, path = batches(model, n, (3, 8, 8)), folder / f"{n}.csv"
        alone = seconds(passes, model, loader)
        settings = {"eps": EPS, "checkpoint": path}
        measured, resumed = (seconds(evaluate_robustness, model, loader, FGSM(), **settings) for _ in range(2))
        spent.append(measured - alone)
        print(f"  {n:7,} images  {measured - alone:6.2f}  {resumed:6.2f}   (the passes themselves {alone:.2f})")
    exponent = math.log(spent[-1] / spent[1]) / math.log(NUM_IMAGES[-1] / NUM_IMAGES[1])
    fine = "ok" if spent[-1] < LIMIT_S else "ABOVE THE LIMIT"
    print(f"  {fine}; grows with the number of images to the power {exponent:.2f}")


def many_perturbations(folder: Path, num_images: int = 10_000) -> None:
    model = MeanPixel().eval()
    loader = batches(model, num_images, (3, 8, 8))
    print(f"{num_images:,} images under many perturbations, ms of CPU for each perturbation and batch")
    for num in (10, 20, 40):
        perturbations = [Contrast((i + 1) / (num + 1)) for i in range(num)]
        path = folder / f"many{num}.csv"
        spent = seconds(evaluate_robustness, model, loader, perturbations, checkpoint=path)
        print(f"  {num:3d} perturbations  {1000 * spent / num / len(loader):.2f}")


@contextmanager
def timed_report() -> Iterator[list[float]]:
    """The CPU seconds of each masking report that a suite makes."""
    spent: list[float] = []
    before = suite_result.check_masking

    def check_masking(*args: Any, **kwargs: Any) -> Any:
        start = time.process_time()
        report = before(*args, **kwargs)
        spent.append(time.process_time() - start)
        return report

    suite_result.check_masking = check_masking
    try:
        yield spent
    finally:
        suite_result.check_masking = before


def share_of_suite(name: SuiteName, model: nn.Module, shape: tuple[int, ...], what: str) -> None:
    loader = batches(model, 200, shape)
    with timed_report() as spent:
        whole = seconds(evaluate_suite, model, loader, robustness_suite(name, shape))
    share = sum(spent) / whole
    fine = "ok" if share <= LIMIT_SHARE else "ABOVE THE LIMIT"
    print(f"  {name:8s} {what:24s} {share:5.1%} of {whole:.1f} s  (limit {LIMIT_SHARE:.0%}: {fine})")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", nargs="*", default=["bookkeeping", "report"], help="bookkeeping, report")
    parts = parser.parse_args().part
    torch.set_num_threads(1)
    torch.manual_seed(0)
    if "bookkeeping" in parts:
        with tempfile.TemporaryDirectory() as folder:
            bookkeeping(Path(folder))
            many_perturbations(Path(folder))
    if "report" in parts:
        print("the masking report, as a share of a suite on 200 images")
        linear = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 10)).eval()
        share_of_suite("standard", linear, (3, 8, 8), "linear, 8 px")
        residual = GuidedNetwork("small_resnet", 10, image_shape=(3, 32, 32)).eval()
        share_of_suite("fast", residual, (3, 32, 32), "small residual, 32 px")


if __name__ == "__main__":
    main()
