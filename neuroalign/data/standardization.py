"""Mean and standard deviation of columns with missing values, z-scores, and means of groups of rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

__all__: list[str] = []

_BLOCK = 2**19  # numbers converted to float64 at once, so that copies stay small
_NARROWEST = 16  # columns of a block, so that rows are read in pieces of a cache line


def moments(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation (ddof 0) of each column without its NaNs; NaN where there is no variance."""
    mean, std = (np.full(values.shape[1], np.nan) for _ in range(2))
    for columns in column_blocks(values):
        mean[columns], std[columns] = _moments(values[:, columns].astype(np.float64))
    return mean, std


def _moments(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same of a block (row, column) of float64."""
    low, high = _range(x)
    if len(x) and not np.isnan(low).any():
        mean = x.sum(0) / len(x)
        variance = ((x - mean) ** 2).sum(0) / len(x)
        return mean, np.where(_is_narrow(low, high), np.nan, np.sqrt(variance))
    valid = ~np.isnan(x)
    n = valid.sum(0)
    filled = np.where(valid, x, 0)
    mean, variance = (np.full(x.shape[1], np.nan) for _ in range(2))
    np.divide(filled.sum(0), n, out=mean, where=n > 0)
    np.divide((np.where(valid, x - mean, 0) ** 2).sum(0), n, out=variance, where=n > 0)
    return mean, np.where(_is_narrow(*_range_without_nan(x)), np.nan, np.sqrt(variance))


def constant_columns(values: np.ndarray) -> np.ndarray:
    """Which columns don't vary, or hold nothing but NaN.

    A column varies if its range is larger than one unit in the last place of float32: values that were measured in steps of
    that size, such as 10,000,000 to 10,000,003, are data. (For what a network computes,
    :func:`neuroalign.functional.variation.is_constant` takes a few units for rounding.)
    """
    low, high = _range(values)
    missing = np.isnan(low)
    for columns in column_blocks(values) if missing.any() else ():
        if missing[columns].any():
            low[columns], high[columns] = _range_without_nan(values[:, columns])
    return _is_narrow(low, high)


def _range(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Smallest and largest value of each column; NaN where a value is missing."""
    return x.min(0, initial=np.inf), x.max(0, initial=-np.inf)


def _range_without_nan(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    valid = ~np.isnan(x)
    return np.where(valid, x, np.inf).min(0, initial=np.inf), np.where(valid, x, -np.inf).max(0, initial=-np.inf)


def _is_narrow(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Whether ranges are no larger than one unit in the last place of float32, or there was no value."""
    low, high = low.astype(np.float64), high.astype(np.float64)
    with np.errstate(invalid="ignore"):  # in a column without numbers
        step = np.finfo(np.float32).eps * np.maximum(np.abs(low), np.abs(high))
        return (high - low <= step) & (high - low < np.inf)


def refuse_infinite(values: np.ndarray, what: str) -> None:
    """Refuse infinite values, which a mean would spread over a whole voxel.

    Raises:
        ValueError: If there are any; the message says how many, where the first is, and what to do.
    """
    for rows in row_blocks(values):
        infinite = np.isinf(values[rows])
        if infinite.any():
            first, *rest = np.argwhere(infinite)[0].tolist()
            where = (rows.start + first, *rest)
            raise ValueError(
                f"{what} has infinite values ({int(infinite.sum())} or more, the first at {where}), or such that float32 "
                "can't hold: mark missing ones by NaN, and correct the others where they were made"
            )


def zscore(values: np.ndarray, mean: np.ndarray, std: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """Subtract the mean from each column, and divide by the standard deviation: float32, in ``out`` if it is given."""
    out = np.empty(values.shape, dtype=np.float32) if out is None else out
    for rows in row_blocks(values):
        x = values[rows] - mean
        x /= std
        out[rows] = x
    return out


def in_standard_deviations(info: Mapping[str, Any]) -> dict[str, Any]:
    """The description of responses after a z-score: the unit, if it names one, is now standard deviations."""
    return {**info, "unit": "standard deviations"} if "unit" in info else dict(info)


def zscore_within(values: np.ndarray, groups: np.ndarray, is_reference: np.ndarray) -> np.ndarray:
    """Z-score each column within each group of rows, with the mean and standard deviation of the group's reference rows.

    Args:
        values: (row, column), NaN where missing.
        groups: (row,) the session of each row.
        is_reference: (row,) whether a row enters the mean and the standard deviation.

    Returns:
        (row, column) float32, NaN where a column doesn't vary within a group.

    Raises:
        ValueError: If a group has no reference row.

    Example:
        >>> values = np.array([[1.0], [3.0], [10.0], [30.0]])
        >>> zscore_within(values, np.array([1, 1, 2, 2]), np.ones(4, dtype=bool)).ravel()
        array([-1.,  1., -1.,  1.], dtype=float32)
    """
    out = np.empty(values.shape, dtype=np.float32)
    for group in np.unique(groups):
        rows = as_slice(np.flatnonzero(groups == group))
        check_reference(is_reference[rows], group)
        if isinstance(rows, slice):
            zscore_rows(values[rows], is_reference[rows], out[rows])
        else:
            part = np.empty((len(rows), values.shape[1]), dtype=np.float32)
            out[rows] = zscore_rows(values[rows], is_reference[rows], part)
    return out


def check_reference(is_reference: np.ndarray, session: int) -> None:
    """Refuse a session all of whose trials are left out.

    Raises:
        ValueError: If there is no reference row.
    """
    if not is_reference.any():
        raise ValueError(f"session {session} shows only stimuli that are left out: nothing is left to z-score by")


def zscore_rows(values: np.ndarray, is_reference: np.ndarray, out: np.ndarray) -> np.ndarray:
    """Z-score each column with the mean and standard deviation (ddof 0) of some rows.

    Args:
        values: (row, column), NaN where missing.
        is_reference: (row,) whether a row enters the mean and the standard deviation.
        out: (row, column) float32, which receives the result; may be ``values``.
    """
    everything = is_reference.all()
    for columns in column_blocks(values):
        x = values[:, columns].astype(np.float64)
        mean, std = _moments(x if everything else x[is_reference])
        x -= mean
        x /= std
        out[:, columns] = x
    return out


def as_slice(rows: np.ndarray) -> slice | np.ndarray:
    """Increasing row numbers as a slice, which copies nothing, if none is left out between them."""
    if len(rows) and rows[-1] - rows[0] + 1 == len(rows):
        return slice(int(rows[0]), int(rows[-1]) + 1)
    return rows


def group_means(values: np.ndarray, order: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Means over groups of rows without missing values; NaN where all values of a group are missing.

    Args:
        values: (row, column), or (row,).
        order: (row,) rows in the order of their groups.
        starts: (group,) where each group begins in that order.
    """
    if values.ndim == 1:
        return group_means(values[:, None], order, starts)[:, 0]
    out = np.empty((len(starts), values.shape[1]), dtype=np.float32)
    for columns in column_blocks(values):
        x = values[order, columns].astype(np.float64)
        valid = ~np.isnan(x)
        sums = np.add.reduceat(np.where(valid, x, 0), starts, axis=0)
        counts = np.add.reduceat(valid, starts, axis=0, dtype=np.int64)
        out[:, columns] = np.divide(sums, counts, out=np.full(sums.shape, np.nan), where=counts > 0)
    return out


def column_blocks(values: np.ndarray) -> Iterator[slice]:
    """The columns in blocks that are small enough to be copied to float64."""
    width = max(_NARROWEST, _BLOCK // max(1, len(values)))
    return (slice(start, min(start + width, values.shape[1])) for start in range(0, values.shape[1], width))


def row_blocks(values: np.ndarray) -> Iterator[slice]:
    """The rows in blocks that are small enough to be copied to float64."""
    step = max(1, _BLOCK // max(1, values[:1].size))
    return (slice(start, start + step) for start in range(0, len(values), step))
