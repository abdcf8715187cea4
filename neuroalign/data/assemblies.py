"""Responses to and from xarray, the form in which Brain-Score and others pass recordings on (extra ``xarray``)."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np

from neuroalign.data.fields import as_identities, as_values, number_names
from neuroalign.data.responses import Responses


def from_xarray(assembly: Any) -> Responses:
    """Responses from an assembly with the axes presentation and neuroid (and time_bin, if there is only one).

    Coordinates that are used where there are any: ``stimulus_id``, ``session`` and ``shared`` of presentations, ``region``
    and ``noise_ceiling`` of neuroids. Ids that are names are numbered in sorted order, and kept in ``info["stimulus_id"]``.

    Args:
        assembly: A DataArray, such as ``xarray.open_dataarray(path)`` gives from NetCDF.

    Raises:
        TypeError: If it is no DataArray, its values are no real numbers, or sessions are names.
        ValueError: If its axes are others, it has no ``stimulus_id``, a ``stimulus_id`` or ``region`` is missing, or a
            ``noise_ceiling`` is above 1.

    Example:
        >>> import xarray
        >>> data = np.random.randn(4, 3)
        >>> ids = ("presentation", ["face", "face", "house", "car"])
        >>> assembly = xarray.DataArray(data, dims=("presentation", "neuroid"), coords={"stimulus_id": ids})
        >>> responses = from_xarray(assembly)
        >>> responses.stimulus, responses.info["stimulus_id"]
        (array([1, 1, 2, 0]), ['car', 'face', 'house'])
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

    extras = {
        group: {name: as_values(column(name, None), name) for name in json.loads(assembly.attrs.get(key, "[]"))}
        for group, key in (("behaviour", "neuroalign_behaviour"), ("maps", "neuroalign_maps"))
    }
    responses = Responses.from_arrays(
        assembly.values,
        stimulus=stimulus,
        session=column("session", None),
        roi=column("region", "unknown"),
        noise_ceiling=column("noise_ceiling", None),
        shared=column("shared", None),
        info=info,
        history=tuple(json.loads(assembly.attrs.get("neuroalign_history", "[]"))),
    )
    return replace(
        responses,
        repeats=as_identities(column("repetitions", responses.repeats), "repetitions"),
        valid_repeats=column("valid_repetitions", None),
        **extras,
    )


def to_xarray(responses: Responses) -> Any:
    """An assembly (presentation, neuroid) that :func:`from_xarray` reads, and that NetCDF can hold.

    Example:
        >>> assembly = to_xarray(Responses.from_arrays(np.random.randn(6, 2), stimulus=[0, 0, 1, 1, 2, 2], roi="V4"))
        >>> assembly.dims, assembly.coords["region"].values.tolist()
        (('presentation', 'neuroid'), ['V4', 'V4'])
    """
    xarray = _xarray()
    names = responses.info.get("stimulus_id")
    ids = responses.stimulus if names is None else np.asarray(names, dtype=object)[responses.stimulus]
    coords: dict[str, Any] = {
        "stimulus_id": ("presentation", ids),
        "session": ("presentation", responses.session),
        "repetitions": ("presentation", responses.repeats),
        "shared": ("presentation", responses.shared),
        "region": ("neuroid", responses.roi.astype(object)),
        "neuroid_id": ("neuroid", np.arange(responses.num_voxels)),
    }
    if responses.noise_ceiling is not None:
        coords["noise_ceiling"] = ("neuroid", responses.noise_ceiling)
    if responses.valid_repeats is not None:
        coords["valid_repetitions"] = (("presentation", "neuroid"), responses.valid_repeats)
    for axis, group in (("presentation", responses.behaviour), ("neuroid", responses.maps)):
        coords |= {name: (axis, value) for name, value in group.items()}
    info = {k: v for k, v in responses.info.items() if k != "stimulus_id"}
    attributes = {"neuroalign_info": json.dumps(info), "neuroalign_history": json.dumps(responses.history),
                  "neuroalign_behaviour": json.dumps(list(responses.behaviour)),
                  "neuroalign_maps": json.dumps(list(responses.maps))}  # fmt: skip
    return xarray.DataArray(responses.values, dims=("presentation", "neuroid"), coords=coords, attrs=attributes)


def _xarray() -> Any:
    try:
        import xarray
    except ImportError as error:
        raise ImportError("assemblies need the extra 'xarray': pip install 'neuroalign[xarray]'") from error
    return xarray
