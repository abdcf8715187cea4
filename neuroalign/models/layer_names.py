"""Names of a network's layers: which there are, and which one a short name means."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence

from torch import nn

__all__ = ["network_layers", "resolve_layer"]

_NO_LAYERS = (
    "neuroalign.guidance",
    "neuroalign.losses",
    "neuroalign.metrics",
    "neuroalign.models.frozen.Frozen",
    "torch.nn.modules.loss",
    "torchmetrics",
)
"""Modules and classes whose objects, and what they hold, are beside a network: their layers are none of its own."""

_NETWORKS_OF_TASKS = ("network", "predictor")
_SHOWN = 6


def network_layers(module: nn.Module) -> list[str]:
    """Names of the layers whose outputs can be recorded, in the order in which they were added to the network.

    Losses, metrics, guidance with its predictors, and robust training are left out: of one of neuroalign's tasks only its
    network's layers remain. Modules that can't be called, such as ``ModuleList``, and ``nn.Identity`` are left out as well.

    Args:
        module: Any network, or a task that trains one.

    Returns:
        Dotted names, each of which :func:`record_layers` takes.

    Example:
        >>> network = nn.Sequential(nn.Linear(2, 3), nn.Identity(), nn.Sequential(nn.ReLU()))
        >>> network_layers(network)
        ['0', '2', '2.0']
    """
    return [name for name, layer in _layers(module, "") if not isinstance(layer, nn.Identity) and _is_called(layer)]


def resolve_layer(module: nn.Module, name: str) -> str:
    """The full dotted name of the layer that a name means.

    A full name always means that layer. Otherwise the name is that of a layer of the network's backbone, as response heads
    name it, or the last parts of one layer's full name: ``"layer3"`` or ``"backbone.layer3"`` for
    ``"network.trunk.backbone.layer3"``.

    Args:
        module: Any network, or a task that trains one.
        name: A full dotted name or its last parts; ``[i]`` or ``[key]`` at its end, which asks for one of several outputs, is
            kept.

    Raises:
        TypeError: If the name is no string.
        ValueError: If no layer has that name (the message has near matches), or several do (the message lists them).

    Example:
        >>> network = nn.ModuleDict({"trunk": nn.Sequential(nn.Linear(2, 3), nn.ReLU())})
        >>> (
        ...     resolve_layer(network, "trunk.1"),
        ...     resolve_layer(network, "1"),
        ...     resolve_layer(network, "1[0]"),
        ... )
        ('trunk.1', 'trunk.1', 'trunk.1[0]')
        >>> resolve_layer(network, "trunk.2")
        Traceback (most recent call last):
        ValueError: unknown layer 'trunk.2'; did you mean 'trunk.0' or 'trunk.1' or 'trunk'?
    """
    if not isinstance(name, str):
        raise TypeError(f"a layer is given by its dotted name, such as '0' or 'layer3'; got {name!r}")
    bare, part = split_part(name)
    asked = "" if part is None else name[len(bare) :]
    if asked and not bare:
        raise ValueError(
            f"{name!r} asks for a part of a layer's output without the layer: write its name before, 'layer3{name}'"
        )
    modules = dict(module.named_modules(remove_duplicate=False))
    if bare and bare in modules:
        return name
    in_backbone = [f"{backbone}.{bare}" for backbone in _backbones(module) if f"{backbone}.{bare}" in modules]
    if bare and len(in_backbone) == 1:
        return in_backbone[0] + asked
    layers = [n for n, layer in _layers(module, "") if _is_called(layer)]
    found = [n for n in layers if n.endswith(f".{bare}")] if bare else []
    if len(found) == 1:
        return found[0] + asked
    if found:
        raise ValueError(f"{len(found)} layers are named {bare!r}: {_listed(found)}; write more of the name")
    raise ValueError(_unknown(bare, network_layers(module)))


def split_part(layer: str) -> tuple[str, int | str | None]:
    """A layer's name without the part of its output that it asks for, and that part: an index, a key, or None.

    Example:
        >>> split_part("stage3[1]"), split_part("encoder[features]"), split_part("layer3")
        (('stage3', 1), ('encoder', 'features'), ('layer3', None))
    """
    match = re.fullmatch(r"(.*)\[([^\[\]]+)\]", layer)
    if match is None:
        return layer, None
    name, part = match.groups()
    return name, int(part) if part.lstrip("-").isdigit() else part


def _layers(module: nn.Module, name: str) -> Iterator[tuple[str, nn.Module]]:
    """Layers of a network by name, without what is beside the network."""
    children = dict(module.named_children())
    if _is_of(module, ("neuroalign.tasks",)):
        children = {n: child for n, child in children.items() if n in _NETWORKS_OF_TASKS}
    for child_name, child in children.items():
        if _is_of(child, _NO_LAYERS):
            continue
        path = f"{name}.{child_name}" if name else child_name
        yield path, child
        yield from _layers(child, path)


def _is_of(module: nn.Module, origins: tuple[str, ...]) -> bool:
    """Whether a module's class, or one that it is derived from, is or comes from one of these classes or modules."""
    paths = [f"{base.__module__}.{base.__qualname__}." for base in type(module).__mro__]
    return any(path.startswith(f"{origin}.") for path in paths for origin in origins)


def _is_called(module: nn.Module) -> bool:
    """Whether a module has a ``forward``, which lists and dicts of modules don't."""
    return type(module).forward is not nn.Module.forward


def _backbones(module: nn.Module) -> list[str]:
    """Names of the backbones inside the network's trunks."""
    trunks = [("", module), *_layers(module, "")]
    return [
        f"{name}.backbone".lstrip(".")
        for name, trunk in trunks
        if _is_of(trunk, ("neuroalign.models.backbones.Trunk",))
    ]


def _unknown(name: str, layers: Sequence[str]) -> str:
    """An error message with the layers whose names, or whose last parts, are nearest to a name."""
    shown, num_parts = name[:100], name.count(".") + 1
    scores: dict[str, float] = {}
    for layer in layers:
        last = ".".join(layer.split(".")[-num_parts:])
        scores[layer] = max(difflib.SequenceMatcher(None, shown.lower(), end.lower()).ratio() for end in (layer, last))
    near = sorted((layer for layer in layers if scores[layer] >= 0.4), key=lambda layer: -scores[layer])[:3]
    if near:
        return f"unknown layer {shown!r}; did you mean {' or '.join(map(repr, near))}?"
    return f"unknown layer {shown!r}; known: {_listed(sorted(layers, key=lambda layer: layer.count('.')))}"


def _listed(layers: Sequence[str]) -> str:
    more = len(layers) - _SHOWN
    return ", ".join(layers[:_SHOWN]) + (f" and {more} more" if more > 0 else "") if layers else "none"
