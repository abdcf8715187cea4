"""Tables of outcomes: one row per budget, or one row per budget and image."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from neuroalign.evaluation.measurement import Measurement
from neuroalign.evaluation.requests import settings_of
from neuroalign.evaluation.result_table import ResultTable
from neuroalign.functional.intervals import wilson

__all__: list[str] = []


def measured_accuracy(found: Measurement) -> pd.DataFrame:
    """:func:`accuracy_table` of a measurement."""
    norm, settings = found.perturbation.norm, settings_of(found.perturbation)
    return accuracy_table(found.name, norm, found.eps, found.correct, found.clean, settings)


def measured_images(found: Measurement) -> pd.DataFrame:
    """:func:`per_image_table` of a measurement."""
    return per_image_table(found.name, found.eps, found.stimulus, found.label, found.correct, found.clean)


def accuracy_table(
    name: str,
    norm: str | None,
    eps: Sequence[float] | np.ndarray,
    correct: np.ndarray,
    clean: np.ndarray,
    settings: str,
) -> pd.DataFrame:
    """One row per budget: accuracy with its Wilson interval, and the share of right images that were fooled.

    Args:
        name: Name of the perturbation.
        norm: Norm of its budgets, or None.
        eps: (eps,) budgets.
        correct: (stimulus, eps) bool, still classified right.
        clean: (stimulus,) bool, classified right without perturbation.
        settings: The perturbation's own description.
    """
    rows = []
    for k, budget in enumerate(eps):
        num_correct, total = int(correct[:, k].sum()), len(correct)
        low, high = wilson(num_correct, total)
        rows.append(
            {
                "perturbation": name,
                "eps": float(budget),
                "accuracy": num_correct / total,
                "ci_low": low,
                "ci_high": high,
                "num_images": total,
                "norm": norm,
                "clean_accuracy": float(clean.mean()),
                "attack_success_rate": 1 - float(correct[clean, k].mean()) if clean.any() else float("nan"),
                "num_correct": num_correct,
                "settings": settings,
            }
        )
    return ResultTable(rows)


def per_image_table(
    name: str,
    eps: Sequence[float] | np.ndarray,
    stimulus: np.ndarray,
    label: np.ndarray,
    correct: np.ndarray,
    clean: np.ndarray,
) -> pd.DataFrame:
    """One row per budget and image, ordered by budget first.

    Args:
        name: Name of the perturbation.
        eps: (eps,) budgets.
        stimulus: (stimulus,) identity of each image.
        label: (stimulus,) class of each image.
        correct: (stimulus, eps) bool, still classified right.
        clean: (stimulus,) bool, classified right without perturbation.
    """
    num_eps, n = len(eps), len(stimulus)
    return pd.DataFrame(
        {
            "perturbation": name,
            "eps": np.repeat(np.asarray(eps, dtype=float), n),
            "stimulus": np.tile(stimulus, num_eps),
            "label": np.tile(label, num_eps),
            "correct": correct.T.reshape(-1),
            "clean_correct": np.tile(clean, num_eps),
        }
    )
