"""What a configuration leaves open: voxels and noise ceiling are its data's, widths of heads its predictors'."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, MutableMapping
from typing import Any

from neuroalign.commands.configuration_classes import class_named, required_by

__all__: list[str] = []

_NAME = "num_voxels"


OPEN = 0
"""Stands for a number of voxels that is not known yet, since the parser wants one."""


def open_places(model: Any) -> dict[str, MutableMapping[str, Any]]:
    """The arguments of all classes in a model's configuration that need a number of voxels and have none.

    Args:
        model: Plain values, as they stand in a configuration; the places can be filled in.

    Returns:
        By their dotted path.

    Example:
        >>> model = {
        ...     "class_path": "neuroalign.models.NeuralPredictor",
        ...     "init_args": {"backbone": "resnet18"},
        ... }
        >>> for place in open_places(model).values():
        ...     place["num_voxels"] = 80
        >>> model["init_args"]
        {'backbone': 'resnet18', 'num_voxels': 80}
    """
    return dict(_open(model, "model"))


def _open(value: Any, where: str) -> Iterator[tuple[str, MutableMapping[str, Any]]]:
    if isinstance(value, (list, tuple)):
        for number, each in enumerate(value):
            yield from _open(each, f"{where}[{number}]")
    elif isinstance(value, MutableMapping):
        path = value.get("class_path")
        if isinstance(path, str):
            if value.get("init_args") is None:
                value["init_args"] = {}
            arguments = value["init_args"]
            if isinstance(arguments, MutableMapping) and not arguments.get(_NAME) and _needs_it(path):
                yield f"{where}.init_args", arguments
        for key, each in list(value.items()):
            yield from _open(each, f"{where}.{key}")


def _needs_it(path: str) -> bool:
    try:
        cls = class_named(path, "")
    except Exception:  # a module that can't be imported: the parser tells why
        return False
    return cls is not None and _NAME in required_by(cls)


def placeholders(model: Any) -> list[str]:
    """Fill the open places with a number that stands for none, and return the options that do so for the parser."""
    places = open_places(model)
    for place in places.values():
        place[_NAME] = OPEN
    return [f"--{where}.{_NAME}={OPEN}" for where in places if "[" not in where]


def num_voxels_of(data: Any) -> int:
    """The number of voxels of a DataModule's responses; its cache is made first, if it has one.

    Raises:
        ValueError: If the DataModule doesn't know it.
    """
    number = _known(data, _NAME)
    if not isinstance(number, int):
        raise ValueError(
            f"num_voxels is missing in `model`, and {type(data).__name__} has no number of voxels: give it"
        )
    return number


def _known(data: Any, name: str) -> Any:
    try:
        return getattr(data, name, None)
    except FileNotFoundError:  # a cache that is not made yet, or missing data: then this says so
        data.prepare_data()
        return getattr(data, name, None)


def wants_noise_ceiling(model: Mapping[str, Any], data: Any) -> bool:
    """Whether a model's configuration leaves its noise ceiling open, and the class of its DataModule may know it.

    Args:
        model: Plain values, with all arguments of the class.
        data: What the configuration says of the DataModule; None if nothing.

    Example:
        >>> model = {
        ...     "class_path": "neuroalign.tasks.NeuralPredictionTask",
        ...     "init_args": {"noise_ceiling": None},
        ... }
        >>> wants_noise_ceiling(model, {"class_path": "neuroalign.data.ResponsesDataModule"})
        True
    """
    arguments = model.get("init_args") or {}
    if "noise_ceiling" not in arguments or arguments["noise_ceiling"] is not None or data is None:
        return False
    cls = class_named(str(data.get("class_path")), "")
    return cls is not None and hasattr(cls, "noise_ceiling")


def noise_ceiling_of(data: Any) -> list[float] | None:
    """The noise ceiling of a DataModule's responses; None if it is unknown, or 0 in all voxels."""
    ceiling = _known(data, "noise_ceiling")
    if ceiling is None:
        return None
    from neuroalign.metrics import NoiseNormalizedCorrelation

    try:
        NoiseNormalizedCorrelation(ceiling, reduction="median")
    except ValueError as error:
        warnings.warn(f"the correlation isn't divided by the noise ceiling: {error}", stacklevel=2)
        return None
    return [float(value) for value in ceiling]


def fill_noise_ceiling(arguments: Any, data: Any) -> None:
    """Set a task's noise ceiling to that of the data, if the task takes one and its configuration leaves it open."""
    if arguments.get("noise_ceiling", ...) is None:
        arguments["noise_ceiling"] = noise_ceiling_of(data)


def open_heads(model: Any) -> dict[str, MutableMapping[str, Any]]:
    """The heads of a model's network that need a number of outputs and have none, by name.

    Args:
        model: Plain values, as they stand in a configuration; the number can be filled in.

    Example:
        >>> network = {
        ...     "class_path": "neuroalign.models.GuidedNetwork",
        ...     "init_args": {"heads": {"V4": {"layer": "layer3"}}},
        ... }
        >>> open_heads(
        ...     {
        ...         "class_path": "neuroalign.tasks.GuidedClassificationTask",
        ...         "init_args": {"network": network},
        ...     }
        ... )
        {'V4': {'layer': 'layer3'}}
    """
    arguments = model.get("init_args") or {} if isinstance(model, Mapping) else {}
    network = arguments.get("network")
    heads = (network.get("init_args") or {}).get("heads") if isinstance(network, Mapping) else None
    if not isinstance(heads, MutableMapping):
        return {}
    for name, head in heads.items():
        if head is None or isinstance(head, str):  # a layer alone
            heads[name] = {"layer": head}
    return {
        name: head
        for name, head in heads.items()
        if isinstance(head, MutableMapping) and head.get("num_outputs") is None and head.get("head") != "identity"
    }


def head_widths_of(guidance: Any) -> dict[str, int]:
    """Widths of the targets of all guidances in one, by head."""
    found: dict[str, int] = {}
    for module in guidance.modules():
        found |= getattr(module, "head_widths", {})
    return found


def fill_heads(heads: Mapping[str, MutableMapping[str, Any]], widths: Mapping[str, int]) -> None:
    """Set the number of outputs of heads.

    Raises:
        ValueError: If the width of a head's target is not known.
    """
    for name, head in heads.items():
        if name not in widths:
            raise ValueError(
                f"head {name!r} of the network has no num_outputs, and the guidance has no predictor for it"
                + (f", only for {', '.join(map(repr, widths))}" if widths else "")
                + ": give num_outputs, the number of voxels"
            )
        head["num_outputs"] = widths[name]
