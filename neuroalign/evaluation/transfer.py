"""Transfer of attacks: accuracy of a network on perturbations made against another."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from neuroalign.budgets import Budget
from neuroalign.evaluation.images import gathered_once
from neuroalign.evaluation.passes import PassOptions
from neuroalign.evaluation.requests import check_attack
from neuroalign.evaluation.result_table import result_table
from neuroalign.functional.checks import check_labels
from neuroalign.functional.intervals import wilson
from neuroalign.perturbations.attacks.base import Attack
from neuroalign.perturbations.classifier import Classifier
from neuroalign.perturbations.pixel_classifier import Logits, ModelInterface
from neuroalign.state import evaluating

__all__ = ["transfer_matrix"]


def transfer_matrix(
    models: Mapping[str, nn.Module],
    dataloader: Iterable[Any],
    attack: Attack,
    eps: Budget,
    *,
    logits: Logits | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    limit_batches: int | None = None,
    seed: int = 0,
    device: torch.device | str | None = None,
    progress: bool = False,
) -> pd.DataFrame:
    """Accuracy of every network on perturbations made against every network, on the images that both get right.

    Args:
        models: One or more models, by name.
        dataloader: Batches; see :func:`evaluate_robustness`. It is read once.
        attack: Attack on the source.
        eps: Budget of the attack, a number in pixel units or a text such as "8/255".
        logits: Where the logits are in the models' outputs; see :func:`evaluate_robustness`. If models differ in this, or in
            the normalisation they need, wrap each as a :class:`PixelClassifier`.
        mean: Mean per channel of the normalisation that the loader's images have had; None means that they are pixels.
        std: Standard deviation per channel of the same.
        limit_batches: Maximum number of batches; None means all.
        seed: Seed of the global random generator, if the attack draws from it.
        device: Device to compute on; None means the first model's.
        progress: Show a progress bar.

    Returns:
        One row per pair: ``source``, ``target``, ``accuracy``, ``ci_low``, ``ci_high``, ``num_images`` (right in both without
        perturbation), ``num_correct``. A pair of the same source and target is the white-box attack. Accuracy and
        interval are NaN if no image is right in both.

    Example:
        >>> from neuroalign import PGD
        >>> make = lambda: nn.Sequential(nn.Flatten(), nn.Linear(12, 3))
        >>> loader = [(torch.rand(8, 3, 2, 2), torch.randint(3, (8,)))]
        >>> table = transfer_matrix({"a": make(), "b": make()}, loader, PGD(), eps=0.1)
        >>> table[["source", "target"]].values.tolist()
        [['a', 'a'], ['a', 'b'], ['b', 'a'], ['b', 'b']]
    """
    budget = check_attack(attack, eps)
    if budget is None:
        raise TypeError(f"the attack must be an Attack, such as PGD(); got {attack!r}")
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
                found, _ = attack.attempt(classifiers[source], x, y, budget, index=batch.index)
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
    return result_table(pd.DataFrame(table), ["source", "target", "accuracy", "ci_low", "ci_high", "num_images"])
