"""Accuracy under the common corruptions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import torch
from torch import nn

from neuroalign.evaluation.measurement import Measurement
from neuroalign.evaluation.passes import PassOptions
from neuroalign.evaluation.result_table import result_table
from neuroalign.evaluation.robustness import measure_robustness
from neuroalign.evaluation.tables import measured_accuracy, measured_images
from neuroalign.perturbations.corruptions.base import Corruption
from neuroalign.perturbations.corruptions.severities import COMMON_CORRUPTIONS, SEVERITIES
from neuroalign.perturbations.pixel_classifier import Logits, ModelInterface

__all__ = ["evaluate_corruptions"]


def evaluate_corruptions(
    model: nn.Module,
    dataloader: Iterable[Any],
    corruptions: str | Sequence[str] = COMMON_CORRUPTIONS,
    severities: int | Sequence[int] = SEVERITIES,
    *,
    logits: Logits | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    table: int | None = None,
    per_image: bool = False,
    limit_batches: int | None = None,
    seed: int = 0,
    device: torch.device | str | None = None,
    progress: bool = False,
    checkpoint: str | Path | None = None,
) -> pd.DataFrame:
    """Accuracy of a classifier under every corruption at every severity.

    Args:
        model: Classifier from images in [0, 1] to logits.
        dataloader: Batches; see :func:`evaluate_robustness`.
        corruptions: Names; the default is the 15 over which the mean corruption error is taken.
        severities: Severities, each from 1 to 5.
        logits: Where the logits are in the model's output; see :func:`evaluate_robustness`.
        mean: Mean per channel of the normalisation that the loader's images have had; None means that they are pixels.
        std: Standard deviation per channel of the same.
        table: Side in pixels of the images whose strengths are used; None means the images' own shorter side. Strengths for
            other sizes than squares of 32, 64 and 224 pixels are ours: see :class:`Corruption`.
        per_image: Return one row per image, from which :func:`corruption_errors` also computes intervals.
        limit_batches: Maximum number of batches; None means all.
        seed: Seed of the corruptions.
        device: Device to compute on; None means the model's.
        progress: Show a progress bar.
        checkpoint: File to which each batch's results are added; a second call with the same arguments continues from it.

    Returns:
        One row per corruption and severity: ``corruption``, ``severity``, and the columns of :func:`evaluate_robustness`;
        with ``per_image`` one row per corruption, severity and image, with the columns of :func:`per_image_robustness`. The
        last two columns say which strengths were used: ``table``, the side in pixels that they are for (NaN if images have
        several sizes), and ``strengths``: "published", "published for another size", "interpolated" or "scaled up".

    Raises:
        ValueError: For an unknown name, or images below 32 pixels per side without a ``table``.

    Example:
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 3))
        >>> loader = [(torch.rand(4, 3, 32, 32), torch.randint(3, (4,)))]
        >>> table = evaluate_corruptions(model, loader, ["fog", "contrast"], [1, 5])
        >>> table[["corruption", "severity"]].values.tolist()
        [['fog', 1], ['fog', 5], ['contrast', 1], ['contrast', 5]]

    Source:
        Hendrycks & Dietterich 2019, arXiv 1903.12261.
    """
    options = PassOptions(ModelInterface(logits, mean, std), limit_batches, seed, device, progress, checkpoint)
    return measure_corruptions(model, dataloader, corruptions, severities, options, table=table, per_image=per_image)


def measure_corruptions(
    model: nn.Module,
    dataloader: Iterable[Any],
    corruptions: str | Sequence[str],
    severities: int | Sequence[int],
    options: PassOptions,
    *,
    table: int | None = None,
    per_image: bool = False,
) -> pd.DataFrame:
    """:func:`evaluate_corruptions` with the options of the pass in one object."""
    names = [corruptions] if isinstance(corruptions, str) else list(corruptions)
    levels = [severities] if isinstance(severities, int) else list(severities)
    if not names or not levels:
        raise ValueError("give at least one corruption and one severity")
    every: list[Any] = [Corruption(name, s, table=table, seed=options.seed) for name in names for s in levels]
    measured = measure_robustness(model, dataloader, every, None, options)
    rows = measured_images if per_image else measured_accuracy
    found = pd.concat([rows(m).assign(**_strengths(m)) for m in measured], ignore_index=True)
    found.insert(0, "corruption", found["perturbation"].map({c.name: c.corruption for c in every}))
    found.insert(1, "severity", found["perturbation"].map({c.name: c.severity for c in every}))
    first = ["corruption", "severity", *([] if per_image else ["accuracy", "ci_low", "ci_high", "num_images"])]
    return result_table(found, first)


def _strengths(found: Measurement) -> dict[str, Any]:
    """The strengths of a corruption on the images that were measured."""
    corruption = cast(Corruption, found.perturbation)
    own = corruption.table
    tables = {min(size) if own is None else own for size in found.sizes}
    origins = sorted({corruption.strengths(*size) for size in found.sizes})
    return {"table": float(tables.pop()) if len(tables) == 1 else np.nan, "strengths": " and ".join(origins)}
