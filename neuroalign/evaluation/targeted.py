"""Success rate of targeted attacks: the share of images predicted as their target, unlike accuracy under the attack."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from neuroalign.budgets import Budget
from neuroalign.evaluation.images import gathered_once
from neuroalign.evaluation.outcomes import outcomes
from neuroalign.evaluation.passes import PassOptions
from neuroalign.evaluation.requests import check_attack, check_budgets, eps_values, settings_of
from neuroalign.evaluation.result_table import result_table
from neuroalign.functional.intervals import wilson
from neuroalign.perturbations.attacks.base import Attack
from neuroalign.perturbations.attacks.minimal import MinimalNormAttack
from neuroalign.perturbations.classifier import Classifier
from neuroalign.perturbations.pixel_classifier import Logits, ModelInterface
from neuroalign.state import evaluating

__all__ = ["targeted_success"]


def targeted_success(
    model: nn.Module,
    dataloader: Iterable[Any],
    attack: Attack,
    eps: Budget | Iterable[Budget],
    *,
    logits: Logits | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    limit_batches: int | None = None,
    seed: int = 0,
    device: torch.device | str | None = None,
    progress: bool = False,
) -> pd.DataFrame:
    """Share of the images classified right that the model predicts as their target after a targeted attack.

    :func:`evaluate_robustness` and :func:`robustness_curve` count, for every attack, the images that keep their label: an
    image predicted as a third class is an error there, but no success here.

    Args:
        model: Classifier from images in [0, 1] to logits. It is not changed.
        dataloader: Batches; see :func:`evaluate_robustness`.
        attack: Attack made with ``targeted``, such as ``PGD(targeted=True)``.
        eps: Budgets, numbers in pixel units or texts such as "8/255". Each is attacked from scratch, except by attacks on the
            shortest perturbation, which run once.
        logits: Where the logits are in the model's output; see :func:`evaluate_robustness`.
        mean: Mean per channel of the normalisation that the loader's images have had; None means that they are pixels.
        std: Standard deviation per channel of the same.
        limit_batches: Maximum number of batches; None means all.
        seed: Seed of the global random generator, if the attack draws from it.
        device: Device to compute on; None means the model's.
        progress: Show a progress bar.

    Returns:
        One row per budget: ``perturbation``, ``eps``, ``success_rate``, ``ci_low``, ``ci_high`` (Wilson, 95 %),
        ``num_images`` (classified right without perturbation), ``num_reached``, ``norm``, ``settings``.

    Raises:
        TypeError: If the attack is not an :class:`Attack`.
        ValueError: If the attack is untargeted, no image is classified right, or images, labels or budgets are not valid.

    Example:
        >>> from neuroalign import PGD
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(12, 3)).eval()
        >>> images = torch.rand(8, 3, 2, 2)
        >>> loader = [(images, model(images).argmax(1))]
        >>> table = targeted_success(model, loader, PGD(targeted=True), [0.0, 1.0])
        >>> table["success_rate"].tolist()[0], table["num_images"].tolist()
        (0.0, [8, 8])

    Source:
        Carlini & Wagner 2017, arXiv 1608.04644.
    """
    budgets = eps_values(eps)
    check_attack(attack, budgets[0])
    if attack is None or attack.targeted is None:
        raise ValueError(f"{attack!r} is not targeted: make it with targeted=True, PGD(targeted=True) for instance")
    check_budgets(attack, budgets)
    options = PassOptions(ModelInterface(logits, mean, std), limit_batches, seed, device, progress)
    where, model = options.prepare(model)
    seen, reached = [torch.empty(0, dtype=torch.long, device=where)], [torch.empty(0, len(budgets), device=where)]
    with evaluating(model, seed):
        for batch in options.batches(dataloader, where, attack.name):
            classifier = Classifier(model, classes={"labels": batch.labels})
            rows = (~classifier.fooled(batch.images, batch.labels)).nonzero()[:, 0]
            if len(rows):
                chosen = batch.images[rows], batch.labels[rows], batch.index[rows.cpu()]
                seen.append(chosen[2].to(where))
                reached.append(_reached(attack, classifier, *chosen, budgets).float())
    counted = gathered_once(torch.cat(seen), torch.cat(reached))[1]
    if not len(counted):
        raise ValueError("no image is classified right, so there is nothing to attack")
    table = []
    for budget, num_reached in zip(budgets, counted.double().sum(0).tolist()):
        low, high = wilson(int(num_reached), len(counted))
        table.append(
            {
                "perturbation": attack.name,
                "norm": attack.norm,
                "eps": budget,
                "success_rate": num_reached / len(counted),
                "num_images": len(counted),
                "num_reached": int(num_reached),
                "ci_low": low,
                "ci_high": high,
                "settings": settings_of(attack),
            }
        )
    return result_table(
        pd.DataFrame(table),
        ["perturbation", "eps", "success_rate", "ci_low", "ci_high", "num_images", "num_reached"],
    )


def _reached(
    attack: Attack, classifier: Classifier, images: Tensor, labels: Tensor, index: Tensor, eps: list[float]
) -> Tensor:
    """Whether each image is predicted as its target at each budget: (stimulus, eps) bool."""
    if isinstance(attack, MinimalNormAttack):  # an image that it finds is predicted as its target, so not as its label
        grid, right = torch.tensor(eps, device=images.device), torch.ones_like(labels, dtype=torch.bool)
        return ~outcomes(attack, classifier, images, labels, index, grid, right).correct
    targets, columns = attack.aim(classifier, images, labels, index, None), []
    for budget in eps:
        radius = torch.full((len(images), 1, 1, 1), budget, device=images.device)
        found, _ = attack.search(classifier, images, labels, radius, index)
        columns.append(classifier.fooled(found, labels, targets))
    return torch.stack(columns, 1)
