"""Where comparisons of sets mislead: the simulated figures of docs/losses.md. ``python -m tests.benchmarks.set_measures``."""

from __future__ import annotations

import argparse
import math

import torch
from torch import Tensor

from neuroalign import NeuralAlignmentLoss
from neuroalign import functional as F

ROWS, COLUMNS = 64, 200


def participation_ratio(x: Tensor) -> float:
    """(Sum of the covariance's eigenvalues)^2 / sum of their squares."""
    spectrum = torch.linalg.svdvals(x - x.mean(0)).square()
    return float(spectrum.sum().square() / spectrum.square().sum())


def repeats(draws: int = 400) -> None:
    """Independent sides of 64 rows, some of them second presentations: without and with the stimuli's identities."""
    measures = {"linear_cka": F.linear_cka, "rbf_cka": F.rbf_cka, "rsa": F.rsa}
    print(f"independent sides, {ROWS} rows of {COLUMNS} columns, mean of {draws}: untold | told the identities")
    print("| rows that come again | noise of a row | " + " | ".join(measures) + " |\n|" + "---|" * (2 + len(measures)))
    for noise in (0.0, 1.0):
        for again in (0, 1, 4, 16):
            g = torch.Generator().manual_seed(again)
            identity = torch.cat([torch.arange(ROWS - again), torch.arange(again)])
            values = torch.zeros(len(measures), 2)
            for _ in range(draws):
                x, y = (
                    torch.randn(ROWS - again, COLUMNS, generator=g)[identity]
                    + noise * torch.randn(ROWS, COLUMNS, generator=g)
                    for _ in range(2)
                )
                for row, f in zip(values, measures.values()):
                    row += torch.stack([f(x, y), f(x, y, stimulus=identity)]) / draws
            cells = " | ".join(f"{a:.3f} \\| {b:.3f}" for a, b in values.tolist())
            print(f"| {again} | {noise:g} | {cells} |", flush=True)


def unequal_noise(draws: int = 100) -> None:
    """Two sets of pure noise, averaged over one trial in half of the stimuli and over three in the others."""
    g = torch.Generator().manual_seed(0)
    scale = torch.where(torch.arange(ROWS) < ROWS // 2, 1.0, 1 / math.sqrt(3))[:, None]
    rows: dict[str, list[Tensor]] = {}
    for _ in range(draws):
        x, y = (scale * torch.randn(ROWS, COLUMNS, generator=g) for _ in range(2))
        for comparison in ("pearson", "spearman", "cosine", "whitened_cosine"):
            rows.setdefault(f"rsa {comparison}", []).append(F.rsa(x, y, comparison=comparison))
        for dissimilarity in ("correlation", "cosine"):
            rows.setdefault(f"rsa of {dissimilarity}", []).append(F.rsa(x, y, dissimilarity=dissimilarity))
        rows.setdefault("linear_cka", []).append(F.linear_cka(x, y))
        rows.setdefault("rbf_cka", []).append(F.rbf_cka(x, y))
    print(f"pure noise, half of {ROWS} stimuli of 1 trial, half of 3; {COLUMNS} columns, mean ± sd of {draws}")
    for name, values in rows.items():
        v = torch.stack(values)
        print(f"  {name}: {v.mean():.2f} ± {v.std():.2f}", flush=True)


def noise_above_truth(draws: int = 10) -> None:
    """The loss of the noiseless signal, and of a random code of 1,000 columns, against noisy responses."""
    print("| dissimilarity, comparison | " + " | ".join(f"noise {sd:g} sd" for sd in (0, 0.5, 1, 1.5, 3)) + " |")
    for dissimilarity in ("sqeuclidean", "correlation", "cosine"):
        for comparison in ("cosine", "whitened_cosine", "pearson"):
            cells = []
            for sd in (0, 0.5, 1, 1.5, 3):
                g, pairs = torch.Generator().manual_seed(0), torch.zeros(2)
                for _ in range(draws):
                    s = torch.randn(256, 5, generator=g) @ torch.randn(5, 100, generator=g)
                    y = s + sd * s.std() * torch.randn(256, 100, generator=g)
                    code = torch.randn(256, 1000, generator=g)
                    options = {"dissimilarity": dissimilarity, "comparison": comparison}
                    pairs += torch.stack([1 - F.rsa(z, y, **options) for z in (s, code)]) / draws
                cells.append(f"{pairs[0]:.3f} \\| {pairs[1]:.3f}")
            print(f"| {dissimilarity}, {comparison} | " + " | ".join(cells) + " |", flush=True)


DESCENDED = [
    ("mse", {}),
    ("cka", {}),
    ("cka", {"debiased": False}),
    ("rsa", {}),
    ("rsa", {"comparison": "whitened_cosine"}),
    ("procrustes", {}),
    ("soft_matching", {}),
    ("ridge", {}),
]


def descent(seeds: int = 3) -> None:
    """A linear encoder of 40 columns fitted to 100 noisy voxels: the dimension of what each measure learns, by batch size.

    The voxels hold a signal of five latent dimensions and noise of 1.5 times its standard deviation. Adam at .02, decaying
    to 0; dimension and debiased CKA with the signal on 1,024 other stimuli.
    """
    sizes = {8: 800, 32: 500, 256: 250}
    print("participation ratio of the solution, debiased CKA with the signal: mean over seeds")
    print("| measure | " + " | ".join(f"batches of {n}" for n in sizes) + " |\n|" + "---|" * (1 + len(sizes)))
    truth = 0.0
    for name, options in DESCENDED:
        cells = []
        for n, steps in sizes.items():
            ratio = alike = truth = 0.0
            for seed in range(seeds):
                g = torch.Generator().manual_seed(seed)
                read = torch.linalg.qr(torch.randn(40, 5, generator=g))[0] @ torch.randn(5, 100, generator=g)
                w = (0.1 * torch.randn(40, 100, generator=g)).requires_grad_()
                loss, optimizer = NeuralAlignmentLoss(name, **options), torch.optim.Adam([w], 0.02)
                schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
                for _ in range(steps):
                    x = torch.randn(n, 40, generator=g)
                    y = x @ read
                    y = y + 1.5 * read.square().sum(0).mean().sqrt() * torch.randn(n, 100, generator=g)
                    optimizer.zero_grad()
                    loss(x @ w, y).backward()
                    optimizer.step()
                    schedule.step()
                x = torch.randn(1024, 40, generator=g)
                found = (x @ w).detach()
                ratio += participation_ratio(found) / seeds
                truth += participation_ratio(x @ read) / seeds
                alike += float(F.linear_cka(found, x @ read)) / seeds
            cells.append(f"{ratio:.1f}, {alike:.2f}")
        given = "".join(f", {k}={v!r}" for k, v in options.items())
        print(f'| `"{name}"{given}` | ' + " | ".join(cells) + " |", flush=True)
    print(f"participation ratio of the signal: {truth:.1f}")


PARTS = {"repeats": repeats, "unequal_noise": unequal_noise, "noise_above_truth": noise_above_truth, "descent": descent}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help="which; all of them by default")
    args = parser.parse_args()
    torch.set_num_threads(1)
    for part in args.parts or PARTS:
        PARTS[part]()


if __name__ == "__main__":
    main()
