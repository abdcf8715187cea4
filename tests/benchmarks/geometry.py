"""Manifold capacity against the published algorithm: ``python -m tests.benchmarks.geometry``.

The published algorithm is written here from its formulas, in its own way: a quadratic program by cvxopt (default tolerances)
for each draw, and the directions that centres share by conjugate gradient with gradients from autograd, start by start, up to
1000 steps or a gradient of 1e-6. CPU time of the process on one thread, each side once on the same manifolds and the same
number of draws. Values stand beside their Monte-Carlo standard errors.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch

from neuroalign.functional import cone_projection, manifold_capacity
from tests.benchmarks.memory import peak_growth, print_growth

SIZES = ((50, 50, 512), (30, 200, 300))


def manifolds(num: int, points: int, width: int, dtype: torch.dtype = torch.float64) -> list[torch.Tensor]:
    g = torch.Generator().manual_seed(0)
    centers = torch.randn(num, 1, width, generator=g, dtype=dtype)
    shared = torch.randn(num, 1, 2, generator=g, dtype=dtype) @ torch.randn(2, width, generator=g, dtype=dtype)
    return list(centers + shared + torch.randn(num, points, width, generator=g, dtype=dtype))


def cpu_time(call: Callable[[], object]) -> tuple[float, object]:
    start = time.process_time()
    value = call()
    return time.process_time() - start, value


# --- the published algorithm ----------------------------------------------------------------------------------------


def cost(x: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    y = x @ v
    a = x @ x.T - y @ y.T
    r = a.diagonal()
    return 0.5 * (a.square() / (r[:, None] * r)).sum()


def tangent_gradient(x: torch.Tensor, v: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    v = v.detach().requires_grad_()
    value = cost(x, v)
    (gradient,) = torch.autograd.grad(value, v)
    return value.detach(), gradient - v.detach() @ (v.detach().T @ gradient)


def conjugate_gradient(x: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    value, gradient = tangent_gradient(x, v)
    direction, step = -gradient, 0.1
    for _ in range(1000):
        if float(gradient.norm()) < 1e-6:
            break
        slope = float((gradient * direction).sum())
        if slope >= 0:
            direction, slope = -gradient, -float(gradient.square().sum())
        step = min(2 * step, 1 / float(direction.norm()))
        for _ in range(40):
            trial = torch.linalg.qr(v + step * direction)[0]
            if float(cost(x, trial)) <= float(value) + 1e-4 * step * slope:
                break
            step /= 2
        else:
            break
        left, _, right = torch.linalg.svd(trial.T @ v)
        trial = trial @ (left @ right)
        value, new = tangent_gradient(x, trial)
        moved = direction - trial @ (trial.T @ direction)
        difference = new - (gradient - trial @ (trial.T @ gradient))
        below = float((moved * difference).sum())
        beta = max(0.0, float((new * difference).sum()) / below) if below > 0 else 0.0
        direction, v, gradient = -new + beta * moved, trial, new
    return v


def without_center_correlations(points: list[torch.Tensor], starts: int = 10) -> tuple[list[torch.Tensor], int]:
    mean = torch.cat(points).mean(0)
    centers = torch.stack([p.mean(0) for p in points])
    centers = centers - centers.mean(0)
    num = len(points)
    squares = torch.linalg.svdvals(centers).square()
    share = (squares.cumsum(0) / squares.sum()).numpy()
    most = min(int(np.argmax(share * (share < 0.95))) + 11, num - 2)
    q = torch.linalg.qr(centers.T)[0][:, : num - 1]
    x = centers @ q
    g = torch.Generator().manual_seed(0)
    last, best, left = torch.zeros(num - 1, 0, dtype=x.dtype), None, []
    for k in range(1, most + 1):
        solutions = []
        for _ in range(starts):
            start = torch.cat([(torch.randn(num, generator=g, dtype=x.dtype) @ x)[:, None], last], 1)
            v = conjugate_gradient(x, torch.linalg.qr(start)[0])
            kept = (x - x @ v @ v.T).norm(dim=1) / x.norm(dim=1)
            solutions.append((float(kept.min()), v))
        last = max(solutions, key=lambda pair: pair[0])[1]
        unit = torch.nn.functional.normalize(x - x @ last @ last.T, dim=1)
        left.append(float(((unit @ unit.T).abs().sum() - num) / (num * (num - 1))))
        if left[-1] == min(left):
            best = last
        if k > 4 and left[-1] > left[-2] > left[-3] > left[-4]:
            break
    directions = q @ best
    return [(p - mean) - (p - mean) @ directions @ directions.T for p in points], best.shape[1]


def one_program_per_draw(points: torch.Tensor, draws: int, rng: np.random.Generator) -> tuple[np.ndarray, float, float]:
    import cvxopt
    import cvxopt.solvers

    cvxopt.solvers.options["show_progress"] = False
    center = points.mean(0)
    shape = ((points - center) / center.norm()).numpy()
    if shape.shape[1] > len(shape):
        shape = shape @ np.linalg.qr(shape.T)[0]
    full = np.column_stack([shape, np.ones(len(shape))])
    size = shape.shape[1]
    eye, lines, zero = cvxopt.matrix(np.eye(size + 1)), cvxopt.matrix(full), cvxopt.matrix(np.zeros(len(full)))
    norms, anchors, cosines = np.zeros(draws), np.zeros((draws, size)), np.zeros(draws)
    for n in range(draws):
        t = rng.standard_normal(size + 1)
        anchor = full[np.argmax(full @ t)]
        if np.max(full @ t) >= 0:
            answer = cvxopt.solvers.qp(eye, cvxopt.matrix(-t), lines, zero)
            v, dual = np.array(answer["x"]).ravel(), np.array(answer["z"]).sum()
            if np.linalg.norm(v - t) >= 1e-8:
                anchor = (t - v) / dual
        norms[n] = max(t @ anchor, 0.0) ** 2 / (anchor @ anchor)
        anchors[n] = anchor[:-1]
        cosines[n] = t[:-1] @ anchor[:-1] / (np.linalg.norm(t[:-1]) * np.linalg.norm(anchor[:-1]))
    radius = np.sqrt(np.mean(np.sum((anchors - anchors.mean(0)) ** 2, axis=1)))
    return norms, float(radius), float(size * np.mean(cosines) ** 2)


# --- the comparison -------------------------------------------------------------------------------------------------


def against_the_published(num: int, points: int, width: int, draws: int) -> None:
    x = manifolds(num, points, width)
    mine, found = cpu_time(lambda: manifold_capacity(x, num_samples=draws))
    removal, (residual, removed) = cpu_time(lambda: without_center_correlations(x))
    rng = np.random.default_rng(0)
    programs, parts = cpu_time(lambda: [one_program_per_draw(p, draws, rng) for p in residual])
    inverse = np.mean([p[0].mean() for p in parts])
    error = np.sqrt(sum(p[0].var(ddof=1) / draws for p in parts)) / num / inverse**2
    print(f"P {num}, M {points}, N {width}, {draws} draws a manifold")
    print(
        f"  published   {removal + programs:8.1f} s CPU (removal {removal:.1f}, programs {programs:.1f})  "
        f"capacity {1 / inverse:.4f} +- {error:.4f}  radius {np.mean([p[1] for p in parts]):.4f}  "
        f"dimension {np.mean([p[2] for p in parts]):.3f}  removed {removed}"
    )
    print(
        f"  neuroalign  {mine:8.2f} s CPU  capacity {float(found.capacity):.4f} +- {float(found.capacity_error):.4f}  "
        f"radius {float(found.radius):.4f}  dimension {float(found.dimension):.3f}  removed {found.num_removed}  "
        f"KKT residual {float(found.residual):.0e}"
    )
    print(f"  ratio       {(removal + programs) / mine:8.1f}")


def against_scipy(num: int, points: int, width: int, draws: int) -> None:
    from scipy.optimize import nnls

    x = manifolds(num, points, width)
    shapes = []
    for p in x:
        shape = (p - p.mean(0)) / (p.mean(0)).norm()
        shape = shape @ torch.linalg.qr(shape.T)[0] if width > points else shape
        shapes.append(torch.cat([shape, torch.ones(points, 1, dtype=shape.dtype)], 1).T)
    s = torch.stack(shapes)
    t = torch.randn(num, draws, s.shape[1], dtype=s.dtype, generator=torch.Generator().manual_seed(0))
    cone_projection(s.mT @ s, t @ s)
    ratios = []
    for _ in range(3):
        mine, found = cpu_time(lambda: cone_projection(s.mT @ s, t @ s))
        matrices = [m.numpy().copy() for m in s]
        theirs, expected = cpu_time(
            lambda matrices=matrices: [[nnls(m, v)[0] for v in rows.numpy()] for m, rows in zip(matrices, t)]
        )
        ratios.append(theirs / mine)
    gap = float((found.coefficients - torch.tensor(np.array(expected))).abs().max())
    print(
        f"  projections, P {num}, M {points}, N {width}: scipy.optimize.nnls {theirs:.2f} s, neuroalign {mine:.2f} s, "
        f"ratio {sorted(ratios)[1]:.1f}; largest difference of a coefficient {gap:.0e}"
    )


def wide() -> object:
    x = torch.cat(manifolds(100, 100, 4096, torch.float32))
    return manifold_capacity(x, torch.arange(100).repeat_interleave(100))


def figure(path: Path) -> None:
    """Cost against each size, log-log."""
    import matplotlib.pyplot as plt

    base = {"P": 20, "M": 50, "N": 512, "draws": 200}
    ranges = {
        "P": (5, 10, 20, 40, 80, 160),
        "M": (12, 25, 50, 100, 200, 400),
        "N": (64, 256, 1024, 4096, 16384),
        "draws": (50, 100, 200, 400, 800, 1600),
    }
    names = {"P": "manifolds P", "M": "points per manifold M", "N": "features N", "draws": "draws per manifold"}
    fig, axes = plt.subplots(1, 4, figsize=(12, 3), sharey=True, layout="constrained")
    for axis, (name, values) in zip(axes, ranges.items()):
        seconds = {"remove": [], "keep": []}
        for value in values:
            size = base | {name: value}
            x = manifolds(size["P"], size["M"], size["N"], torch.float32)
            for mode, column in seconds.items():
                call = partial(manifold_capacity, x, num_samples=size["draws"], center_correlation=mode)
                runs = [cpu_time(call)[0] for _ in range(3)]
                column.append(sorted(runs)[1])
        for column, color, label in zip(
            seconds.values(), ("#0072B2", "#D55E00"), ("centre correlations removed", "centre correlations kept")
        ):
            axis.loglog(values, column, "o-", color=color, label=label)
        axis.set_xlabel(names[name])
        axis.set_xticks(values, list(map(str, values)), fontsize=8)
        axis.minorticks_off()
        axis.grid(True, which="major", alpha=0.3)
        axis.set_title(", ".join(f"{k} {v}" for k, v in base.items() if k != name), fontsize=9)
    axes[0].set_ylabel("CPU seconds (1 thread)")
    axes[0].legend(fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    fig.savefig(path, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=int, default=200, help="draws a manifold, both sides (fewer is quicker)")
    parser.add_argument("--figure", type=Path, help="write the figure of cost against size here and stop")
    parser.add_argument("--memory", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.memory:
        print_growth(wide)
        return
    torch.set_num_threads(1)
    if arguments.figure:
        figure(arguments.figure)
        return
    for size in SIZES:
        against_the_published(*size, arguments.draws)
    for size in SIZES:
        against_scipy(*size, arguments.draws)
    seconds, found = cpu_time(wide)
    growth = peak_growth("tests.benchmarks.geometry", "wide")
    print(
        f"P 100, M 100, N 4096: {seconds:.1f} s CPU, memory grows by {growth:.0f} "
        f"MiB, input included; capacity {float(found.capacity):.3f}"
    )


if __name__ == "__main__":
    main()
