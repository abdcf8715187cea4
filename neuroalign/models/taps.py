"""Outputs of a network's layers by their names, and the order of their axes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from torch import Tensor, nn

from neuroalign.models.layer_names import network_layers as network_layers
from neuroalign.models.layer_names import resolve_layer as resolve_layer
from neuroalign.models.layer_names import split_part

__all__ = ["record_layers"]


class TapError(TypeError, ValueError):
    """A layer's output has no tensor, or several and the layer's name doesn't say which."""


def check_layer(module: nn.Module, layer: str) -> nn.Module:
    """The submodule that a layer's name means: see :func:`resolve_layer`.

    Raises:
        ValueError: If there is none, or several; the message lists near matches, or those that it could be.
    """
    name, _ = split_part(resolve_layer(module, layer))
    return module.get_submodule(name)


def tapped(output: Any, layer: str) -> Tensor:
    """The tensor in a layer's output: the output itself, or the part that the layer's name asks for.

    If the name asks for no part, the first tensor of a tuple counts: attention layers return values and weights.

    Args:
        output: Output of the layer.
        layer: Dotted name of the layer, followed by ``[i]`` for the i-th of several outputs or ``[key]`` for one of a dict.

    Raises:
        TapError: If there is no tensor or no such part, or one of several branches must be chosen.

    Example:
        >>> tapped([torch.zeros(2, 3), torch.zeros(2, 5)], "stage3[1]").shape
        torch.Size([2, 5])
    """
    name, part = split_part(layer)
    if part is not None:
        try:
            found = output[part]
        except (KeyError, IndexError, TypeError):
            raise TapError(f"layer {layer!r}: {name!r} returns {_parts(output, name)}") from None
        if not isinstance(found, Tensor) or isinstance(output, Tensor):
            raise TapError(f"layer {layer!r}: {name!r} returns {_parts(output, name)}")
        return found
    if isinstance(output, Tensor):
        return output
    first = output[0] if isinstance(output, (tuple, list)) and output else None
    if isinstance(first, Tensor) and not _is_branches(output):
        return first
    raise TapError(f"layer {layer!r} returns {_parts(output, name)}, or tap a layer inside it")


def _is_branches(output: Sequence[Any]) -> bool:
    """Whether the output is several parallel feature maps, as in HRNet, none of which alone is the layer's output."""
    tensors = [x for x in output if isinstance(x, Tensor)]
    return len(tensors) > 1 and (isinstance(output, list) or all(x.ndim == 4 for x in tensors))


def _parts(output: Any, name: str) -> str:
    kind = type(output).__name__
    if isinstance(output, Tensor):
        return f"one tensor: give its name without a part, {name!r}"
    if isinstance(output, Mapping):
        keys = [k for k, v in output.items() if isinstance(v, Tensor)]
    else:
        keys = [i for i, v in enumerate(output) if isinstance(v, Tensor)] if isinstance(output, (tuple, list)) else []
    if not keys:
        return f"a {kind}, not a tensor"
    shapes = ", ".join(f"{f'{name}[{k}]'!r} {tuple(output[k].shape[1:])}" for k in keys)
    return f"a {kind}, not a tensor: say which part you mean, {shapes}"


def keeps_channels_last(shape: Sequence[int], image_shape: Sequence[int]) -> bool:
    """Whether a layer's axes are (height, width, channel), as Swin's, judged by the proportions of the images.

    Args:
        shape: Shape of the layer's output, without the stimulus axis.
        image_shape: (channel, height, width) of the images.

    Returns:
        True if the first two axes have the images' proportions and the last two don't.

    Example:
        >>> (
        ...     keeps_channels_last((14, 14, 384), (3, 224, 224)),
        ...     keeps_channels_last((384, 14, 14), (3, 224, 224)),
        ... )
        (True, False)
    """
    if len(shape) != 3:
        return False
    _, height, width = image_shape

    def proportional(a: int, b: int) -> bool:
        return abs(a * width - b * height) < max(height, width)  # to within a pixel of the layer

    first, second, last = shape
    return proportional(first, second) and not proportional(second, last)


@contextmanager
def record_layers(module: nn.Module, layers: Sequence[str]) -> Iterator[dict[str, Tensor]]:
    """Record the outputs of named layers of any module while the context is open.

    Args:
        module: Any module.
        layers: Dotted names of submodules, or their last parts where only one layer has them: see :func:`resolve_layer`. If
            one returns several tensors, add which one: ``"stage3[1]"``.

    Yields:
        A dict that holds, after each forward pass, the last output of every layer that ran, as a copy, by the given name.

    Raises:
        ValueError: If a layer doesn't exist (the message lists near matches), or a short name means several layers.

    Example:
        >>> net = nn.Sequential(nn.Linear(2, 3), nn.ReLU())
        >>> with record_layers(net, ["0"]) as features:
        ...     _ = net(torch.zeros(4, 2))
        >>> features["0"].shape
        torch.Size([4, 3])
    """
    recorded: dict[str, Tensor] = {}

    def save(layer: str, _module: nn.Module, _inputs: Any, output: Any) -> None:
        recorded[layer] = tapped(output, layer).clone()

    handles = [check_layer(module, layer).register_forward_hook(partial(save, layer)) for layer in layers]
    try:
        yield recorded
    finally:
        for handle in handles:
            handle.remove()
