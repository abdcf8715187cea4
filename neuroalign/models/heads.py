"""Response heads: from a layer's output to predicted responses."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor, nn

from neuroalign.types import unknown

HeadBuilder = Callable[[Sequence[int], "int | None"], nn.Module]
"""From the shape of a layer's output (without the stimulus axis) and a number of outputs to a head."""


class PooledLinear(nn.Module):
    """Adaptive average pooling, then a linear map: the paper's response head.

    Args:
        feature_shape: (channel, height, width) of the layer, or (feature,), or (token, feature), which is averaged over
            tokens.
        num_outputs: Number of voxels.
        size: Height and width after pooling. The paper uses 4 after ``layer1``, 2 after ``layer2`` and ``layer3``, 1
            after ``layer4``.

    Example:
        >>> PooledLinear((64, 8, 8), num_outputs=30, size=2)(torch.rand(5, 64, 8, 8)).shape
        torch.Size([5, 30])
    """

    def __init__(self, feature_shape: Sequence[int], num_outputs: int, size: int = 1) -> None:
        super().__init__()
        if not isinstance(num_outputs, int) or num_outputs < 1:
            raise ValueError(f"num_outputs must be a positive number of voxels; got {num_outputs!r}")
        if size < 1:
            raise ValueError(f"size must be at least 1; got {size}")
        if len(feature_shape) == 3:
            channels, *space = feature_shape
            if size > min(space):
                raise ValueError(f"can't pool a layer of {space[0]}x{space[1]} to {size}x{size}; use a smaller size")
            self.pool: nn.Module = nn.Sequential(nn.AdaptiveAvgPool2d(size), nn.Flatten())
            width = channels * size * size
        elif len(feature_shape) in (1, 2):
            if size != 1:
                raise ValueError(f"a layer of shape {tuple(feature_shape)} has no space to pool to {size}x{size}")
            self.pool = nn.Identity() if len(feature_shape) == 1 else _MeanTokens()
            width = feature_shape[-1]
        else:
            raise ValueError(f"can't read a layer of shape {tuple(feature_shape)}")
        self.linear = nn.Linear(width, num_outputs)
        self.num_outputs = num_outputs

    def forward(self, features: Tensor) -> Tensor:
        """Responses (stimulus, voxel) from a layer's output (stimulus, ...)."""
        return self.linear(self.pool(features))


class _MeanTokens(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean(1)


class Identity(nn.Module):
    """The layer's output itself, averaged over space or tokens: for manifold guidance without a linear map.

    Args:
        feature_shape: Of the layer, without the stimulus axis.
        num_outputs: None, or the width that the layer must have.

    Raises:
        ValueError: If the layer has another width.

    Example:
        >>> Identity((64, 8, 8))(torch.rand(5, 64, 8, 8)).shape
        torch.Size([5, 64])
    """

    def __init__(self, feature_shape: Sequence[int], num_outputs: int | None = None) -> None:
        super().__init__()
        self.num_outputs = feature_shape[0] if len(feature_shape) == 3 else feature_shape[-1]
        if num_outputs not in (None, self.num_outputs):
            raise ValueError(
                f"an identity head gives the layer's own width, {self.num_outputs}, not {num_outputs}: use pooled_linear"
            )

    def forward(self, features: Tensor) -> Tensor:
        """Features (stimulus, feature) from a layer's output (stimulus, ...)."""
        if features.ndim == 4:
            return features.mean((2, 3))
        return features.mean(1) if features.ndim == 3 else features


def pooled_linear(size: int = 1) -> HeadBuilder:
    """Builder of a :class:`PooledLinear` that pools to ``size`` by ``size``."""
    return partial(PooledLinear, size=size)


def identity() -> HeadBuilder:
    """Builder of an :class:`Identity` head."""
    return Identity


HEADS: dict[str, Callable[..., HeadBuilder]] = {"pooled_linear": pooled_linear, "identity": identity}
"""Heads that can be given by name; the values make builders from the head's options."""


@dataclass(frozen=True)
class ResponseHead:
    """Where a response head reads and what it gives.

    Args:
        layer: Dotted name of a layer of the backbone; None reads the backbone's final features.
        num_outputs: Number of voxels (None only for an identity head).
        head: A name in ``HEADS``, or a builder ``(feature_shape, num_outputs) -> nn.Module``.
        size: Height and width that a pooled head pools to.

    Example:
        >>> ResponseHead("layer3", 1084, size=2)
        ResponseHead(layer='layer3', num_outputs=1084, head='pooled_linear', size=2)
    """

    layer: str | None = None
    num_outputs: int | None = None
    head: str | HeadBuilder = "pooled_linear"
    size: int = 1

    @classmethod
    def of(cls, value: ResponseHead | Mapping[str, Any] | Sequence[Any]) -> ResponseHead:
        """From a head, a dict of its fields, or a tuple of its leading fields ``(layer, num_outputs, head, size)``.

        Raises:
            TypeError: If the value is none of these, or has unknown fields.
        """
        if isinstance(value, cls):
            return value
        if isinstance(value, Mapping):
            return cls(**value)
        if isinstance(value, Sequence) and not isinstance(value, str):
            return cls(*value)
        raise TypeError(
            f"a head is a ResponseHead, a dict of its fields, or a tuple (layer, num_outputs); got {value!r}"
        )

    def build(self, feature_shape: Sequence[int]) -> nn.Module:
        """The head for a layer of this shape (without the stimulus axis).

        Raises:
            ValueError: If the name is unknown, or the head doesn't fit the layer.
        """
        if not isinstance(self.head, str):
            return self.head(feature_shape, self.num_outputs)
        if self.head not in HEADS:
            raise ValueError(unknown("head", self.head, HEADS))
        options = {"size": self.size} if self.head == "pooled_linear" else {}
        return HEADS[self.head](**options)(feature_shape, self.num_outputs)
