"""Whether a network has the heads that guidance needs, with the widths of their targets: told before the first batch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from torch import nn

from neuroalign.guidance.responses import check_heads

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
        ValueError: head 'V4' has 5 outputs and its target 3 voxels, which the loss 'mse'
        compares one by one: give the head 3
    """
    for part in _parts(guidance):
        for head, (width, by) in part.heads_needed().items():
            check_heads(heads, [head])
            outputs = getattr(heads[head], "num_outputs", None)
            if isinstance(outputs, int) and width not in (None, outputs):
                raise ValueError(
                    f"head {head!r} has {outputs} outputs and its target {width} voxels, which {by} compares one by one: "
                    f"give the head {width}"
                )


def _parts(guidance: nn.Module | None) -> Iterator[Any]:
    """The parts of a guidance that say which heads they need; a control counts as one, without what it wraps."""
    if guidance is None:
        return
    if hasattr(guidance, "heads_needed"):
        yield guidance
        return
    for child in guidance.children():
        yield from _parts(child)
