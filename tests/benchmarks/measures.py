"""Ratios of time against named peers on the same work: ``python -m tests.benchmarks.measures``.

n 1000 stimuli, 512 features, 2000 voxels, float32, 2 threads. CPU time, the two sides in turn, median of the ratios after a
warm-up; the peak of memory is the growth of a fresh process's peak in one call. A peer that is not installed is said so.
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch

from neuroalign import NeuralAlignmentLoss
from neuroalign import functional as F
from neuroalign.losses import MEASURES
from tests.benchmarks.memory import peak_growth, print_growth

N, P, V = 1000, 512, 2000
PENALTIES = np.logspace(0, 5, 10)


def sets(v: int = V) -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(0)
    x = torch.randn(N, P, generator=g)
    return x, 0.05 * x @ torch.randn(P, v, generator=g) + torch.randn(N, v, generator=g)


def gradient(function: Callable, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    z = x.detach().requires_grad_()
    return torch.autograd.grad(function(z, y), z)[0]


def biased_by_features(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Biased CKA through Gram matrices of features, as it is mostly written."""
    x, y = x - x.mean(0), y - y.mean(0)
    return (x.T @ y).square().sum() / ((x.T @ x).norm() * (y.T @ y).norm())


def padded_svd(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Procrustes similarity by the SVD of the cross-product of zero-padded sides (netrep's way, in torch)."""
    x, y = x - x.mean(0), y - y.mean(0)
    width = max(x.shape[1], y.shape[1])
    x, y = (torch.nn.functional.pad(z, (0, width - z.shape[1])) for z in (x, y))
    return torch.linalg.svd(x.T @ y)[1].sum() / (x.norm() * y.norm())


def pytorch_cka(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    from cka import cka_from_features

    return cka_from_features(x, y)


def rsatoolbox_rsa(x: torch.Tensor, y: torch.Tensor) -> float:
    from rsatoolbox.data import Dataset
    from rsatoolbox.rdm import calc_rdm, compare

    rdms = [calc_rdm(Dataset(z.numpy()), "correlation") for z in (x, y)]
    return float(np.squeeze(compare(*rdms, "corr")))


def himalaya_ridge(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    from himalaya.backend import set_backend
    from himalaya.ridge import RidgeCV

    set_backend("torch")
    return RidgeCV(alphas=PENALTIES, cv=5, fit_intercept=True).fit(x, y).best_alphas_


def our_ridge(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return F.ridge_cv(x, y, PENALTIES, num_folds=5).penalty


def our_rsa(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return F.rsa(x, y, dissimilarity="correlation")


ROWS = [
    ("debiased linear CKA, forward", "pytorch-cka", "cka", pytorch_cka, F.linear_cka),
    (
        "linear CKA, forward and backward (debiased / biased)",
        "Grams of features",
        "torch",
        lambda x, y: gradient(biased_by_features, x, y),
        lambda x, y: gradient(F.linear_cka, x, y),
    ),
    ("Procrustes similarity, forward", "SVD of the padded cross-product", "torch", padded_svd, F.procrustes),
    ("RSA, correlation distance, forward", "rsatoolbox", "rsatoolbox", rsatoolbox_rsa, our_rsa),
    ("ridge, 10 penalties, 5 folds, and the fit", "himalaya RidgeCV (torch)", "himalaya", himalaya_ridge, our_ridge),
]


def cpu_seconds(function: Callable, *args: object) -> float:
    start = time.process_time()
    function(*args)
    return time.process_time() - start


def compare(peer: Callable, ours: Callable, rounds: int) -> tuple[float, float, float]:
    x, y = sets()
    peer(x, y), ours(x, y)
    pairs = [(cpu_seconds(peer, x, y), cpu_seconds(ours, x, y)) for _ in range(rounds)]
    a, b = (statistics.median(side) for side in zip(*pairs))
    return statistics.median(p / o for p, o in pairs), a, b


def agreement(peer: Callable, ours: Callable) -> str:
    """How far the results are apart, where both sides give the same quantity."""
    x, y = sets()
    a, b = torch.as_tensor(peer(x, y)).double().flatten(), torch.as_tensor(ours(x, y)).double().flatten()
    if len(a) == V:
        return f"{float(((a / b - 1).abs() < 1e-3).double().mean()):.1%} of the penalties equal"
    return f"values {float(a[0]):.5f} and {float(b[0]):.5f}" if len(a) == 1 else ""


def memory(row: int, side: str) -> float:
    """MiB that one call adds to the peak of a fresh process."""
    return peak_growth("tests.benchmarks.measures", f"{row}:{side}")


def measure_memory(row: int, side: str) -> None:
    function = ROWS[row][3 if side == "peer" else 4]
    x, y = sets()
    function(x[:200, :60].contiguous(), y[:200, :50].contiguous())  # what libraries take once
    print_growth(lambda: function(x, y))


def step_costs(batch: int = 256, voxels: int = 1084) -> None:
    """CPU time of one forward and backward pass of each measure, next to a plain mean squared error."""
    x, y = (z[:batch, :voxels].contiguous() for z in sets())
    same = torch.randn(batch, voxels)
    print(f"a step (forward and backward) of each measure, {batch} stimuli, {P} features, {voxels} voxels:")
    for name, measure in MEASURES.items():
        loss, target = NeuralAlignmentLoss(name), y.exp().round() if measure.counts else y
        preds = same if measure.paired else x
        gradient(loss, preds, target)
        times = [cpu_seconds(gradient, loss, preds, target) for _ in range(5)]
        print(f"  {name}: {1e3 * statistics.median(times):.1f} ms")


SHOWN = [
    ("cka", {}),
    ("cka", {"momentum": 0.9}),
    ("cka", {"debiased": False}),
    ("rbf_cka", {}),
    ("rsa", {}),
    ("rsa", {"dissimilarity": "correlation"}),
    ("procrustes", {}),
    ("procrustes", {"alpha": 0.5}),
    ("soft_matching", {}),
    ("ridge", {}),
]


def bias(draws: int = 40, width: int = 200, sizes: tuple[int, ...] = (16, 64, 256)) -> None:
    """1 - loss, mean and standard deviation over batches: of independent sides, and of sides that share a signal.

    Simulated: ten latent dimensions, read by each column with standard normal weights, and as much noise again.
    """
    g = torch.Generator().manual_seed(0)
    weights = torch.randn(2, 10, width, generator=g)

    def batch(n: int, related: bool) -> tuple[torch.Tensor, torch.Tensor]:
        z = torch.randn(2, n, 10, generator=g)
        x, y = (
            (z[0] if related else z[i]) @ weights[i] + 10**0.5 * torch.randn(n, width, generator=g) for i in range(2)
        )
        return x, y

    print(f"similarity (1 - loss) of simulated batches, {width} columns a side: independent | sharing their signal")
    print("| measure | " + " | ".join(f"{n} stimuli" for n in sizes) + " |\n|" + "---|" * (len(sizes) + 1))
    for name, options in SHOWN:
        cells = []
        for n in sizes:
            parts = []
            for related in (False, True):
                loss = NeuralAlignmentLoss(name, **options)
                values = torch.tensor([1 - float(loss(*batch(n, related))) for _ in range(draws + 20)])[20:]
                parts.append(f"{values.mean():.2f} ± {values.std():.2f}")
            cells.append(" \\| ".join(parts))
        given = "".join(f", {k}={v!r}" for k, v in options.items())
        print(f'| `"{name}"{given}` | ' + " | ".join(cells) + " |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--memory")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--bias", action="store_true", help="similarity of independent and related data by batch size")
    args = parser.parse_args()
    torch.set_num_threads(2)
    if args.memory:
        row, side = args.memory.split(":")
        measure_memory(int(row), side)
        return
    if args.bias:
        bias()
        return
    print(f"torch {torch.__version__}, n {N}, p {P}, v {V}, float32, {torch.get_num_threads()} threads, CPU time")
    for i, (what, name, package, peer, ours) in enumerate(ROWS):
        if importlib.util.find_spec(package) is None:
            print(f"{what}: {name} is not installed (extra: peers)")
            continue
        ratio, a, b = compare(peer, ours, args.rounds)
        print(f"{what}\n  time: {name} / ours = {ratio:.2f}x ({1e3 * a:.0f} ms / {1e3 * b:.0f} ms)")
        print(f"  extra memory: {memory(i, 'peer'):.0f} MiB / {memory(i, 'ours'):.0f} MiB")
        if text := agreement(peer, ours):
            print(f"  {text}")
    step_costs()


if __name__ == "__main__":
    main()
