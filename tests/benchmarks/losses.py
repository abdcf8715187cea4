"""Ratios of time and memory against named peers on the same work: ``python -m tests.benchmarks.losses``.

Each row times both sides in turn, A B A B, and prints the median of the ratios. Memory is the growth of the process's
peak during one forward and backward pass, each in a fresh process.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time

import torch
from torch import nn

from neuroalign import (
    CategoryManifolds,
    GuidedClassificationTask,
    GuidedNetwork,
    ManifoldGuidanceLoss,
    NeuralPredictor,
    PredictedGuidance,
)
from tests.benchmarks.memory import peak_growth, print_growth

B, V, C, RANK = 256, 1084, 50, 300


def manifolds() -> CategoryManifolds:
    g = torch.Generator().manual_seed(0)
    bases = torch.linalg.qr(torch.randn(C, V, RANK, generator=g))[0]
    centers, radii = torch.randn(C, V, generator=g), torch.full((C,), 10.0)
    return CategoryManifolds(centers, radii, bases, torch.full((C,), RANK))


class GatherAndMultiply(nn.Module):
    """The straightforward form: projectors C x V x V, one gathered for every sample, a batched product."""

    def __init__(self, m: CategoryManifolds) -> None:
        super().__init__()
        self.m, self.projectors = m, torch.bmm(m.padded_bases, m.padded_bases.transpose(1, 2))

    def forward(self, z: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        present = labels.unique()
        rms = torch.stack([(z[labels == c] - self.m.centers[c]).square().sum(1).mean().sqrt() for c in present])
        centered = z - self.m.centers[labels]
        projected = torch.bmm(self.projectors.index_select(0, labels), centered[:, :, None])[:, :, 0]
        ratio = (centered - projected).norm(dim=1) / centered.norm(dim=1)
        subspace = torch.stack([ratio[labels == c].mean() for c in present]).mean()
        return (rms - self.m.radii[present]).relu().mean() + subspace


FORMS = {"ours": ManifoldGuidanceLoss, "gather": GatherAndMultiply}


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(1)
    return torch.randn(B, V, generator=g).requires_grad_(), torch.randint(C, (B,), generator=g)


def step(loss: nn.Module, z: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    value = loss(z, labels)
    return value.detach(), torch.autograd.grad(value, z)[0]


def seconds(function, repeats: int = 1) -> float:
    start = time.perf_counter()
    for _ in range(repeats):
        function()
    return (time.perf_counter() - start) / repeats


def ratio(slow, fast, rounds: int = 7, fast_repeats: int = 1) -> tuple[float, float, float]:
    """Median ratio and the two medians, rounds in turn after a warm-up."""
    slow(), fast()
    pairs = [(seconds(slow), seconds(fast, fast_repeats)) for _ in range(rounds)]
    return (
        statistics.median(a / b for a, b in pairs),
        statistics.median(a for a, _ in pairs),
        statistics.median(b for _, b in pairs),
    )


def measure_memory(form: str) -> None:
    loss, (z, labels) = FORMS[form](manifolds()), batch()
    print_growth(lambda: step(loss, z, labels))


def manifold_loss() -> None:
    m = manifolds()
    ours, gather, (z, labels) = ManifoldGuidanceLoss(m), GatherAndMultiply(m), batch()
    (value, gradient), (expected, reference) = step(ours, z, labels), step(gather, z, labels)
    error = float((gradient - reference).abs().max() / reference.abs().max())
    print(f"ManifoldGuidanceLoss, B {B}, V {V}, C {C}, rank {RANK}, forward and backward")
    print(f"  value differs by {abs(float(value / expected) - 1):.1e}, gradient by {error:.1e} (relative)")
    times, slow, fast = ratio(lambda: step(gather, z, labels), lambda: step(ours, z, labels), fast_repeats=10)
    print(f"  time: gather-and-bmm / ours = {times:.1f}x ({1e3 * slow:.0f} ms / {1e3 * fast:.1f} ms)")
    a, b = (peak_growth("tests.benchmarks.losses", form) for form in ("gather", "ours"))
    print(f"  extra memory: gather-and-bmm / ours = {a / max(b, 0.1):.0f}x ({a:.0f} MiB / {b:.1f} MiB)")


def guided_step(name: str, shape: tuple[int, int, int], size: int) -> None:
    images, labels = torch.rand(size, *shape), torch.randint(10, (size,))
    tasks = {}
    for guided in (True, False):
        predictor = NeuralPredictor(name, 300, image_shape=shape)
        heads = {"V4": (None, 300)} if guided else None
        guidance = PredictedGuidance({"V4": predictor}) if guided else None
        task = GuidedClassificationTask(GuidedNetwork(name, 10, heads, image_shape=shape), guidance)
        task.log = task.log_dict = lambda *args, **kwargs: None
        task._trainer = type("NoTrainer", (), {"datamodule": None})()
        optimizer = torch.optim.SGD(task.trainable_parameters(), 0.01)

        def one(task=task, optimizer=optimizer) -> None:
            optimizer.zero_grad()
            task.training_step({"image": images, "label": labels}, 1).backward()
            optimizer.step()

        tasks[guided] = one
    times, slow, fast = ratio(tasks[True], tasks[False])
    print(
        f"Training step of {name}, {size} images of {shape[1]} px, with a predictor of the trunk's size\n"
        f"  time: guided / unguided = {times:.2f}x ({1e3 * slow:.0f} ms / {1e3 * fast:.0f} ms)"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--memory", choices=FORMS)
    args = parser.parse_args()
    if args.memory:
        measure_memory(args.memory)
        return
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    manifold_loss()
    guided_step("small_resnet", (3, 32, 32), 64)
    guided_step("resnet18", (3, 32, 32), 32)
    print(import_time())


def import_time() -> str:
    def start(code: str) -> float:
        return seconds(lambda: subprocess.run([sys.executable, "-c", code], check=True))

    plain = [start("pass") for _ in range(15)]
    ours = [start("import neuroalign") for _ in range(15)]
    added = statistics.median(b - a for a, b in zip(plain, ours, strict=True))
    return f"import neuroalign: adds {1e3 * added:.1f} ms to Python's start"


if __name__ == "__main__":
    main()
