"""Whether a network has the heads that guidance needs, with the widths of their targets: told before the first batch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from torch import nn

from neuroalign.guidance.manifold import ManifoldGuidance
from neuroalign.guidance.relations import OddOneOutGuidance, RDMGuidance
from neuroalign.guidance.responses import TargetGuidance, check_heads

__all__: list[str] = []


def check_network_heads(guidance: nn.Module | None, heads: Mapping[str, nn.Module]) -> None:
    """Refuse guidance of heads that a network lacks, or whose width is not that of their targets.

    Args:
        guidance: Guidance of any kind, or None.
        heads: The network's heads by name; their ``num_outputs`` is the width.

    Raises:
        ValueError: If a head is missing (the message has near matches), or has another number of outputs than its target has
            voxels, for a loss that compares voxel by voxel.

    Example:
        >>> from neuroalign import MeasuredGuidance
        >>> from neuroalign.models import FullLinear
        >>> check_network_heads(MeasuredGuidance({"V4": 3}), {"V4": FullLinear((8,), 5)})
        Traceback (most recent call last):
        ValueError: head 'V4' has 5 outputs and its target 3 voxels, which the loss 'mse' compares one by one: give the head 3
    """
    for part in _parts(guidance):
        for head, (width, loss) in _wanted(part).items():
            check_heads(heads, [head])
            outputs = getattr(heads[head], "num_outputs", None)
            if isinstance(outputs, int) and width not in (None, outputs):
                raise ValueError(
                    f"head {head!r} has {outputs} outputs and its target {width} voxels, which {loss} compares one by one: "
                    f"give the head {width}"
                )


def _parts(guidance: nn.Module | None) -> Iterator[nn.Module]:
    """The guidances of known kinds in one; a control counts as one, without the guidance that it wraps."""
    if guidance is None:
        return
    if isinstance(guidance, (ManifoldGuidance, OddOneOutGuidance, RDMGuidance, TargetGuidance)):
        yield guidance
        return
    for child in guidance.children():
        yield from _parts(child)


def _wanted(guidance: Any) -> dict[str, tuple[int | None, str]]:
    """Heads that a guidance needs, each with the width that it must have, if that is known, and what compares it."""
    if isinstance(guidance, OddOneOutGuidance):
        return {guidance.head: (None, "")}
    if isinstance(guidance, RDMGuidance):
        return dict.fromkeys(guidance.losses, (None, ""))
    if isinstance(guidance, ManifoldGuidance):
        return {
            head: (getattr(getattr(loss, "manifolds", None), "num_inputs", None), "the loss of its manifolds")
            for head, loss in guidance.losses.items()
        }
    widths: dict[str, int] = {}
    for inner in guidance.modules():  # the guidance that a control wraps knows the widths
        widths |= getattr(inner, "head_widths", {})
    wanted: dict[str, tuple[int | None, str]] = {}
    for head in guidance.heads_guided or ():
        loss = guidance.loss_of(head)
        one_by_one = getattr(loss, "compares_sets", None) is False
        wanted[head] = (widths.get(head) if one_by_one else None, f"the loss {getattr(loss, 'name', '')!r}")
    return wanted
