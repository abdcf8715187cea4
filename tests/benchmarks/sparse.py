"""What simulated sparse targets leave of each measure: ``python -m tests.benchmarks.sparse``.

Responses to a tenth of the images: batches of random images, and batches that MinValidSampler fills. Two sides of 50 columns
share ten dimensions, with as much noise again.
"""

from __future__ import annotations

import torch
from torch import Tensor

from neuroalign import NeuralAlignmentLoss
from neuroalign.data import MinValidSampler

NUM, SHARE, V = 20_000, 0.1, 50
MEASURES = ("mse", "pearson", "cka", "rsa")


def simulate() -> tuple[Tensor, Tensor, Tensor]:
    """preds and target (image, column), complete, and which images have responses."""
    g = torch.Generator().manual_seed(0)
    signal = torch.randn(NUM, 10, generator=g)
    sides = [signal @ torch.randn(10, V, generator=g) / 10**0.5 + torch.randn(NUM, V, generator=g) for _ in range(2)]
    return sides[0], sides[1], torch.rand(NUM, generator=g) < SHARE


def measured(measure: str, batches: list[Tensor]) -> tuple[float, float, float]:
    """Share of batches with a gradient; the mean loss over all of them; that over those that had something to compare."""
    preds, target, valid = simulate()
    target[~valid] = torch.nan
    loss, values, told, moved = NeuralAlignmentLoss(measure), [], [], []
    for batch in batches:
        x = preds[batch].requires_grad_()
        value = loss(x, target[batch])
        moved.append(bool(torch.autograd.grad(value, x)[0].abs().sum() > 1e-5))
        values.append(value.detach())
        told.append(loss.last_valid)
    found, some = torch.stack(values), torch.stack(told)
    return sum(moved) / len(moved), float(found.mean()), float(found[some].mean())


def main() -> None:
    """Print the tables."""
    _, _, valid = simulate()
    for size in (8, 32, 256):
        g = torch.Generator().manual_seed(1)
        order = list(torch.randperm(NUM, generator=g).split(size))[:400]
        print(f"{size} images a batch, {len(order)} batches")
        for measure in MEASURES:
            share, over_all, over_some = measured(measure, order)
            print(
                f"  {measure:8} with a gradient {share:.2f}; mean {over_all:.2f}, where there was something {over_some:.2f}"
            )
    preds, target, _ = simulate()
    rows = torch.arange(NUM).split(32)[:400]
    complete = {m: torch.stack([NeuralAlignmentLoss(m)(preds[r], target[r]) for r in rows]).mean() for m in MEASURES}
    print("complete, 32 images:", {m: round(float(x), 2) for m, x in complete.items()})
    for min_valid in (4, 8, 16):
        sampler = MinValidSampler(valid, min_valid, 32)
        order = list(torch.tensor(list(sampler)).split(32))[:400]
        found = {m: tuple(round(x, 2) for x in measured(m, order)) for m in MEASURES}
        print(f"32 images, min_valid={min_valid}: {sampler.num_batches} batches an epoch for {-(-NUM // 32)}; {found}")


if __name__ == "__main__":
    main()
