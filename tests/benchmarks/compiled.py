"""A guided step compiled as one graph against the same step not compiled: ``python -m tests.benchmarks.compiled``.

CPU time of one thread, forward, backward and the predictor's pass, both sides in turn, median of the ratios. The first call
of a compiled step takes up to a minute, which is printed apart. For a GPU: ``python -m tests.benchmarks.gpu``.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

import neuroalign as na

NUM_VOXELS = 1084


def guided_loss(loss: nn.Module, side: int) -> Callable[[dict[str, Tensor]], Tensor]:
    shape = {"image_shape": (3, side, side)}
    network = na.GuidedNetwork("small_resnet", 10, heads={"V4": (None, NUM_VOXELS)}, **shape)
    guidance = na.PredictedGuidance({"V4": na.NeuralPredictor("small_resnet", NUM_VOXELS, **shape)}, loss)

    def function(batch: dict[str, Tensor]) -> Tensor:
        logits, responses = network(batch["image"], with_responses=True)
        return nn.functional.cross_entropy(logits, batch["label"]) + sum(guidance(responses, batch).values())

    return function


def seconds(function: Callable[[dict[str, Tensor]], Tensor], batch: dict[str, Tensor]) -> float:
    start = time.process_time()
    function(batch).backward()
    return time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=15)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    print("guided step, small_resnet, one head of 1084 voxels; time not compiled / compiled (1 = no gain)")
    for name, loss, side, size in (
        ("mse, 8 px, batches of 64", na.NeuralAlignmentLoss("mse"), 8, 64),
        ("mse, 32 px, batches of 64", na.NeuralAlignmentLoss("mse"), 32, 64),
    ):
        batch = {"image": torch.rand(size, 3, side, side), "label": torch.arange(size) % 10}
        plain = guided_loss(loss, side)
        torch.compiler.reset()
        compiled = torch.compile(plain, fullgraph=True)
        first = seconds(compiled, batch)
        seconds(plain, batch)
        ratios = [seconds(plain, batch) / seconds(compiled, batch) for _ in range(asked.repeats)]
        print(f"  {name:28s} {statistics.median(ratios):5.2f}  (first call {first:.0f} s)", flush=True)


if __name__ == "__main__":
    main()
