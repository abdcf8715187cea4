"""Checks and conversions of the fields of a recording: real values, whole identities, flags, regions, noise ceilings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from neuroalign.data.standardization import refuse_infinite
from neuroalign.functional.identities import NAMES_REMEDY

__all__: list[str] = []


def as_values(values: Any, what: str) -> np.ndarray:
    """Recorded numbers as float32, from integers, other floats, or true and false.

    Args:
        values: An array, a tensor or nested sequences, of any shape.
        what: Their name in an error.

    Raises:
        TypeError: If they are complex, text, objects or records.
        ValueError: If rows differ in length, or a value is infinite or beyond what float32 holds.

    Example:
        >>> as_values([[1, 2]], "values").dtype
        dtype('float32')
    """
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu()
        values = values.float() if values.is_floating_point() else values
    array = _array(values, what)
    if array.dtype.kind not in "fiub":
        raise TypeError(f"{what} must be real numbers, NaN where missing; got {_kind(array)}")
    with np.errstate(over="ignore"):  # refuse_infinite says it in words
        array = array.astype(np.float32, copy=False)
    refuse_infinite(array, what)
    return array


def as_identities(values: Any, what: str) -> np.ndarray:
    """Whole numbers as (row,) int64, also from floats that are whole.

    Args:
        values: An array, a tensor or a sequence.
        what: Their name in an error.

    Raises:
        TypeError: If they are names, or anything else but numbers; the message says how names are numbered.
        ValueError: If they have several axes, or one is a fraction, missing, or beyond int64.

    Example:
        >>> as_identities([46002.0, 7.0], "stimulus")
        array([46002,     7])
    """
    array = _array(values, what)
    if array.ndim != 1:
        raise ValueError(f"{what} must be one whole number per row; got shape {array.shape}")
    if array.dtype.kind == "O" and not has_names(array):
        array = _numbers(array)
    if array.dtype.kind not in "fiu":
        if len(array) == 0:
            return np.zeros(0, dtype=np.int64)
        keep = "; info={'stimulus_id': names.tolist()} keeps them" if what == "stimulus" else ""
        remedy = f" ({NAMES_REMEDY}{keep})" if has_names(array) else ""
        raise TypeError(f"{what} must be whole numbers; got {_kind(array)}{remedy}")
    if array.dtype.kind == "i":
        return array.astype(np.int64, copy=False)
    if array.dtype.kind == "f":
        wrong = ~(np.abs(array) < 2.0**53) | (array != np.rint(array))
    else:
        wrong = array > np.iinfo(np.int64).max
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        say = "is missing" if array.dtype.kind == "f" and np.isnan(array[row]) else f"is {array[row]}"
        raise ValueError(f"{what} must be whole numbers; that of row {row} (from 0) {say}")
    return array.astype(np.int64)


def as_places(values: Any, what: str = "places of voxels") -> np.ndarray:
    """Places (voxel, axis), whole numbers as int64.

    Raises:
        TypeError: If they are no numbers.
        ValueError: If one is not whole.

    Example:
        >>> as_places([[0.0, 12.0]])
        array([[ 0, 12]])
    """
    array = _array(values, what)
    return as_identities(array.reshape(-1), what).reshape(array.shape)


def number_names(names: Any, what: str) -> tuple[np.ndarray, list[str] | None]:
    """Number the names of rows in sorted order; numbers stay as they are.

    Args:
        names: (row,) numbers, or texts such as file names.
        what: Their name in an error.

    Returns:
        (row,) int64, and the names in the order of their numbers; None in place of names if rows had numbers.

    Raises:
        TypeError: If they are neither.
        ValueError: If one is missing, or a number is not whole.

    Example:
        >>> number_names(["cat.png", "car.png", "cat.png"], "stimulus")
        (array([1, 0, 1]), ['car.png', 'cat.png'])
    """
    array = _array(names, what)
    if array.dtype.kind in "SO" and array.ndim == 1:  # h5py gives bytes
        array = np.array([v.decode() if isinstance(v, bytes) else v for v in array.tolist()], dtype=object)
    if array.ndim != 1 or not has_names(array):
        return as_identities(array, what), None
    texts = array.astype(object)
    missing = [i for i, text in enumerate(texts) if not isinstance(text, str) or not text.strip()]
    if missing:
        raise ValueError(f"{what} of row {missing[0]} (from 0) is {texts[missing[0]]!r}, where others have a name")
    found, numbers = np.unique(texts.astype(str), return_inverse=True)
    return numbers.astype(np.int64), found.tolist()


def has_names(array: np.ndarray) -> bool:
    """Whether some entry is a text."""
    return array.dtype.kind in "UT" or (array.dtype.kind == "O" and any(isinstance(v, str) for v in array.ravel()))


def as_flags(values: Any, what: str) -> np.ndarray:
    """True or false for each row, also from 0 and 1.

    Raises:
        TypeError: If they are anything else, such as the texts "True" and "False", which Python takes for true.

    Example:
        >>> as_flags([0, 1], "shared")
        array([False,  True])
    """
    array = _array(values, what)
    if array.dtype.kind != "b" and not (array.dtype.kind in "iuf" and np.isin(array, (0, 1)).all()):
        raise TypeError(f"{what} must be true or false for each row; got {_kind(array)}")
    return array.astype(bool, copy=False)


def as_regions(names: Sequence[str] | np.ndarray, what: str) -> np.ndarray:
    """Names of regions as text.

    Raises:
        ValueError: If one is missing.

    Example:
        >>> as_regions(["V1", "V4"], "roi").tolist()
        ['V1', 'V4']
    """
    array = _array(names, what)
    if array.dtype.kind in "Of":
        missing = [i for i, name in enumerate(array.ravel()) if name is None or name != name]
        if missing:
            raise ValueError(f"{what} of voxel {missing[0]} (from 0) is missing: call it 'unknown'")
    return array if array.dtype.kind == "U" else array.astype(str)


def recorded_fields(
    values: Any,
    stimulus: Any = None,
    session: Any = None,
    roi: Sequence[str] | np.ndarray | str = "unknown",
    noise_ceiling: Any = None,
    shared: Any = None,
    voxel_index: Any = None,
) -> dict[str, Any]:
    """The fields of single trials by name, each in its type, with defaults for what is None.

    Arguments and errors as in :meth:`neuroalign.data.Responses.from_arrays`.

    Example:
        >>> recorded_fields([[1, 2], [3, 4]])["stimulus"]
        array([0, 1])
    """
    values = as_values(values, "values")
    if values.ndim != 2:
        raise ValueError(f"values must be (trial, voxel); got shape {values.shape}")
    n, v = values.shape
    if not n or not v:
        raise ValueError(f"values are ({n}, {v}), (trial, voxel): nothing was recorded. Is the region empty?")
    return {
        "values": values,
        "stimulus": np.arange(n) if stimulus is None else as_identities(stimulus, "stimulus"),
        "session": np.ones(n, dtype=np.int64) if session is None else as_identities(session, "session"),
        "roi": np.full(v, roi) if isinstance(roi, str) else as_regions(roi, "roi"),
        "noise_ceiling": None if noise_ceiling is None else as_values(noise_ceiling, "noise_ceiling"),
        "shared": np.zeros(n, dtype=bool) if shared is None else as_flags(shared, "shared"),
        "voxel_index": None if voxel_index is None else as_places(voxel_index),
        "repeats": np.ones(n, dtype=np.int64),
    }


def check_ceilings(ceiling: np.ndarray) -> None:
    """Refuse noise ceilings above 1. An unclamped estimate may be below 0, and NaN is an unknown ceiling.

    Raises:
        ValueError: Saying which is out of range.
    """
    with np.errstate(invalid="ignore"):
        wrong = (ceiling > 1 + 1e-4) | (ceiling == -np.inf)
    if wrong.any():
        voxel = int(np.flatnonzero(wrong)[0])
        raise ValueError(
            f"noise_ceiling must be a share of variance, at most 1; that of voxel {voxel} is {ceiling[voxel]:.4g} (divide "
            "per cent by 100; of ncsnr it is ncsnr^2 / (ncsnr^2 + 1/n))"
        )


def _array(values: Any, what: str) -> np.ndarray:
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu().numpy()
    try:
        return np.asarray(values)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{what} must be an array of numbers: {error}") from None


def _numbers(array: np.ndarray) -> np.ndarray:
    """Objects as numbers, if all of them are: pandas stores columns with gaps as objects."""
    try:
        return array.astype(np.int64) if all(isinstance(v, (int, np.integer)) for v in array) else array.astype(float)
    except (TypeError, ValueError, OverflowError):
        return array


def _kind(array: np.ndarray) -> str:
    if array.dtype.names is not None:
        return f"records of {array.dtype.names}"
    if has_names(array):
        return f"text, such as {str(next(v for v in array.ravel() if isinstance(v, str)))!r}"
    return {"c": "complex numbers", "O": "objects", "b": "true and false", "S": "bytes"}.get(
        array.dtype.kind, f"the type {array.dtype} of shape {array.shape}"
    )
