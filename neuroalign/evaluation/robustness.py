"""Accuracy of any classifier under perturbations, without changing the model."""

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

__all__ = ["evaluate_robustness", "per_image_robustness"]


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

    Paired comparisons of networks need this table; :func:`evaluate_robustness` sums it up and has the same arguments.

    Returns:
        One row per perturbation, budget and image: ``perturbation``, ``eps``, ``stimulus``, ``label``,
        ``correct``, ``clean_correct``.

    Raises:
        ValueError: If images are not in [0, 1] (perhaps normalised), the loader is empty, or logits are NaN.

    Example:
        >>> from neuroalign import FGSM
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(12, 3))
        >>> loader = [(torch.rand(8, 3, 2, 2), torch.randint(3, (8,)))]
        >>> table = per_image_robustness(model, loader, FGSM(), 0.1)
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

    An image is robust if it is still classified right; images that are wrong without an attack count as wrong at every
    budget. The model's modes, gradients and buffers, and the random generators, are restored.

    Attacks that search a ball are measured at all budgets in one pass (see :func:`robustness_curve`), where an image that is
    fooled at one budget counts as fooled at every larger one; single steps and your own callables are evaluated at each
    budget separately. Perturbations without a budget get one row; for those that need no model, such as
    :class:`Corruption`, it has the plain accuracy on the changed images, also of images that were wrong before.

    Args:
        model: Classifier from images in [0, 1] to logits, its normalisation inside; for others see ``logits`` and ``mean``.
        dataloader: Batches as dicts with ``image`` and ``label`` (and ``stimulus``, the image's identity, which seeds
            random starts; without it the image's place in the data) or as pairs.
        perturbations: One perturbation, several, or several by name.
        eps: Budgets, numbers in pixel units or texts such as "8/255": one or several, for all perturbations or by their
            name, ``{"fgsm-linf": "8/255", "deepfool-l2": [0.5, 1.0]}``, because one number means different sizes in two
            norms.
        logits: Where the logits are in the model's output: a key, an index, or a function of the output; None means that the
            output is the logits.
        mean: Mean per channel of the normalisation that the loader's images have had; None means that they are pixels. The
            images are converted back to pixels, so that budgets are in pixel units, and normalised again for the model.
        std: Standard deviation per channel of the same.
        exhaustive: Attack at every budget from scratch; see :func:`robustness_curve` for the difference.
        limit_batches: Maximum number of batches; None means all.
        seed: Seed of the global random generator, for perturbations that draw from it.
        device: Device to compute on; None means the model's.
        progress: Show a progress bar.
        checkpoint: File to which each batch's results are added; a second call with the same arguments continues from it.

    Returns:
        One row per perturbation and budget: ``perturbation``, ``eps`` (NaN without a budget), ``accuracy``, ``ci_low`` and
        ``ci_high`` (Wilson, 95 %), ``num_images``, ``norm``, ``clean_accuracy``, ``attack_success_rate`` (share of the images
        right without perturbation that were fooled), ``num_correct``, ``settings``. Printed in a terminal that is too narrow
        for all of them, it shows the first columns.

    Raises:
        ValueError: If images are not in [0, 1] (perhaps normalised), the loader is empty, or logits are NaN.

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
    """The outcomes of each perturbation at its budgets as given, from which :func:`evaluate_robustness` makes a table."""
    by_name = named(perturbations)
    given = budgets_of(eps, by_name)
    grids = {name: sorted(set(given.get(name, []))) for name in by_name}
    found = measure(model, dataloader, by_name, grids, options, exhaustive=exhaustive)
    return [m.at(given.get(m.name, [])) for m in found]
