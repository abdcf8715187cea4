"""Steps and curves on a GPU, in under eight minutes: ``python -m tests.benchmarks.gpu``.

Prints the time of a guided training step beside that of an unguided one, for ResNet-18 and ResNet-50 at 224 pixels in
bfloat16 and channels_last, compiled and not, and the images per second of a robustness curve. The limit of a guided step is
one that knows its targets (no predictor runs): both are in the table. ``--smoke`` runs the same lines on a tiny network,
also on the CPU; its figures say nothing.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor, nn

import neuroalign as na

NUM_CLASSES, NUM_VOXELS, NUM_REGIONS = 100, 1084, 7


@dataclass(frozen=True)
class Size:
    """What is measured: (backbone, batch size) of the steps, image side, seconds per row, images of the curve."""

    backbones: tuple[tuple[str, int], ...] = (("resnet18", 256), ("resnet50", 128))
    side: int = 224
    seconds: float = 4.0
    total: float = 420.0
    images: int = 512
    compiled: bool = True
    voxels: int = NUM_VOXELS
    attack: na.PGD = field(default_factory=na.PGD.two_losses)


SMOKE = Size(
    (("small_resnet", 4),), 8, seconds=0.0, total=60.0, images=8, compiled=False, voxels=5, attack=na.PGD(steps=2)
)


def make(backbone: str, size: Size, device: torch.device, heads: int) -> na.GuidedNetwork:
    regions = {f"R{i}": (None, size.voxels) for i in range(heads)}
    network = na.GuidedNetwork(backbone, NUM_CLASSES, heads=regions, image_shape=(3, size.side, size.side))
    return network.to(device, memory_format=torch.channels_last)


def guidances(backbone: str, size: Size, device: torch.device) -> dict[str, tuple[int, nn.Module | None]]:
    """By name the number of heads and the guidance of a step."""
    shape = (3, size.side, size.side)

    def predictor() -> nn.Module:
        return na.NeuralPredictor(backbone, size.voxels, image_shape=shape).to(memory_format=torch.channels_last)

    regions = [f"R{i}" for i in range(NUM_REGIONS)]
    slices = {r: list(range(size.voxels)) for r in regions}
    return {
        "unguided": (0, None),
        "1 head, targets stored": (1, na.MeasuredGuidance("R0")),
        "1 head, predictor": (1, na.PredictedGuidance({"R0": predictor()})),
        f"{NUM_REGIONS} heads, targets stored": (NUM_REGIONS, na.MeasuredGuidance(slices)),
        f"{NUM_REGIONS} heads, one predictor": (
            NUM_REGIONS,
            na.PredictedGuidance(dict.fromkeys(regions, predictor())),
        ),
    }


def training_step(
    network: nn.Module, guidance: nn.Module | None, compiled: bool
) -> Callable[[dict[str, Tensor]], None]:
    """One step of gradient descent in bfloat16."""
    optimizer = torch.optim.SGD(network.parameters(), 0.01, momentum=0.9)

    def loss_of(batch: dict[str, Tensor]) -> Tensor:
        with torch.autocast(batch["image"].device.type, torch.bfloat16):
            logits, responses = network(batch["image"], with_responses=True)
            loss = nn.functional.cross_entropy(logits, batch["label"])
            return loss if guidance is None else loss + sum(guidance(responses, batch).values())

    forward = torch.compile(loss_of, fullgraph=True) if compiled else loss_of

    def step(batch: dict[str, Tensor]) -> None:
        optimizer.zero_grad(set_to_none=True)
        forward(batch).backward()
        optimizer.step()

    return step


def finished(device: torch.device) -> float:
    """The time at which the device has done all that was asked."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def seconds_a_step(step: Callable[[], None], device: torch.device, seconds: float) -> float:
    """Median seconds over groups of steps, after three steps of warm-up."""
    for _ in range(3):
        step()
    times, end = [], finished(device) + seconds
    while not times or (finished(device) < end and len(times) < 50):
        start = finished(device)
        for _ in range(5):
            step()
        times.append((finished(device) - start) / 5)
    return statistics.median(times)


def steps(size: Size, device: torch.device, deadline: float) -> None:
    for backbone, batch_size in size.backbones:
        image = torch.rand(batch_size, 3, size.side, size.side, device=device)
        batch = {
            "image": image.contiguous(memory_format=torch.channels_last),
            "label": torch.arange(batch_size, device=device) % NUM_CLASSES,
            "response": torch.randn(batch_size, size.voxels, device=device),
        }
        print(
            f"\n{backbone}, {size.side} px, batches of {batch_size}, bfloat16, channels_last: ms a step (times unguided)"
        )
        for compiled in (False, True) if size.compiled else (False,):
            print("  compiled as one graph" if compiled else "  not compiled")
            unguided = float("nan")
            for name, (heads, guidance) in guidances(backbone, size, device).items():
                if time.perf_counter() > deadline:
                    print(f"    {name:28s} left out: the time is over")
                    continue
                torch.manual_seed(0)
                torch.compiler.reset()
                network = make(backbone, size, device, heads)
                guidance = None if guidance is None else guidance.to(device)
                run = training_step(network, guidance, compiled)
                try:
                    took = seconds_a_step(partial(run, batch), device, size.seconds)
                except Exception as error:  # one row of a table must not end the others
                    print(f"    {name:28s} failed: {type(error).__name__}: {str(error).splitlines()[0][:80]}")
                    continue
                unguided = took if guidance is None else unguided
                print(f"    {name:28s} {1000 * took:8.2f}  ({took / unguided:.2f}x)")


def curve(size: Size, device: torch.device) -> None:
    """Images a second of a curve over ten budgets by the two-losses PGD, and of the forward passes it can't do without."""
    backbone = size.backbones[0][0]
    network = make(backbone, size, device, 0).eval()
    images = torch.rand(size.images, 3, size.side, size.side)
    labels = torch.cat([network(x.to(device)).argmax(1).cpu() for x in images.split(64)])  # so that all count
    batches = [{"image": x, "label": y} for x, y in zip(images.split(64), labels.split(64))]
    budgets = [i / 255 for i in (0, 0.25, 0.5, 1, 2, 3, 4, 6, 8, 16)]
    start = finished(device)
    na.robustness_curve(network, batches, size.attack, budgets)
    took = finished(device) - start
    with torch.no_grad():
        start = finished(device)
        for batch in batches:
            network(batch["image"].to(device))
        forward = finished(device) - start
    print(f"\nrobustness curve, {backbone}, {len(budgets)} budgets: {size.images / took:.1f} images/s "
          f"(a forward pass alone: {size.images / forward:.0f})")  # fmt: skip


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="a tiny network, to see that everything runs")
    asked = parser.parse_args(arguments)
    if not asked.smoke and not torch.cuda.is_available():
        raise SystemExit("this benchmark needs a GPU, and torch finds none: --smoke runs it small on the CPU")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    size, start = SMOKE if asked.smoke else Size(), time.perf_counter()
    print(f"{torch.cuda.get_device_name() if device.type == 'cuda' else 'CPU'}, torch {torch.__version__}")
    curve(size, device)
    steps(size, device, start + size.total)
    print(f"\n{time.perf_counter() - start:.0f} s in all")


if __name__ == "__main__":
    main()
