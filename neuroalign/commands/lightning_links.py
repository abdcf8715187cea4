"""Numbers of voxels that a configuration leaves open are taken from its data."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from typing import Any

from neuroalign.commands.configuration_classes import class_named, required_by

__all__: list[str] = []

_NAME = "num_voxels"


def open_places(model: Any) -> list[MutableMapping[str, Any]]:
    """The arguments of all classes in a model's configuration that need a number of voxels and have none.

    Args:
        model: Plain values, as they stand in a configuration; the places can be filled in.

    Example:
        >>> model = {"class_path": "neuroalign.models.NeuralPredictor", "init_args": {"backbone": "resnet18"}}
        >>> for place in open_places(model):
        ...     place["num_voxels"] = 80
        >>> model["init_args"]
        {'backbone': 'resnet18', 'num_voxels': 80}
    """
    return list(_open(model))


def _open(value: Any) -> Iterator[MutableMapping[str, Any]]:
    if isinstance(value, (list, tuple)):
        for each in value:
            yield from _open(each)
    elif isinstance(value, MutableMapping):
        path = value.get("class_path")
        if isinstance(path, str):
            arguments = value.setdefault("init_args", {})
            cls = class_named(path, "")
            if cls is not None and arguments.get(_NAME) is None and _NAME in required_by(cls):
                yield arguments
        for each in list(value.values()):
            yield from _open(each)


def num_voxels_of(data: Any) -> int:
    """The number of voxels of a DataModule's responses; its cache is made first, if it has one.

    Raises:
        ValueError: If the DataModule doesn't know it.
    """
    try:
        number = getattr(data, _NAME, None)
    except FileNotFoundError:  # a cache that is not made yet, or missing data: then this says so
        data.prepare_data()
        number = getattr(data, _NAME, None)
    if not isinstance(number, int):
        raise ValueError(
            f"num_voxels is missing in `model`, and {type(data).__name__} doesn't know it: give the number of voxels"
        )
    return number
