"""Rows of tables as a model card shows them: accuracies under perturbations, and differences from controls."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from neuroalign.functional.intervals import wilson

__all__: list[str] = []

COMPARED = ("treatment", "control", "difference", "low", "high", "over")


def measured(table: Any) -> tuple[dict[str, Any], ...] | None:
    """Rows of :func:`neuroalign.evaluate_robustness`, each with its Wilson interval.

    Args:
        table: The table, or its rows; None gives None.

    Raises:
        ValueError: If a column is missing, or an accuracy is not in [0, 1].

    Example:
        >>> row = {"perturbation": "pgd", "eps": 0.1, "accuracy": 0.5, "num_images": 100}
        >>> found = measured([row])[0]
        >>> round(found["low"], 3), round(found["high"], 3)
        (0.404, 0.596)
    """
    if table is None:
        return None
    rows = []
    for row in _rows(table, "robustness", ("perturbation", "eps", "accuracy", "num_images")):
        accuracy, num_images = float(row["accuracy"]), int(row["num_images"])
        if not 0 <= accuracy <= 1 or num_images < 1:
            raise ValueError(
                f"robustness: accuracy must be in [0, 1], of 1 image or more; got {accuracy} of {num_images}"
            )
        low, high = wilson(round(accuracy * num_images), num_images)
        norm, settings = row.get("norm"), row.get("settings")
        eps = None if row["eps"] is None or math.isnan(row["eps"]) else float(row["eps"])
        rows.append(
            {
                "perturbation": str(row["perturbation"]),
                "norm": norm if isinstance(norm, str) else None,
                "eps": eps,
                "accuracy": accuracy,
                "low": low,
                "high": high,
                "num_images": num_images,
                "settings": settings if isinstance(settings, str) else None,
            }
        )
    return tuple(rows)


def compared(found: Any) -> tuple[dict[str, Any], ...] | None:
    """Rows of comparisons with controls: the difference in accuracy and its interval.

    Args:
        found: A comparison, several, or rows with the columns ``COMPARED``; None gives None.

    Raises:
        ValueError: If a column is missing, or a difference is not in [-1, 1].

    Example:
        >>> row = {
        ...     "treatment": "V4",
        ...     "control": "none",
        ...     "difference": 0.1,
        ...     "low": 0.05,
        ...     "high": 0.15,
        ...     "over": "100 images",
        ... }
        >>> compared(row)[0]["control"]
        'none'
    """
    if found is None:
        return None
    one = isinstance(found, Mapping) or hasattr(found, "interval_over")
    several = [found] if one else found.to_dict("records") if hasattr(found, "to_dict") else list(found)
    rows = []
    for row in _rows([_row_of(each) for each in several], "controls", COMPARED):
        kept = {name: str(row[name]) for name in ("treatment", "control", "over")}
        numbers = {name: float(row[name]) for name in ("difference", "low", "high")}
        if not -1 <= numbers["difference"] <= 1:
            raise ValueError(f"controls: a difference in accuracy must be in [-1, 1]; got {numbers['difference']}")
        rows.append({**kept, **numbers})
    return tuple(rows)


def _row_of(comparison: Any) -> Any:
    if isinstance(comparison, Mapping) or not hasattr(comparison, "interval_over"):
        return comparison
    names = ("treatment", "control", "difference", "low", "high")
    return {**{name: getattr(comparison, name) for name in names}, "over": comparison.interval_over}


def _rows(table: Any, what: str, needed: tuple[str, ...]) -> Iterable[Mapping[str, Any]]:
    rows = table.to_dict("records") if hasattr(table, "to_dict") else list(table)
    for row in rows:
        if not isinstance(row, Mapping):
            raise ValueError(f"{what} must be a table, or its rows as dicts; got {type(row).__name__}")
        missing = [name for name in needed if name not in row]
        if missing:
            raise ValueError(f"{what} has no column {missing[0]!r}; it needs {', '.join(needed)}")
    return rows
