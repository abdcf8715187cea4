"""Accuracy under the common corruptions, and the mean corruption error."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import nn

from neuroalign.perturbations.corruptions.base import Corruption
from neuroalign.perturbations.corruptions.severities import COMMON_CORRUPTIONS, SEVERITIES
from neuroalign.perturbations.evaluation.robustness import evaluate_robustness


def evaluate_corruptions(
    model: nn.Module,
    dataloader: Iterable[Any],
    corruptions: str | Sequence[str] = COMMON_CORRUPTIONS,
    severities: int | Sequence[int] = SEVERITIES,
    *,
    table: int | None = None,
    limit_batches: int | None = None,
    seed: int = 0,
    device: torch.device | str | None = None,
    progress: bool = False,
    checkpoint: str | Path | None = None,
) -> pd.DataFrame:
    """Accuracy under every corruption at every severity.

    Args:
        model: From images in [0, 1] to logits.
        dataloader: Batches; see :func:`evaluate_robustness`.
        corruptions: Names; default the 15 over which the mean corruption error is taken.
        severities: Of 1 to 5.
        table: Image size whose parameters are used; None takes those of the images' own size, and refuses others.
        limit_batches: Use only so many batches.
        seed: Of the corruptions.
        device: Where to compute; default where the model is.
        progress: Show a progress bar.
        checkpoint: A file to which results go batch by batch; a second call goes on from there.

    Returns:
        A row for each: ``corruption``, ``severity``, and the columns of :func:`evaluate_robustness`.

    Raises:
        ValueError: For an unknown name, or images of a size without a table.

    Example:
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 3))
        >>> loader = [(torch.rand(4, 3, 32, 32), torch.randint(3, (4,)))]
        >>> evaluate_corruptions(model, loader, ["fog", "contrast"], [1, 5])[["corruption", "severity"]].values.tolist()
        [['fog', 1], ['fog', 5], ['contrast', 1], ['contrast', 5]]

    Source:
        Hendrycks & Dietterich 2019, arXiv 1903.12261.
    """
    names = [corruptions] if isinstance(corruptions, str) else list(corruptions)
    levels = [severities] if isinstance(severities, int) else list(severities)
    if not names or not levels:
        raise ValueError("give at least one corruption and one severity")
    every = [Corruption(name, s, table=table, seed=seed) for name in names for s in levels]
    found = evaluate_robustness(
        model, dataloader, every, limit_batches=limit_batches, seed=seed, device=device, progress=progress,
        checkpoint=checkpoint,
    )  # fmt: skip
    found.insert(0, "corruption", [c.corruption for c in every])
    found.insert(1, "severity", [c.severity for c in every])
    return found


class CorruptionErrors(NamedTuple):
    """Errors under corruptions, averaged.

    Attributes:
        mean_error: Mean over corruptions of the error averaged over severities, in [0, 1].
        mce: Mean corruption error: each corruption's error over that of the reference, averaged; NaN without a reference.
        relative_mce: The same of the errors beyond the clean one; NaN without a reference.
        by_corruption: A row a corruption: ``corruption``, ``error``, ``ce``, ``relative_ce``.
    """

    mean_error: float
    mce: float
    relative_mce: float
    by_corruption: pd.DataFrame


def corruption_errors(table: pd.DataFrame, reference: pd.DataFrame | None = None) -> CorruptionErrors:
    """Mean error and mean corruption error.

    Without a reference there is only the plain mean error: the mCE is relative to a network, AlexNet in the original.
    Frost is not the published one here, so an mCE over the 15 is one "with own frost".

    Args:
        table: From :func:`evaluate_corruptions`.
        reference: The same of another network on the same images.

    Raises:
        ValueError: If the two hold different corruptions, severities or numbers of images.

    Example:
        >>> table = pd.DataFrame({"corruption": ["fog", "fog"], "severity": [1, 2], "accuracy": [0.8, 0.6],
        ...                       "clean_accuracy": [0.9, 0.9], "num_images": 10})
        >>> round(corruption_errors(table).mean_error, 3), round(corruption_errors(table, table).mce, 3)
        (0.3, 1.0)

    Source:
        Hendrycks & Dietterich 2019, section 4.3 (arXiv 1903.12261).
    """
    errors = _errors(table)
    if reference is None:
        by_corruption = errors.assign(ce=np.nan, relative_ce=np.nan)
    else:
        keys = ["corruption", "severity", "num_images"]
        a, b = (t[keys].sort_values(keys).reset_index(drop=True) for t in (table, reference))
        if not a.equals(b):
            raise ValueError("the reference must have the same corruptions, severities and numbers of images")
        theirs = _errors(reference).loc[errors.index]
        by_corruption = errors.assign(
            ce=errors["error"] / theirs["error"], relative_ce=errors["beyond_clean"] / theirs["beyond_clean"]
        )
    by_corruption = by_corruption.drop(columns="beyond_clean").reset_index()
    means = by_corruption[["error", "ce", "relative_ce"]].mean(skipna=False)
    return CorruptionErrors(float(means["error"]), float(means["ce"]), float(means["relative_ce"]), by_corruption)


def _errors(table: pd.DataFrame) -> pd.DataFrame:
    rows = pd.DataFrame(
        {
            "corruption": table["corruption"],
            "error": 1 - table["accuracy"],
            "beyond_clean": table["clean_accuracy"] - table["accuracy"],
        }
    )
    # Sums and means over severities have the same ratios.
    return rows.groupby("corruption", sort=False).mean()
