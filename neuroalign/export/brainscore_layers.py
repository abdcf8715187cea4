"""Which layer of a network stands for which region in Brain-Score, and among which layers it may choose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from neuroalign.export.plain import PlainClassifier
from neuroalign.models import GuidedNetwork
from neuroalign.models.taps import check_layer
from neuroalign.types import unknown

__all__: list[str] = []

REGIONS = ("V1", "V2", "V4", "IT")
"""Regions for which Brain-Score has public benchmarks, by which it selects layers."""

_FOR_IT = ("IT", "ventral", "LO", "VO", "PHC", "TO")

IT_NOTE = (
    "IT is a region of the monkey. Where no head is named IT, its layer is that of the first head among ventral, LO, VO, PHC "
    "and TO: a choice, made because the human object-selective areas LO are those most often compared with the monkey's IT."
)


@dataclass(frozen=True)
class RegionLayer:
    """The layer that stands for a region.

    Attributes:
        region: Name of the region in Brain-Score.
        layer: Dotted name of the layer in the plain classifier; None if Brain-Score must select it.
        reason: Where that comes from.
    """

    region: str
    layer: str | None
    reason: str


def region_layers_of(
    network: GuidedNetwork, plain: PlainClassifier, given: Mapping[str, str] | None
) -> list[RegionLayer]:
    """The layer of every region: what the caller gives, else what the heads read, else none.

    Raises:
        ValueError: If a region or a layer is unknown.
    """
    given = dict(given or {})
    for region in given:
        if region not in REGIONS:
            raise ValueError(unknown("region of Brain-Score", region, REGIONS))
    heads = {name.lower(): name for name in reversed(list(network.head_layers))}
    found = []
    for region in REGIONS:
        names = _FOR_IT if region == "IT" else (region,)
        head = next((heads[name.lower()] for name in names if name.lower() in heads), None)
        if region in given:
            found.append(RegionLayer(region, layer_name(plain, given[region]), "given by the caller"))
        elif head is not None:
            found.append(RegionLayer(region, layer_name(plain, network.head_layers[head]), f"read by the head {head}"))
        else:
            found.append(RegionLayer(region, None, "no head of this region, and no layer given"))
    return found


def layer_name(plain: PlainClassifier, layer: str | None) -> str:
    """The dotted name in the plain classifier of a layer of the backbone; None means the final features.

    Raises:
        ValueError: If there is no such layer, or it returns more than one tensor.
    """
    if layer is None:
        return "trunk"
    module = check_layer(plain.trunk.backbone, layer)
    name = next(n for n, m in plain.named_modules() if m is module)
    if name not in _tensor_layers(plain):
        raise ValueError(f"layer {layer!r} does not return one tensor, which Brain-Score needs: name another layer")
    return name


def candidate_layers(plain: PlainClassifier, given: Sequence[str] | None, regions: Sequence[str]) -> list[str]:
    """Layers among which Brain-Score may select, in the order in which they run, and the final features as the last.

    Args:
        plain: The classifier.
        given: Layers of the backbone; None takes its blocks, which are the parts of its sequences, and its other parts.
        regions: Layers of regions, which are among them in any case.

    Raises:
        ValueError: If a given layer is unknown.
    """
    run = _tensor_layers(plain)
    wanted = {layer_name(plain, layer) for layer in given} if given is not None else set(_blocks(plain.trunk.backbone))
    wanted |= set(regions)
    return [*(layer for layer in run if layer in wanted and layer != "trunk"), "trunk"]


def _blocks(backbone: nn.Module) -> list[str]:
    """Names of a backbone's blocks: its parts, and in place of a sequence of parts these."""
    found = []
    for name, child in backbone.named_children():
        several = isinstance(child, (nn.Sequential, nn.ModuleList)) and len(child) > 0
        parts = [f"{name}.{n}" for n, _ in child.named_children()] if several else [name]
        found += [f"trunk.backbone.{part}" for part in parts if list(backbone.get_submodule(part).parameters())]
    return found


def _tensor_layers(plain: PlainClassifier) -> list[str]:
    """Names of the layers that return one tensor, in the order in which they run last."""
    run: list[str] = []
    names = {module: name for name, module in plain.named_modules()}

    def note(name: str, _module: nn.Module, _inputs: Any, output: Any) -> None:
        if name in run:
            run.remove(name)
        if isinstance(output, Tensor):
            run.append(name)

    handles = [module.register_forward_hook(partial(note, name)) for module, name in names.items() if name]
    try:
        with torch.no_grad():
            plain(torch.full((1, *plain.trunk.image_shape), 0.5))
    finally:
        for handle in handles:
            handle.remove()
    return run
