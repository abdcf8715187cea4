"""Responses to and from xarray, the form in which Brain-Score and others share recordings (extra ``xarray``)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from neuroalign.data.fields import as_identities, as_values, number_names

__all__: list[str] = []


def read_assembly(assembly: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """The fields of a recording from the assembly that :meth:`neuroalign.data.Responses.from_xarray` is given.

    Returns:
        Arguments of :meth:`neuroalign.data.Responses.from_arrays`, and further fields: repeats, behaviour and maps.

    Raises:
        TypeError: If it is no DataArray, or a further field is of another kind.
        ValueError: If its axes are others, it has no ``stimulus_id``, or a ``stimulus_id`` is missing.
    """
    _xarray()
    if not hasattr(assembly, "dims"):
        raise TypeError(f"from_xarray takes an xarray.DataArray; got {type(assembly).__name__}")
    if "time_bin" in assembly.dims and assembly.sizes["time_bin"] == 1:
        assembly = assembly.squeeze("time_bin", drop=True)
    if set(assembly.dims) != {"presentation", "neuroid"}:
        raise ValueError(f"an assembly has the axes presentation and neuroid; got {assembly.dims} (with several time bins, "
                         "select one or average them first)")  # fmt: skip
    assembly = assembly.transpose("presentation", "neuroid")
    if "stimulus_id" not in assembly.coords:
        raise ValueError(f"the assembly has no stimulus_id for its presentations; it has {list(assembly.coords)}")
    info = json.loads(assembly.attrs.get("neuroalign_info", "{}"))
    stimulus, names = number_names(assembly.coords["stimulus_id"].values, "stimulus_id")
    if names is not None:
        info["stimulus_id"] = names

    def column(name: str, default: Any) -> Any:
        return assembly.coords[name].values if name in assembly.coords else default

    recorded = {
        "values": assembly.values,
        "stimulus": stimulus,
        "session": column("session", None),
        "roi": column("region", "unknown"),
        "noise_ceiling": column("noise_ceiling", None),
        "shared": column("shared", None),
        "info": info,
        "history": tuple(json.loads(assembly.attrs.get("neuroalign_history", "[]"))),
    }
    further: dict[str, Any] = {
        group: {name: as_values(column(name, None), name) for name in json.loads(assembly.attrs.get(key, "[]"))}
        for group, key in (("behaviour", "neuroalign_behaviour"), ("maps", "neuroalign_maps"))
    }
    further["valid_repeats"] = column("valid_repetitions", None)
    if "repetitions" in assembly.coords:
        further["repeats"] = as_identities(column("repetitions", None), "repetitions")
    return recorded, further


def make_assembly(fields: Mapping[str, Any]) -> Any:
    """An assembly (presentation, neuroid) of the fields of responses, by name; :func:`read_assembly` reads it."""
    xarray = _xarray()
    names = fields["info"].get("stimulus_id")
    ids = fields["stimulus"] if names is None else np.asarray(names, dtype=object)[fields["stimulus"]]
    coords: dict[str, Any] = {
        "stimulus_id": ("presentation", ids),
        "session": ("presentation", fields["session"]),
        "repetitions": ("presentation", fields["repeats"]),
        "shared": ("presentation", fields["shared"]),
        "region": ("neuroid", fields["roi"].astype(object)),
        "neuroid_id": ("neuroid", np.arange(fields["values"].shape[1])),
    }
    if fields["noise_ceiling"] is not None:
        coords["noise_ceiling"] = ("neuroid", fields["noise_ceiling"])
    if fields["valid_repeats"] is not None:
        coords["valid_repetitions"] = (("presentation", "neuroid"), fields["valid_repeats"])
    for axis, group in (("presentation", fields["behaviour"]), ("neuroid", fields["maps"])):
        coords |= {name: (axis, value) for name, value in group.items()}
    info = {k: v for k, v in fields["info"].items() if k != "stimulus_id"}
    attributes = {"neuroalign_info": json.dumps(info), "neuroalign_history": json.dumps(fields["history"]),
                  "neuroalign_behaviour": json.dumps(list(fields["behaviour"])),
                  "neuroalign_maps": json.dumps(list(fields["maps"]))}  # fmt: skip
    return xarray.DataArray(fields["values"], dims=("presentation", "neuroid"), coords=coords, attrs=attributes)


def _xarray() -> Any:
    try:
        import xarray
    except ImportError as error:
        raise ImportError("assemblies need the extra 'xarray': pip install 'neuroalign[xarray]'") from error
    return xarray
