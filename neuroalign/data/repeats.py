"""Averages over the repeats of a stimulus, how many trials each value is the mean of, and the averages' noise ceiling."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from neuroalign.data.standardization import column_blocks, group_means
from neuroalign.functional import rescale_ceiling

__all__: list[str] = []


def average_rows(rows: Mapping[str, Any]) -> dict[str, Any]:
    """Average the rows of each stimulus; the averages are in the order of the stimuli.

    Args:
        rows: The fields of responses that have one entry per row: ``values``, ``stimulus``, ``session``, ``shared``,
            ``repeats``, ``behaviour`` (a mapping) and ``valid_repeats`` (None where nothing is missing).

    Returns:
        The same fields of the averages. The session of an average over several sessions is -1.

    Raises:
        ValueError: If a stimulus is shared in one row and not in another.
    """
    order, starts = groups_of(rows["stimulus"])
    return {
        **average_labels(rows),
        "values": group_means(rows["values"], order, starts),
        "valid_repeats": valid_counts(rows["values"], rows["repeats"], rows["valid_repeats"], order, starts),
    }


def groups_of(stimulus: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The rows in the order of their stimuli, and where each stimulus begins in that order."""
    order = np.argsort(stimulus, kind="stable")
    return order, np.unique(stimulus[order], return_index=True)[1]


def average_labels(rows: Mapping[str, Any]) -> dict[str, Any]:
    """What :func:`average_rows` returns, without the values and their ``valid_repeats``."""
    order, starts = groups_of(rows["stimulus"])
    session, shared = rows["session"][order], rows["shared"][order]
    one_session = np.minimum.reduceat(session, starts) == np.maximum.reduceat(session, starts)
    some_shared = np.logical_or.reduceat(shared, starts)
    if (np.logical_and.reduceat(shared, starts) != some_shared).any():
        raise ValueError("some stimulus is marked shared in one trial and not in another")
    return {
        "stimulus": rows["stimulus"][order][starts],
        "session": np.where(one_session, session[starts], -1),
        "shared": some_shared,
        "repeats": np.add.reduceat(rows["repeats"][order], starts),
        "behaviour": {name: group_means(values, order, starts) for name, values in rows["behaviour"].items()},
    }


def averaged_ceiling(fields: Mapping[str, Any], repeats: np.ndarray, valid: np.ndarray | None) -> np.ndarray | None:
    """The noise ceiling of responses if their rows were averages over other numbers of trials.

    Args:
        fields: ``noise_ceiling`` of the current rows, and the ``repeats`` and ``valid_repeats`` that they are averages of.
        repeats: (row,) how many trials each new row is the mean of.
        valid: (row, voxel) the same for each value; None means ``repeats`` in every voxel.

    Returns:
        (voxel,) float32. Without new rows, the present ceiling; None if it is unknown.
    """
    if fields["noise_ceiling"] is None or not len(repeats):
        return fields["noise_ceiling"]
    # Averaging multiplies the noise variance by the mean of 1/repeats; what counts is the change of this factor.
    noise = mean_inverse(repeats, valid) / mean_inverse(fields["repeats"], fields["valid_repeats"])
    wide = torch.from_numpy(fields["noise_ceiling"].astype(np.float64))
    return rescale_ceiling(wide, torch.from_numpy(np.asarray(noise))).numpy().astype(np.float32)


def valid_counts(
    values: np.ndarray, repeats: np.ndarray, valid: np.ndarray | None, order: np.ndarray, starts: np.ndarray
) -> np.ndarray | None:
    """How many trials are not missing, summed over groups of rows.

    Args:
        values: (row, column), NaN where missing.
        repeats: (row,) how many trials a row is the mean of.
        valid: (row, column) how many trials each value is the mean of; None means ``repeats`` in every column.
        order: (row,) rows in the order of their groups.
        starts: (group,) where each group begins in that order.

    Returns:
        (group, column) in the smallest unsigned integer type that holds the counts, or None if nothing is missing.

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
    """Mean over rows of 1/repeats: the noise variance of averages divided by that of a trial.

    Args:
        repeats: (row,).
        valid: (row, column) or None, as for :func:`valid_counts`.

    Returns:
        A scalar; with ``valid`` (column,), the mean over the rows that have a trial, and NaN where no row has one.

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
