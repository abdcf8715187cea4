"""Accuracy under perturbations, of any model, leaving no trace in it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import nn

from neuroalign.evaluation.measurement import Measurement, measure
from neuroalign.evaluation.passes import PassOptions
from neuroalign.evaluation.requests import Budgets, Perturbations, budgets_of, named
from neuroalign.evaluation.tables import measured_accuracy, measured_images
from neuroalign.perturbations.pixel_classifier import Logits, ModelInterface


def per_image_robustness(
    model: nn.Module,
    dataloader: Iterable[Any],
    perturbations: Perturbations,
    eps: Budgets | None = None,
    *,
    logits: Logits | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    exhaustive: bool = False,
    limit_batches: int | None = None,
    seed: int = 0,
    device: torch.device | str | None = None,
    progress: bool = False,
    checkpoint: str | Path | None = None,
) -> pd.DataFrame:
    """Whether each image is still classified right, under each perturbation at each budget.

    What paired comparisons of networks need; :func:`evaluate_robustness` counts it up and has the same arguments.

    Returns:
        A row for every perturbation, budget and image: ``perturbation``, ``eps``, ``stimulus``, ``label``,
        ``correct``, ``clean_correct``.

    Raises:
        ValueError: If images are not in [0, 1] (normalised, perhaps), the loader is empty, or logits are NaN.

    Example:
        >>> from neuroalign import FGSM
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(12, 3))
        >>> table = per_image_robustness(model, [(torch.rand(8, 3, 2, 2), torch.randint(3, (8,)))], FGSM(), 0.1)
        >>> len(table), bool((table["correct"] <= table["clean_correct"]).all())
        (8, True)
    """
    options = PassOptions(ModelInterface(logits, mean, std), limit_batches, seed, device, progress, checkpoint)
    found = measure_robustness(model, dataloader, perturbations, eps, options, exhaustive=exhaustive)
    return pd.concat(map(measured_images, found), ignore_index=True)


def evaluate_robustness(
    model: nn.Module,
    dataloader: Iterable[Any],
    perturbations: Perturbations,
    eps: Budgets | None = None,
    *,
    logits: Logits | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    exhaustive: bool = False,
    limit_batches: int | None = None,
    seed: int = 0,
    device: torch.device | str | None = None,
    progress: bool = False,
    checkpoint: str | Path | None = None,
) -> pd.DataFrame:
    """Accuracy of a classifier under each perturbation at each budget. No Trainer needed.

    A robust image is one that is still classified right; to an attack, clean errors count as errors. The model is left
    as it was: modes, gradients, buffers and random generators.

    Attacks that search a ball measure all budgets in one pass (see :func:`robustness_curve`), where what fools at a budget
    counts at every larger one; single steps and callables of your own are evaluated at each budget as they are.
    Perturbations without a budget get one row; of those that know no model, such as :class:`Corruption`, it is the plain
    accuracy on changed images, whatever the model said before.

    Args:
        model: From images in [0, 1] to logits, its normalisation inside; for others see ``logits`` and ``mean``.
        dataloader: Batches as dicts with ``image`` and ``label`` (and ``stimulus``, the image's identity, which seeds
            random starts; default its place in the data) or pairs.
        perturbations: One, several, or several by name.
        eps: Budgets in pixel units: a number or several, for all perturbations or by their name, ``{"fgsm-linf": 0.03,
            "deepfool-l2": [0.5, 1.0]}``: one number means different things in two norms.
        logits: Where the logits are in the model's output, if it isn't they: a key, an index, or a function of the output.
        mean: Per channel, of the normalisation that the loader's images have had; None where they are pixels. They are
            brought back to pixels, so that budgets are in pixel units, and normalised again for the model.
        std: Per channel.
        exhaustive: Attack at every budget from scratch; see :func:`robustness_curve` for what else is measured.
        limit_batches: Use only so many batches.
        seed: Of whatever a perturbation draws from the global generator.
        device: Where to compute; default where the model is.
        progress: Show a progress bar.
        checkpoint: A file to which results go batch by batch; a second call with the same arguments goes on from there.

    Returns:
        A row for every perturbation and budget: ``perturbation``, ``norm``, ``eps`` (NaN without a budget),
        ``accuracy``, ``num_images``, ``num_correct``, ``ci_low`` and ``ci_high`` (Wilson, 95 %), ``clean_accuracy``,
        ``attack_success_rate`` (share of the clean successes that fell), ``settings``.

    Raises:
        ValueError: If images are not in [0, 1] (normalised, perhaps), the loader is empty, or logits are NaN.

    Example:
        >>> from neuroalign import FGSM
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(12, 3))
        >>> loader = [(torch.rand(8, 3, 2, 2), torch.randint(3, (8,)))]
        >>> table = evaluate_robustness(model, loader, FGSM(), [0.0, 0.1])
        >>> table[["perturbation", "eps", "num_images"]].values.tolist()
        [['fgsm-linf', 0.0, 8], ['fgsm-linf', 0.1, 8]]
    """
    options = PassOptions(ModelInterface(logits, mean, std), limit_batches, seed, device, progress, checkpoint)
    found = measure_robustness(model, dataloader, perturbations, eps, options, exhaustive=exhaustive)
    return pd.concat(map(measured_accuracy, found), ignore_index=True)


def measure_robustness(
    model: nn.Module,
    dataloader: Iterable[Any],
    perturbations: Perturbations,
    eps: Budgets | None,
    options: PassOptions,
    *,
    exhaustive: bool = False,
) -> list[Measurement]:
    """What :func:`evaluate_robustness` makes a table of: each perturbation's outcomes, at its budgets as given."""
    by_name = named(perturbations)
    given = budgets_of(eps, by_name)
    grids = {name: sorted(set(given.get(name, []))) for name in by_name}
    found = measure(model, dataloader, by_name, grids, options, exhaustive=exhaustive)
    return [m.at(given.get(m.name, [])) for m in found]
