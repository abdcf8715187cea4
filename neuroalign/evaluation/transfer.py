"""Whether what fools one network fools another."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from neuroalign.evaluation.images import gathered_once
from neuroalign.evaluation.passes import PassOptions
from neuroalign.evaluation.requests import check_attack
from neuroalign.functional.checks import check_labels
from neuroalign.functional.intervals import wilson
from neuroalign.perturbations.attacks.base import Attack, Classifier
from neuroalign.perturbations.pixel_classifier import Logits, ModelInterface
from neuroalign.state import evaluating


def transfer_matrix(
    models: Mapping[str, nn.Module],
    dataloader: Iterable[Any],
    attack: Attack,
    eps: float,
    *,
    logits: Logits | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    limit_batches: int | None = None,
    seed: int = 0,
    device: torch.device | str | None = None,
    progress: bool = False,
) -> pd.DataFrame:
    """Accuracy of every network on perturbations made against every other, on the images that both get right.

    Args:
        models: At least one, by name.
        dataloader: Batches; see :func:`evaluate_robustness`. It is gone through once.
        attack: Made against the source.
        eps: Its budget.
        logits: Where the logits are in the models' outputs; see :func:`evaluate_robustness`. Models that differ in that, or
            in the normalisation they need, come as :class:`PixelClassifier`, each with its own.
        mean: Per channel, of the normalisation that the loader's images have had; None where they are pixels.
        std: Per channel.
        limit_batches: Use only so many batches.
        seed: Of whatever the attack draws from the global generator.
        device: Where to compute; default where the first model is.
        progress: Show a progress bar.

    Returns:
        A row for each pair: ``source``, ``target``, ``accuracy``, ``num_images`` (right in both without perturbation),
        ``num_correct``, ``ci_low``, ``ci_high``. Source and target alike: the white box. NaN where no image is right in
        both.

    Example:
        >>> from neuroalign import PGD
        >>> make = lambda: nn.Sequential(nn.Flatten(), nn.Linear(12, 3))
        >>> loader = [(torch.rand(8, 3, 2, 2), torch.randint(3, (8,)))]
        >>> table = transfer_matrix({"a": make(), "b": make()}, loader, PGD(), eps=0.1)
        >>> table[["source", "target"]].values.tolist()
        [['a', 'a'], ['a', 'b'], ['b', 'a'], ['b', 'b']]
    """
    check_attack(attack, eps)
    names = list(models)
    if not names:
        raise ValueError("give at least one model")
    options = PassOptions(ModelInterface(logits, mean, std), limit_batches, seed, device, progress)
    where, _ = options.prepare(models[names[0]])
    models = {name: options.interface.classifier(model) for name, model in models.items()}
    pairs = [(i, j) for i in names for j in names]
    seen, outcomes = [torch.empty(0, dtype=torch.long, device=where)], [torch.empty(0, len(pairs), 2, device=where)]
    classifiers = {name: Classifier(model) for name, model in models.items()}
    with evaluating(nn.ModuleList(models.values()), seed):
        for batch in options.batches(dataloader, where, "transfer"):
            x, y = batch.images, batch.labels
            right = {}
            for name, classifier in classifiers.items():
                scores = classifier.logits(x)
                check_labels(y, scores.shape[1])
                right[name] = scores.argmax(1) == y
            rows = []
            for source in names:
                found, _ = attack.attempt(classifiers[source], x, y, eps, index=batch.index)
                for target in names:
                    both = right[source] & right[target]
                    still = both & ~classifiers[target].fooled(found, y)
                    rows.append(torch.stack([still, both], 1).float())
            seen.append(batch.index.to(where))
            outcomes.append(torch.stack(rows, 1))
    totals = gathered_once(torch.cat(seen), torch.cat(outcomes))[1].double().sum(0)
    table = []
    for (source, target), (num_correct, total) in zip(pairs, totals.tolist()):
        low, high = wilson(int(num_correct), int(total)) if total else (np.nan, np.nan)
        table.append(
            {
                "source": source,
                "target": target,
                "accuracy": num_correct / total if total else np.nan,
                "num_images": int(total),
                "num_correct": int(num_correct),
                "ci_low": low,
                "ci_high": high,
            }
        )
    return pd.DataFrame(table)
