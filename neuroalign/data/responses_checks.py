"""Checks of the fields of responses: their types, and whether they fit together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from neuroalign.data.fields import as_flags, as_identities, as_places, as_regions, as_values, check_ceilings

__all__: list[str] = []

_CONVERT: dict[str, Callable[[Any, str], np.ndarray]] = {
    "stimulus": as_identities,
    "session": as_identities,
    "repeats": as_identities,
    "shared": as_flags,
    "roi": as_regions,
    "noise_ceiling": as_values,
    "voxel_index": as_places,
    "vertex_index": as_places,
}
_OPTIONAL = ("noise_ceiling", "voxel_index", "vertex_index")


def convert_fields(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of responses, each in its type; a file from another machine may hold another width or byte order.

    Args:
        fields: The attributes of a :class:`neuroalign.Responses` by name.

    Returns:
        Those that had to be converted. Values of the right type are not touched: they may be mapped from a large file.

    Raises:
        TypeError: If a field is of another kind.
        ValueError: If a number is not whole where it must be, or infinite.
    """
    converted: dict[str, Any] = {}
    values = fields["values"]
    if not isinstance(values, np.ndarray) or values.dtype != np.float32 or not values.dtype.isnative:
        converted["values"] = as_values(values, "values")
    for name, convert in _CONVERT.items():
        if fields[name] is not None or name not in _OPTIONAL:
            converted[name] = convert(fields[name], name)
    for kind in ("behaviour", "maps"):
        columns = fields[kind]
        other = {k: v for k, v in columns.items() if v.dtype != np.float32 or not v.dtype.isnative}
        if other:
            converted[kind] = {**columns, **{k: _as_float32(v, f"{kind} {k!r}") for k, v in other.items()}}
    return converted


def _as_float32(values: np.ndarray, what: str) -> np.ndarray:
    if values.dtype.kind not in "fiub":
        raise TypeError(f"{what} must be real numbers; got the type {values.dtype}")
    with np.errstate(over="ignore"):
        return values.astype(np.float32)


def check_fields(fields: Mapping[str, Any]) -> None:
    """Refuse fields that don't fit together, ceilings above 1, and rows that are the mean of no trial.

    Args:
        fields: The attributes of a :class:`neuroalign.Responses` by name, converted.

    Raises:
        ValueError: Saying which.
    """
    values, repeats, ceiling = fields["values"], fields["repeats"], fields["noise_ceiling"]
    if values.ndim != 2:
        raise ValueError(f"values must be (trial, voxel); got shape {values.shape}")
    n, v = values.shape
    for name, length in (("stimulus", n), ("session", n), ("shared", n), ("repeats", n), ("roi", v)):
        got = fields[name].shape
        if got != (length,):
            raise ValueError(f"values are ({n}, {v}), so {name} must be ({length},); got {got}")
    if (repeats < 1).any():
        row = int(np.flatnonzero(repeats < 1)[0])
        raise ValueError(f"repeats count the trials of a row, at least 1; row {row} has {repeats[row]}")
    if ceiling is not None:
        if ceiling.shape != (v,):
            raise ValueError(f"values have {v} voxels, noise_ceiling {ceiling.shape}")
        check_ceilings(ceiling)
    valid = fields["valid_repeats"]
    if valid is not None and (valid.shape != (n, v) or valid.dtype.kind not in "iu"):
        raise ValueError(f"values are ({n}, {v}), valid_repeats {valid.shape} of {valid.dtype}; they must be integers")
    for name, axes in (("voxel_index", 3), ("vertex_index", 2)):
        index = fields[name]
        if index is not None and index.shape != (v, axes):
            raise ValueError(f"values have {v} voxels, {name} {index.shape}")
    for columns, length, kind in ((fields["behaviour"], n, "rows"), (fields["maps"], v, "voxels")):
        for name, value in columns.items():
            if value.shape != (length,):
                raise ValueError(f"values have {length} {kind}, {name!r} {value.shape}")


def check_same_voxels(roi: np.ndarray, reference: np.ndarray) -> None:
    """Refuse a reference whose voxels are not those of the responses.

    Args:
        roi: (voxel,) region of each voxel of the responses.
        reference: (voxel,) the same of the reference.

    Raises:
        ValueError: If their number or their regions differ.
    """
    if roi.shape != reference.shape or (roi != reference).any():
        here, there = (f"{len(r)} voxels of {', '.join(dict.fromkeys(map(str, r)))}" for r in (roi, reference))
        raise ValueError(f"the reference has other voxels: {there}, these responses {here}")


def check_split(inside: np.ndarray, what: str) -> None:
    """Refuse a split that leaves one side empty.

    Args:
        inside: (row,) which rows are on one side.
        what: What these rows do, in words.

    Raises:
        ValueError: If it does.
    """
    if inside.all() or not inside.any():
        raise ValueError(f"{int(inside.sum())} of {len(inside)} rows {what}: a split needs some of each")


def refuse_again(history: Sequence[str], step: str, words: str) -> None:
    """Refuse a step that the history of responses already names.

    Raises:
        ValueError: If it does.
    """
    if step in history:
        raise ValueError(f"these responses were {words} already; doing it again would change their scale and noise")
