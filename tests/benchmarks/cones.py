"""Projections on cones, against SciPy and the batched method alone: ``python -m tests.benchmarks.cones``.

CPU time of one thread; the three sides in turn on the same problems, medians of ratios. "filled" cones are the whole space:
a projection uses all dimensions. "manifold" cones are those of manifold capacity: the points of a manifold about its
centre and a last coordinate of 1, with centres of the given length.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from statistics import median
from unittest import mock

import numpy as np
import torch
from torch import Tensor

from neuroalign.functional import cone, cone_projection

SIZES = (
    (100, 10, 10), (20, 25, 20), (10, 50, 50), (5, 50, 200), (5, 100, 12), (10, 200, 60), (2, 400, 100),
    (2, 400, 400),
)  # fmt: skip
FASTER = {(10, 200, 60), (2, 400, 100)}  # where a filled cone must be five times faster than by the batched method


def problem(num: int, points: int, width: int, draws: int, length: float | None) -> tuple[Tensor, Tensor]:
    """Points (manifold, point, dimension) and targets (manifold, draw, dimension)."""
    g = torch.Generator().manual_seed(0)
    x = torch.randn(num, points, width, generator=g, dtype=torch.float64)
    if length is not None:
        x = x + length * torch.randn(num, 1, width, generator=g, dtype=torch.float64)
        center = x.mean(1, keepdim=True)
        x = (x - center) / center.norm(dim=2, keepdim=True)
        if width > points:
            x = torch.stack([p @ torch.linalg.qr(p.T)[0] for p in x])
        x = torch.cat([x, torch.ones(num, points, 1, dtype=x.dtype)], 2)
    return x, torch.randn(num, draws, x.shape[2], generator=g, dtype=torch.float64)


def cpu_time(call: Callable[[], object]) -> float:
    start = time.process_time()
    call()
    return time.process_time() - start


def row(size: tuple[int, int, int], length: float | None, draws: int, rounds: int) -> None:
    from scipy.optimize import nnls

    x, t = problem(*size, draws, length)
    gram, inner = x @ x.mT, t @ x.mT
    matrices = [p.T.numpy().copy() for p in x]

    def batched() -> object:
        with mock.patch.object(cone, "crowded_spans", return_value={}):
            return cone_projection(gram, inner)

    def by_scipy() -> object:
        return [[nnls(m, v)[0] for v in rows.numpy()] for m, rows in zip(matrices, t)]

    found = cone_projection(gram, inner)
    ours, plain, theirs = np.array(
        [[cpu_time(f) for f in (lambda: cone_projection(gram, inner), batched, by_scipy)] for _ in range(rounds)]
    ).T
    limit = 5.0 if length is None and size in FASTER else 0.9
    kind = "filled" if length is None else f"manifold, {length:g}"
    print(
        f"| {kind} | {size[0]} x {size[1]} x {size[2]} | {float(found.num_active.double().mean()):.1f} | "
        f"{median(plain / ours):.2f} | {limit} | {median(theirs / ours):.2f} | {float(found.residual.max()):.0e} |",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=int, default=200, help="targets for each cone")
    parser.add_argument("--rounds", type=int, default=3, help="timings of each side")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print("times as ratios: the batched method alone / ours, with its lower limit, and a loop over scipy's nnls / ours")
    print(
        "| cone | manifolds x points x dimensions | points in use | batched / ours | limit | nnls / ours | residual |"
    )
    print("|" + "---|" * 7)
    for length in (None, 0.0, 0.3, 1.0):
        for size in SIZES:
            row(size, length, arguments.draws, arguments.rounds)


if __name__ == "__main__":
    main()
