"""Checks of the fields of responses: their types, and whether they fit together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from neuroalign.data.fields import as_flags, as_identities, as_places, as_regions, as_values, check_ceilings

if TYPE_CHECKING:
    from neuroalign.data.responses import Responses

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


def convert_fields(responses: Responses) -> None:
    """Convert every field to its type; a file from another machine may hold another width or byte order.

    Raises:
        TypeError: If a field is of another kind.
        ValueError: If a number is not whole where it must be, or infinite.
    """
    values = responses.values
    # Values of the right type are not touched: they may be mapped from a large file.
    if not isinstance(values, np.ndarray) or values.dtype != np.float32 or not values.dtype.isnative:
        object.__setattr__(responses, "values", as_values(values, "values"))
    for name, convert in _CONVERT.items():
        value = getattr(responses, name)
        if value is not None or name not in _OPTIONAL:
            object.__setattr__(responses, name, convert(value, name))
    for kind in ("behaviour", "maps"):
        fields = getattr(responses, kind)
        for name, value in fields.items():
            if value.dtype != np.float32 or not value.dtype.isnative:
                fields = {**fields, name: _as_float32(value, f"{kind} {name!r}")}
        object.__setattr__(responses, kind, fields)


def _as_float32(values: np.ndarray, what: str) -> np.ndarray:
    if values.dtype.kind not in "fiub":
        raise TypeError(f"{what} must be real numbers; got the type {values.dtype}")
    with np.errstate(over="ignore"):
        return values.astype(np.float32)


def check_fields(responses: Responses) -> None:
    """Refuse fields that don't fit together, ceilings above 1, and rows that are the mean of no trial.

    Raises:
        ValueError: Saying which.
    """
    if responses.values.ndim != 2:
        raise ValueError(f"values must be (trial, voxel); got shape {responses.values.shape}")
    n, v = responses.values.shape
    for name, length in (("stimulus", n), ("session", n), ("shared", n), ("repeats", n), ("roi", v)):
        got = getattr(responses, name).shape
        if got != (length,):
            raise ValueError(f"values are ({n}, {v}), so {name} must be ({length},); got {got}")
    if (responses.repeats < 1).any():
        row = int(np.flatnonzero(responses.repeats < 1)[0])
        raise ValueError(f"repeats count the trials of a row, at least 1; row {row} has {responses.repeats[row]}")
    if responses.noise_ceiling is not None:
        if responses.noise_ceiling.shape != (v,):
            raise ValueError(f"values have {v} voxels, noise_ceiling {responses.noise_ceiling.shape}")
        check_ceilings(responses.noise_ceiling)
    valid = responses.valid_repeats
    if valid is not None and (valid.shape != (n, v) or valid.dtype.kind not in "iu"):
        raise ValueError(f"values are ({n}, {v}), valid_repeats {valid.shape} of {valid.dtype}; they must be integers")
    for name, axes in (("voxel_index", 3), ("vertex_index", 2)):
        index = getattr(responses, name)
        if index is not None and index.shape != (v, axes):
            raise ValueError(f"values have {v} voxels, {name} {index.shape}")
    for fields, length, kind in ((responses.behaviour, n, "rows"), (responses.maps, v, "voxels")):
        for name, value in fields.items():
            if value.shape != (length,):
                raise ValueError(f"values have {length} {kind}, {name!r} {value.shape}")


def check_same_voxels(responses: Responses, reference: Responses) -> None:
    """Refuse a reference whose voxels are not those of the responses.

    Raises:
        ValueError: If their number or their regions differ.
    """
    if reference.num_voxels != responses.num_voxels or (reference.roi != responses.roi).any():
        raise ValueError(f"the reference has other voxels: {reference} against {responses}")


def refuse_again(history: Sequence[str], step: str, words: str) -> None:
    """Refuse a step that the history of responses already names.

    Raises:
        ValueError: If it does.
    """
    if step in history:
        raise ValueError(f"these responses were {words} already; doing it again would change their scale and noise")
