"""How many trials there are behind each value of averages, where trials hold missing values."""

from __future__ import annotations

import numpy as np

from neuroalign.data.standardization import column_blocks


def valid_counts(
    values: np.ndarray, repeats: np.ndarray, valid: np.ndarray | None, order: np.ndarray, starts: np.ndarray
) -> np.ndarray | None:
    """Trials that are not missing, summed over groups of rows.

    Args:
        values: (row, column), NaN where missing.
        repeats: (row,) how many trials a row is the mean of.
        valid: (row, column) the same for each value, or None where that is ``repeats``.
        order: (row,) rows in the order of their groups.
        starts: (group,) where each group begins in that order.

    Returns:
        (group, column) of the smallest unsigned integers that hold them, or None where nothing is missing.

    Example:
        >>> values = np.array([[1.0, np.nan], [2.0, 3.0], [4.0, 5.0]])
        >>> valid_counts(values, np.ones(3, int), None, np.arange(3), np.array([0, 2])).tolist()
        [[2, 1], [1, 1]]
    """
    if valid is None and not any(np.isnan(values[:, columns]).any() for columns in column_blocks(values)):
        return None
    out = np.empty((len(starts), values.shape[1]), dtype=np.min_scalar_type(int(repeats.sum())))
    for columns in column_blocks(values):
        each = repeats[:, None] if valid is None else valid[:, columns].astype(np.int64)
        counts = np.where(np.isnan(values[:, columns]), 0, each)
        out[:, columns] = np.add.reduceat(counts[order], starts, axis=0)
    return out.astype(np.min_scalar_type(int(out.max(initial=0))))


def mean_inverse(repeats: np.ndarray, valid: np.ndarray | None) -> np.ndarray:
    """Mean over rows of 1/repeats, the noise variance of averages over that of a trial.

    Args:
        repeats: (row,).
        valid: (row, column) or None, as for :func:`valid_counts`.

    Returns:
        A scalar, or (column,) with ``valid``: there over the rows that have a trial, NaN where none has.

    Example:
        >>> mean_inverse(np.array([2, 2]), np.array([[2, 1], [1, 0]], dtype=np.uint8))
        array([0.75, 1.  ])
    """
    if valid is None:
        return np.asarray(np.mean(1 / repeats))
    out = np.full(valid.shape[1], np.nan)
    for columns in column_blocks(valid):
        n = valid[:, columns]
        seen = n > 0
        np.divide((seen / np.maximum(n, 1)).sum(0), seen.sum(0), out=out[columns], where=seen.any(0))
    return out
