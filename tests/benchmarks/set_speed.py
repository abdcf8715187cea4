"""CPU time of the measures of sets, against their former forms and a peer: ``python -m tests.benchmarks.set_speed``.

One thread, sides in turn, medians of ratios (above 1: ours is faster), with the limit beside each. ``--former FOLDER`` names
another checkout of the package, whose losses are timed against these; without it that part is skipped.
"""

from __future__ import annotations

import argparse
import importlib
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from neuroalign.functional.cka import _median
from neuroalign.functional.matching import _transport, unit_correlations

MEASURES: list[tuple[str, dict[str, Any]]] = [
    ("cka", {}),
    ("cka", {"momentum": 0.9}),
    ("cka", {"voxel_corrected": True}),
    ("rbf_cka", {}),
    ("rsa", {}),
    ("rsa", {"dissimilarity": "correlation"}),
    ("rsa", {"comparison": "soft_spearman"}),
    ("rsa", {"comparison": "whitened_cosine"}),
    ("procrustes", {}),
    ("procrustes", {"alpha": 0.5}),
    ("soft_matching", {}),
]


def seconds(function: Callable[[], object], repeats: int) -> float:
    start = time.process_time()
    for _ in range(repeats):
        function()
    return (time.process_time() - start) / repeats


def ratio(other: Callable[[], object], ours: Callable[[], object], rounds: int) -> tuple[float, float]:
    """Median of other / ours in turn, and the median time of ours in ms; short ones are repeated within a turn."""
    other(), ours()
    repeats = max(1, int(0.03 / (seconds(ours, 1) + 1e-6)))
    pairs = [(seconds(other, repeats), seconds(ours, repeats)) for _ in range(rounds)]
    return statistics.median(a / b for a, b in pairs), 1e3 * statistics.median(b for _, b in pairs)


def step(loss: Callable[..., Tensor], x: Tensor, *others: Tensor) -> Tensor:
    return torch.autograd.grad(loss(x, *others), x)[0]


def sorted_median(d: Tensor) -> Tensor:
    """The former form: a boolean index and a sort of all entries."""
    places = torch.ones(len(d), len(d), dtype=torch.bool).triu(1).flatten().nonzero()[:, 0]
    m, flat = len(places), d.flatten()
    order = flat.detach()[places].sort(stable=True).indices
    return flat[places[order[[(m - 1) // 2, m // 2]]]].sum() / 2


def medians() -> None:
    print("rbf_cka's median, with its gradient: by sort / by selection")
    for n in (64, 256, 1000):
        x = torch.randn(n, 100)
        d = torch.cdist(x, x).square().requires_grad_()
        assert torch.equal(sorted_median(d), _median(d, None))
        value, time_ = ratio(partial(step, sorted_median, d), partial(step, partial(_median, known=None), d), 21)
        print(f"  {n} stimuli: {value:.1f}x (limit 1; {time_:.2f} ms)", flush=True)


def annealed(r: Tensor, a: Tensor, b: Tensor, temperature: float, tolerance: float) -> tuple[Tensor, Tensor]:
    """The former form: Sinkhorn's algorithm, the temperature lowered by halves from 0.5, asked for its error every 25."""
    r, a, b = r.double(), a.double(), b.double()
    f, g = torch.zeros_like(a), torch.zeros_like(b)
    current = max(temperature, 0.5)
    while True:
        last = current <= temperature
        for _ in range(100 if last else 2):
            kernel = ((r - f[:, None] - g) / current).exp()
            u, v = torch.ones_like(a), torch.ones_like(b)
            for _ in range(25):
                u = 1 / (kernel @ (b * v))
                v = 1 / (kernel.T @ (a * u))
            f, g = f - current * u.log(), g - current * v.log()
            if (u * (kernel @ (b * v)) - 1).abs().max() < tolerance:
                break
        if last:
            break
        current = max(current / 2, temperature)
    plan = ((r - f[:, None] - g) / temperature).exp() * a[:, None] * b
    return plan, a @ f + b @ g


def correlations(kind: str, stimuli: int, features: int, voxels: int) -> Tensor:
    g = torch.Generator().manual_seed(0)
    x, y = torch.randn(stimuli, features, generator=g), torch.randn(stimuli, voxels, generator=g)
    if kind == "linear":
        y = x @ torch.randn(features, voxels, generator=g) / features**0.5 + 0.5 * y
    elif kind == "matched":
        y = x[:, torch.randint(features, (voxels,), generator=g)] + 0.3 * y
    return unit_correlations(x, y, torch.ones(()).expand_as(y))[0]


def matching(rounds: int = 5) -> None:
    try:
        ot: Any = importlib.import_module("ot")
    except ImportError:
        ot = None
    print("Soft matching's coupling: former form / ours, POT's sinkhorn / ours")
    limits = {("independent", 0.05): 3, ("linear", 0.05): 3}
    for size in ((256, 512, 1084), (64, 40, 60)):
        for kind in ("independent", "linear", "matched"):
            r = correlations(kind, *size)
            a, b = (r.new_full((n,), 1 / n) for n in r.shape)
            for temperature in (0.05, 0.01):
                ours, _ = _transport(r, a, b, temperature, 1e-6)
                exact, _ = _transport(r, a, b, temperature, 1e-11)
                former, _ = annealed(r, a, b, temperature, 1e-5)
                errors = [float((p - exact).abs().max() / exact.max()) for p in (former, ours)]

                run = partial(_transport, r, a, b, temperature, 1e-6)
                gain, time_ = ratio(partial(annealed, r, a, b, temperature, 1e-5), run, rounds)
                peer = "POT is not installed"
                if ot is not None:
                    marginals_and_cost = (x.double().numpy() for x in (a, b, 1 - r))
                    sinkhorn = partial(ot.sinkhorn, *marginals_and_cost, temperature, "sinkhorn", 10_000)
                    peer = f"POT {ratio(sinkhorn, run, rounds)[0]:.1f}x"
                limit = limits.get((kind, temperature), 1) if size[1] == 512 else 1
                print(
                    f"  {kind} {size}, temperature {temperature}: {gain:.1f}x (limit {limit}; {time_:.1f} ms), {peer}; "
                    f"largest error / largest entry: former {errors[0]:.0e}, ours {errors[1]:.0e}",
                    flush=True,
                )


def package_of(folder: Path) -> ModuleType:
    """The package of another checkout, beside the one that is imported."""
    kept = {name: sys.modules.pop(name) for name in list(sys.modules) if name.split(".")[0] == "neuroalign"}
    sys.path.insert(0, str(folder))
    try:
        package = importlib.import_module("neuroalign")
        package.NeuralAlignmentLoss  # noqa: B018 - loaded by being named
        return package
    finally:
        sys.path.pop(0)
        for name in [name for name in sys.modules if name.split(".")[0] == "neuroalign"]:
            del sys.modules[name]
        sys.modules.update(kept)


def against(folder: Path, rounds: int = 15) -> None:
    import neuroalign

    former = package_of(folder)
    print(f"Forward and backward, former / ours (limit 1); the former is {former.__file__}")
    for n, features, voxels in ((256, 512, 1084), (64, 100, 300)):
        for missing in (0.0, 0.02):
            g = torch.Generator().manual_seed(0)
            x = torch.randn(n, features, generator=g).requires_grad_()
            y = x.detach() @ torch.randn(features, voxels, generator=g) / features**0.5
            y += torch.randn(n, voxels, generator=g)
            y[torch.rand(n, voxels, generator=g) < missing] = torch.nan
            if missing:
                y[3], y[:, 5] = torch.nan, torch.nan
            cells = []
            for name, options in MEASURES:
                if missing and ("voxel_corrected" in options or "whitened_cosine" in options.values()):
                    continue  # these forms need complete voxels, or pairs
                slow = name in ("soft_matching", "procrustes")
                losses = [package.NeuralAlignmentLoss(name, **options) for package in (former, neuroalign)]
                value, _ = ratio(partial(step, losses[0], x, y), partial(step, losses[1], x, y), 5 if slow else rounds)
                cells.append(f"{name} {''.join(f'{k}={v} ' for k, v in options.items())}{value:.2f}x")
            print(f"  {n} x {voxels}, {missing:.0%} missing: " + ", ".join(cells), flush=True)


def compiled(rounds: int = 9) -> None:
    """Minutes of compilation. On a CPU the products of matrices take most of the time, which no compiler shortens."""
    from neuroalign import NeuralAlignmentLoss

    print("Forward and backward, as it is / compiled by inductor (no limit)")
    for n, features, voxels in ((256, 512, 1084), (64, 100, 300)):
        x, y = torch.randn(n, features).requires_grad_(), torch.randn(n, voxels)
        for name in ("cka", "rsa", "procrustes"):
            loss, graph = NeuralAlignmentLoss(name), torch.compile(NeuralAlignmentLoss(name), fullgraph=True)
            value, time_ = ratio(partial(step, loss, x, y), partial(step, graph, x, y), rounds)
            print(f"  {name} {n} x {voxels}: {value:.2f}x ({time_:.2f} ms)", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--former", type=Path, help="another checkout of the package to compare with")
    parser.add_argument("parts", nargs="*", choices=["medians", "matching", "losses", "compiled", []], help="which")
    args = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    parts = args.parts or ["medians", "matching", "losses"]
    if "medians" in parts:
        medians()
    if "matching" in parts:
        matching()
    if "compiled" in parts:
        compiled()
    if "losses" in parts:
        if args.former is None:
            print("Forward and backward against a former checkout: skipped (--former FOLDER)")
        else:
            against(args.former)


if __name__ == "__main__":
    main()
