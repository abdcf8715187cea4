"""Accuracy under the common corruptions, and the mean corruption error."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import nn

from neuroalign.evaluation.measurement import Measurement
from neuroalign.evaluation.resampling import image_intervals
from neuroalign.evaluation.robustness import measure_robustness, per_image_table_of, table_of
from neuroalign.perturbations.corruptions.base import Corruption
from neuroalign.perturbations.corruptions.severities import COMMON_CORRUPTIONS, SEVERITIES
from neuroalign.perturbations.pixel_classifier import Logits, ModelInterface


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
    """Accuracy under every corruption at every severity.

    Args:
        model: From images in [0, 1] to logits.
        dataloader: Batches; see :func:`evaluate_robustness`.
        corruptions: Names; default the 15 over which the mean corruption error is taken.
        severities: Of 1 to 5.
        logits: Where the logits are in the model's output; see :func:`evaluate_robustness`.
        mean: Of the normalisation that the loader's images have had; None where they are pixels.
        std: The same.
        table: Side in pixels of the images whose strengths are used; None takes those of the images' own shorter side,
            which for other sizes than squares of 32, 64 and 224 pixels are ours: see :class:`Corruption`.
        per_image: Return a row for every image, from which :func:`corruption_errors` also takes intervals.
        limit_batches: Use only so many batches.
        seed: Of the corruptions.
        device: Where to compute; default where the model is.
        progress: Show a progress bar.
        checkpoint: A file to which results go batch by batch; a second call goes on from there.

    Returns:
        A row for each: ``corruption``, ``severity``, and the columns of :func:`evaluate_robustness`; with ``per_image`` a
        row for each and every image, with the columns of :func:`per_image_robustness`. The last two columns say which
        strengths these are: ``table``, the side in pixels they are for, and ``strengths``, "published", "published for
        another size", "interpolated" or "scaled up" (of images of several sizes NaN, and all that occur).

    Raises:
        ValueError: For an unknown name, or images below 32 pixels a side without a ``table``.

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
    measured, _ = measure_robustness(
        model, dataloader, every, limit_batches=limit_batches, seed=seed, device=device, progress=progress,
        checkpoint=checkpoint, interface=ModelInterface(logits, mean, std),
    )  # fmt: skip
    rows = per_image_table_of if per_image else table_of
    found = pd.concat([rows(m).assign(**_strengths(m)) for m in measured], ignore_index=True)
    found.insert(0, "corruption", found["perturbation"].map({c.name: c.corruption for c in every}))
    found.insert(1, "severity", found["perturbation"].map({c.name: c.severity for c in every}))
    return found


def _strengths(found: Measurement) -> dict[str, Any]:
    """Which strengths a corruption had on the images that were measured."""
    own = found.perturbation.table
    tables = {min(size) if own is None else own for size in found.sizes}
    origins = sorted({found.perturbation.strengths(*size) for size in found.sizes})
    return {"table": float(tables.pop()) if len(tables) == 1 else np.nan, "strengths": " and ".join(origins)}


class CorruptionErrors(NamedTuple):
    """Errors under corruptions, averaged.

    Attributes:
        mean_error: Mean over corruptions of the error averaged over severities, in [0, 1].
        mce: Mean corruption error: each corruption's error over that of the reference, averaged; NaN without a reference.
        relative_mce: The same of the errors beyond the clean one; NaN without a reference.
        by_corruption: A row a corruption: ``corruption``, ``error``, ``ce``, ``relative_ce``, and the 95 % intervals
            ``error_low``, ``error_high``, ``ce_low``, ``ce_high``.
        mean_error_interval: 95 % interval over images (low, high).
        mce_interval: The same of the mean corruption error.
        relative_mce_interval: The same of the relative one.

    Intervals are NaN where the table has no row an image.
    """

    mean_error: float
    mce: float
    relative_mce: float
    by_corruption: pd.DataFrame
    mean_error_interval: tuple[float, float] = (np.nan, np.nan)
    mce_interval: tuple[float, float] = (np.nan, np.nan)
    relative_mce_interval: tuple[float, float] = (np.nan, np.nan)


def corruption_errors(
    table: pd.DataFrame, reference: pd.DataFrame | None = None, *, num_resamples: int = 2000, seed: int = 0
) -> CorruptionErrors:
    """Mean error and mean corruption error, with intervals where each image's outcome is known.

    Without a reference there is only the plain mean error: the mCE is relative to a network, AlexNet in the original.
    Frost is not the published one here, so an mCE over the 15 is one "with own frost". Published errors, AlexNet's among
    them, are of 224 x 224 pixels: a reference that doesn't say its size (no column ``table``) is taken with a warning where
    the table's strengths are others.

    A table with a row an image, ``evaluate_corruptions(..., per_image=True)``, brings 95 % intervals by resampling the
    images, each with its outcomes under all corruptions and severities. They say how far an error depends on these images,
    not on the seeds of training or of the corruptions. A reference with a row an image is resampled along with it; the
    errors of a reference of accuracies are taken as fixed. An interval is NaN where a resample leaves its value
    undefined: where fewer than about ten images err, say, or the reference is not worse under a corruption.

    Simulated networks that share hard images (mean errors of .40 and .23): the intervals of mean error and mCE cover .94 to
    .97 of 200 sets of 50 images. That of a mean error of .02 covers .88 with 50 images.

    Args:
        table: From :func:`evaluate_corruptions`: accuracies, or a row an image.
        reference: The same of another network on the same images.
        num_resamples: Of the bootstrap.
        seed: Of the bootstrap.

    Raises:
        ValueError: If the two hold different corruptions, severities or images, or strengths for different sizes, or an
            image is missing under one.

    Example:
        >>> table = pd.DataFrame({"corruption": ["fog", "fog"], "severity": [1, 2], "accuracy": [0.8, 0.6],
        ...                       "clean_accuracy": [0.9, 0.9], "num_images": 10})
        >>> round(corruption_errors(table).mean_error, 3), round(corruption_errors(table, table).mce, 3)
        (0.3, 1.0)

    Source:
        Hendrycks & Dietterich 2019, section 4.3 (arXiv 1903.12261).
    """
    if reference is not None:
        _check_strengths(table, reference)
    images = _per_image(table)
    reference_images = None if reference is None else _per_image(reference)
    table, reference = _accuracies(table), None if reference is None else _accuracies(reference)
    errors = _errors(table)
    if reference is None:
        theirs = None
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
    low, high = _intervals(images, reference_images, theirs, num_resamples, seed, len(errors))
    per = len(errors)
    by_corruption = by_corruption.assign(
        error_low=low[3 : 3 + per], error_high=high[3 : 3 + per], ce_low=low[3 + per :], ce_high=high[3 + per :]
    )
    whole = [(float(a), float(b)) for a, b in zip(low[:3], high[:3])]
    return CorruptionErrors(
        float(means["error"]), float(means["ce"]), float(means["relative_ce"]), by_corruption, *whole
    )  # fmt: skip


def _check_strengths(table: pd.DataFrame, reference: pd.DataFrame) -> None:
    """Errors are only in proportion to those of a reference that met the same strengths."""
    if "table" not in table:
        return
    own = table["table"].iloc[0]
    if "table" in reference:
        other = reference["table"].iloc[0]
        if own != other and not (np.isnan(own) and np.isnan(other)):
            raise ValueError(
                f"the table has strengths for images of {own:g} pixels, the reference those for {other:g}: a mean corruption "
                "error compares networks on the same corrupted images. Evaluate both at one size"
            )
    elif own != 224 or table["strengths"].iloc[0] != "published":
        warnings.warn(
            "the reference doesn't say for which image size it holds, and the strengths here are "
            f"{table['strengths'].iloc[0]} ({own:g} pixels). Published errors, such as AlexNet's, are of 224 x 224 pixels: a "
            "mean corruption error relative to them means nothing at another size",
            stacklevel=3,
        )


def _per_image(table: pd.DataFrame) -> pd.DataFrame | None:
    """(stimulus, corruption) errors averaged over severities, and a last column of the clean ones."""
    if "stimulus" not in table:
        return None
    keys = ["stimulus", "corruption", "severity"]
    if table.duplicated(keys).any():
        raise ValueError("an image occurs twice: give each its own 'stimulus'")
    error = 1 - table.pivot(index="stimulus", columns=["corruption", "severity"], values="correct").astype(float)
    if error.isna().any(axis=None):
        raise ValueError("not every image was measured under every corruption and severity")
    order = list(dict.fromkeys(table["corruption"]))
    found = error.T.groupby(level="corruption").mean().T[order]
    clean = 1 - table.groupby("stimulus")["clean_correct"].first().astype(float)
    return found.assign(**{"": clean})


def _accuracies(table: pd.DataFrame) -> pd.DataFrame:
    if "stimulus" not in table:
        return table
    groups = table.groupby(["corruption", "severity"], sort=False)
    return groups.agg(
        accuracy=("correct", "mean"), clean_accuracy=("clean_correct", "mean"), num_images=("correct", "size")
    ).reset_index()


def _intervals(
    images: pd.DataFrame | None, reference_images: pd.DataFrame | None, theirs: pd.DataFrame | None,
    num_resamples: int, seed: int, num_corruptions: int,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Of the mean error, the mCE, the relative mCE, each corruption's error and each corruption's CE."""
    per = num_corruptions
    if images is None:
        return tuple(np.full((2, 3 + 2 * per), np.nan))
    values = images.to_numpy()
    if reference_images is not None:
        if not images.index.equals(reference_images.index):
            raise ValueError("the reference must be of the same images: their 'stimulus' differ")
        values = np.concatenate([values, reference_images[images.columns].to_numpy()], 1)

    def quantities(means: np.ndarray) -> np.ndarray:
        error, clean = means[..., :per], means[..., per : per + 1]
        if reference_images is not None:
            other, beyond = means[..., per + 1 : -1], means[..., per + 1 : -1] - means[..., -1:]
        elif theirs is not None:
            other, beyond = (np.broadcast_to(theirs[c].to_numpy(), error.shape) for c in ("error", "beyond_clean"))
        else:
            other = beyond = np.full(error.shape, np.nan)
        ce, relative = error / _positive(other), (error - clean) / _positive(beyond)
        means_over = [_positive(error.mean(-1)), ce.mean(-1), relative.mean(-1)]
        return np.concatenate([np.stack(means_over, -1), _positive(error), ce], -1)

    return image_intervals(values, quantities, num_resamples=num_resamples, seed=seed)


def _positive(x: np.ndarray) -> np.ndarray:
    return np.where(x > 0, x, np.nan)


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
