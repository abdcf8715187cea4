"""Ridge regression against its peers, a fit for each voxel, and the limit: ``python -m tests.benchmarks.ridge``.

CPU time of one thread, the sides in turn, median of the ratios after a warm-up. A peer that is not installed is said so.
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from neuroalign import functional as F
from neuroalign.functional import ridge_fit, ridge_penalty
from neuroalign.functional.cross_validation import ridge_loo
from neuroalign.functional.predictivity import PENALTIES, held_out_predictions
from tests.benchmarks.measures import PENALTIES as GRID
from tests.benchmarks.measures import N, P, V, sets

GAPS = [(128, 800, 0.05), (256, 1084, 0.02), (128, 800, 0.5)]


def cpu_seconds(function: Callable[[], object]) -> float:
    start = time.process_time()
    function()
    return time.process_time() - start


def in_turn(sides: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    for side in sides.values():
        side()
    return {
        name: list(times)
        for name, times in zip(sides, zip(*([cpu_seconds(side) for side in sides.values()] for _ in range(rounds))))
    }


def ratio(over: list[float], under: list[float]) -> float:
    return statistics.median(a / b for a, b in zip(over, under))


def himalaya(backend: str, x: object, y: object) -> object:
    from himalaya.backend import set_backend
    from himalaya.ridge import RidgeCV

    set_backend(backend)
    return RidgeCV(alphas=GRID, cv=5, fit_intercept=True).fit(x, y).best_alphas_


def complete(rounds: int) -> None:
    """Ten penalties in five folds, and the fit: himalaya, and the products of matrices that any way needs."""
    x, y = sets()
    left, right = torch.randn(len(GRID) * N // 5, P), torch.randn(P, V)
    sides: dict[str, Callable[[], object]] = {
        "ours": lambda: F.ridge_cv(x, y, GRID, num_folds=5),
        "limit": lambda: [left @ right for _ in range(5)],
    }
    if importlib.util.find_spec("himalaya") is None:
        print("himalaya is not installed (extra: peers)")
    else:
        a, b = x.numpy(), y.numpy()
        sides |= {
            "himalaya, torch": lambda: himalaya("torch", x, y),
            "himalaya, numpy": lambda: himalaya("numpy", a, b),
        }
    times = in_turn(sides, rounds)
    print(
        f"ridge_cv, {N} stimuli, {P} features, {V} voxels, {len(GRID)} penalties, 5 folds, float32: peer's time / ours"
    )
    for name in sides.keys() - {"ours", "limit"}:
        found = torch.as_tensor(np.asarray(sides[name]()), dtype=torch.float32)
        same = (F.ridge_cv(x, y, GRID).penalty / found - 1).abs().lt(1e-3).double().mean()
        print(f"  {name}: {ratio(times[name], times['ours']):.2f} (asked: 4 on torch); the same penalty in {same:.0%}")
    flops = 2 * len(GRID) * N * P * V
    print(
        f"  limit: predictions alone, {flops / 1e9:.1f} GFLOP at {flops / 1e9 / statistics.median(times['limit']):.0f} "
        f"GFLOP/s; ours takes {ratio(times['ours'], times['limit']):.2f} times as long",
        flush=True,
    )


def gaps(n: int, v: int, missing: float, p: int = 64) -> tuple[Tensor, Tensor, Tensor]:
    g = torch.Generator().manual_seed(0)
    x = torch.randn(n, p, generator=g)
    noise = torch.logspace(-1, 1.5, v) * torch.randn(n, v, generator=g)
    y = 0.3 * x @ torch.randn(p, v, generator=g) + noise
    y[torch.rand(n, v, generator=g) < missing] = torch.nan
    return x, y, torch.randn(40, p, generator=g)


def one_by_one(function: Callable[[], object]) -> Callable[[], object]:
    """The same with a fit for each set of valid stimuli that occurs."""

    def run() -> object:
        modules = (ridge_fit, ridge_penalty)
        kept = [module.sharing_voxels for module in modules]
        for module in modules:
            module.sharing_voxels = lambda valid, *_, **__: valid.new_zeros(valid.shape[1])
        try:
            return function()
        finally:
            for module, former in zip(modules, kept):
                module.sharing_voxels = former

    return run


def missing(rounds: int) -> None:
    """Missing values, scattered: one inverse for all voxels against a fit for each, and against complete data."""
    grid = torch.logspace(-1, 4, 6)
    print("| stimuli, voxels, missing | | a fit for each voxel / ours | ours / complete data (limit: 1) | equal |")
    print("|---|---|---|---|---|")
    for n, v, share in GAPS:
        x, y, query = gaps(n, v, share)
        whole = gaps(n, v, 0.0)[1]
        z = x.clone().requires_grad_()

        def gradient(y: Tensor, z: Tensor = z, query: Tensor = query) -> Tensor:
            return torch.autograd.grad(F.ridge(z, y, query).square().nansum(), z)[0]

        def held_out(y: Tensor, x: Tensor = x) -> Tensor:
            weight = (~y.isnan()).float() if bool(y.isnan().any()) else torch.ones(()).expand_as(y)
            return held_out_predictions(x, y.nan_to_num(0.0), weight, PENALTIES, 2)

        rows: dict[str, Callable[[Tensor], Tensor]] = {
            "ridge_gcv": lambda y, x=x: F.ridge_gcv(x, y, grid),
            "ridge_loo": lambda y, x=x: ridge_loo(x, y, grid).penalty,
            "ridge": lambda y, x=x, query=query: F.ridge(x, y, query),
            "ridge, gradient": gradient,
            "held-out predictions": held_out,
        }
        for name, function in rows.items():
            sides = {
                "ours": lambda f=function, y=y: f(y),
                "each": one_by_one(lambda f=function, y=y: f(y)),
                "complete": lambda f=function, y=whole: f(y),
            }
            times = in_turn(sides, rounds)
            found, expected = sides["ours"](), sides["each"]()
            equal = (
                f"{(found == expected).double().mean():.1%} of penalties"
                if found.ndim == 1
                else f"to {float((found - expected).norm() / expected.norm()):.0e}"
            )
            each, more = ratio(times["each"], times["ours"]), ratio(times["ours"], times["complete"])
            print(f"| {n}, {v}, {share:.0%} | {name} | {each:.1f} | {more:.1f} | {equal} |", flush=True)


PARTS = {"complete": complete, "missing": missing}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help="which; all of them by default")
    parser.add_argument("--rounds", type=int, default=5, help="measurements of each side")
    args = parser.parse_args()
    torch.set_num_threads(1)
    for part in args.parts or PARTS:
        PARTS[part](args.rounds)


if __name__ == "__main__":
    main()
