"""Voxel-wise measures against the same loss in plain torch: ``python -m tests.benchmarks.voxelwise``.

Forward and backward in one thread, CPU time, the two sides in turn, median of the ratios after a warm-up. Three cases:
nothing missing; 5 % of the responses missing; a noise ceiling. The plain form knows neither missing values nor ceilings: it
always gets complete responses. Memory is the growth of a fresh process's peak in one forward and backward pass.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as tf

from neuroalign import NeuralAlignmentLoss
from tests.benchmarks.memory import peak_growth, print_growth

SIZES = ((256, 1084), (1024, 20_000))
CASES = {"complete": 1.2, "missing": 2.0, "ceiling": 2.0}  # and the limit of each ratio to the plain form
MEMORY_LIMIT = 1.5


def plain_pearson(preds: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    p, t = preds - preds.mean(0), target - target.mean(0)
    return 1 - ((p * t).sum(0) / (p.norm(dim=0) * t.norm(dim=0))).mean()


def plain_pattern_pearson(preds: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    p, t = preds - preds.mean(1, keepdim=True), target - target.mean(1, keepdim=True)
    return 1 - ((p * t).sum(1) / (p.norm(dim=1) * t.norm(dim=1))).mean()


def plain_cosine(preds: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return 1 - tf.cosine_similarity(preds, target).mean()


def plain_gaussian(preds: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return tf.gaussian_nll_loss(preds, target, torch.full((), 0.5).expand_as(target))


def plain_poisson(preds: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return tf.poisson_nll_loss(preds, target)


PLAIN: dict[str, tuple[Callable[[torch.Tensor, torch.Tensor], torch.Tensor], str, dict[str, object]]] = {
    "mse": (tf.mse_loss, "mse", {}),
    "pearson": (plain_pearson, "pearson", {}),
    "pearson over voxels": (plain_pattern_pearson, "pearson", {"over": "voxels"}),
    "cosine": (plain_cosine, "cosine", {}),
    "gaussian_nll": (plain_gaussian, "gaussian_nll", {"variance": 0.5}),
    "poisson_nll": (plain_poisson, "poisson_nll", {}),
}


def data(name: str, size: tuple[int, int], case: str) -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(0)
    preds, target = torch.randn(size, generator=g), torch.randn(size, generator=g)
    if name == "poisson_nll":
        target = torch.poisson(target.abs(), generator=g)
    if case == "missing":
        target[torch.rand(size, generator=g) < 0.05] = torch.nan
    return preds.requires_grad_(), target


def ours(name: str, size: tuple[int, int], case: str) -> NeuralAlignmentLoss:
    _, measure, options = PLAIN[name]
    ceiling = torch.linspace(0.1, 0.9, size[1]) if case == "ceiling" else None
    return NeuralAlignmentLoss(measure, noise_ceiling=ceiling, **options)


def step(loss: Callable, preds: torch.Tensor, target: torch.Tensor) -> None:
    torch.autograd.grad(loss(preds, target), preds)


def against_plain(name: str, size: tuple[int, int], case: str, rounds: int) -> float:
    loss, given, complete = ours(name, size, case), data(name, size, case), data(name, size, "complete")
    repeats = max(1, 2_000_000 // (size[0] * size[1]))
    return ratio(lambda: step(loss, *given), lambda: step(PLAIN[name][0], *complete), rounds, repeats)


def seconds(call: Callable[[], object], repeats: int) -> float:
    start = time.process_time()
    for _ in range(repeats):
        call()
    return (time.process_time() - start) / repeats


def ratio(slow: Callable[[], object], fast: Callable[[], object], rounds: int, repeats: int) -> float:
    slow(), fast()
    return statistics.median(seconds(slow, repeats) / seconds(fast, repeats) for _ in range(rounds))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--memory", help="for one fresh process: NAME/CASE, with CASE 'plain' for the plain form")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--measure", action="append", choices=PLAIN, help="may be repeated; by default all")
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.memory:
        name, case = args.memory.split("/")
        preds, target = data(name, SIZES[1], case)
        loss = PLAIN[name][0] if case == "plain" else ours(name, SIZES[1], case)
        print_growth(lambda: step(loss, preds, target))
        return
    print(
        f"torch {torch.__version__}, 1 thread; time and memory of ours / plain torch; limits {CASES}, memory {MEMORY_LIMIT}"
    )
    for name in args.measure or PLAIN:
        for size in SIZES:
            found = {case: against_plain(name, size, case, args.rounds) for case in CASES}
            line = [f"{c} {found[c]:.2f}x{'' if found[c] <= CASES[c] else ' ABOVE THE LIMIT'}" for c in CASES]
            print(f"  {name:20} {size[0]:5} x {size[1]:6}: {', '.join(line)}", flush=True)
        peaks = {c: peak_growth("tests.benchmarks.voxelwise", f"{name}/{c}") for c in ("plain", *CASES)}
        shown = [f"{c} {peaks[c] / peaks['plain']:.2f}x" for c in CASES]
        print(
            f"  {name:20} memory of {SIZES[1][0]} x {SIZES[1][1]}: {', '.join(shown)} (plain {peaks['plain']:.0f} MiB)"
        )


if __name__ == "__main__":
    main()
