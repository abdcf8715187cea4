"""Response heads: from a layer's output to predicted responses."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

from torch import Tensor, nn

from neuroalign.config import Described
from neuroalign.functional.checks import check_choice
from neuroalign.models.readouts import (
    AttentionPool,
    FactorizedReadout,
    GaussianReadout,
    LowRankLinear,
    check_outputs,
)
from neuroalign.models.taps import keeps_channels_last
from neuroalign.types import unknown

__all__ = [
    "FullLinear",
    "HEADS",
    "Identity",
    "PooledLinear",
    "ResponseHead",
    "TokenLinear",
    "identity",
    "pooled_linear",
]

HeadBuilder = Callable[[Sequence[int], "int | None"], nn.Module]
"""Function from the shape of a layer's output (without the stimulus axis) and a number of outputs to a head."""


class FullLinear(Described, nn.Module):
    """A linear map of all features of a layer at all positions, each with its own weight.

    Args:
        feature_shape: Shape of the layer's output, without the stimulus axis; it is flattened.
        num_outputs: Number of voxels.

    Example:
        >>> FullLinear((64, 8, 8), num_outputs=30)(torch.rand(5, 64, 8, 8)).shape
        torch.Size([5, 30])
    """

    def __init__(self, feature_shape: Sequence[int], num_outputs: int | None) -> None:
        super().__init__()
        self.num_outputs = check_outputs(num_outputs)
        self.linear = nn.Linear(math.prod(feature_shape), self.num_outputs)

    def forward(self, features: Tensor) -> Tensor:
        """Responses (stimulus, voxel) from a layer's output (stimulus, ...)."""
        return self.linear(features.flatten(1))


class PooledLinear(Described, nn.Module):
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

    def __init__(self, feature_shape: Sequence[int], num_outputs: int | None, size: int = 1) -> None:
        super().__init__()
        self.num_outputs = check_outputs(num_outputs)
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
        self.linear = nn.Linear(width, self.num_outputs)

    def forward(self, features: Tensor) -> Tensor:
        """Responses (stimulus, voxel) from a layer's output (stimulus, ...)."""
        return self.linear(self.pool(features))


class _MeanTokens(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean(1)


class TokenLinear(Described, nn.Module):
    """A linear map of a transformer's tokens.

    Args:
        feature_shape: (token, feature) of the layer.
        num_outputs: Number of voxels.
        tokens: "cls", the first token; "mean", the mean of all but the prefix; or "all", each with its own weights.
        num_prefix: Number of tokens at the front that are not image patches (class and register tokens); "mean" leaves
            them out.

    Raises:
        ValueError: If the layer has no tokens, or an option is unknown or out of range.

    Example:
        >>> TokenLinear((197, 64), num_outputs=30, tokens="cls")(torch.rand(5, 197, 64)).shape
        torch.Size([5, 30])
    """

    def __init__(
        self,
        feature_shape: Sequence[int],
        num_outputs: int | None,
        tokens: Literal["cls", "mean", "all"] = "cls",
        num_prefix: int = 1,
    ) -> None:
        super().__init__()
        self.num_outputs = check_outputs(num_outputs)
        if len(feature_shape) != 2:
            raise ValueError(f"a token head needs a layer (token, feature); this one is {tuple(feature_shape)}")
        check_choice("tokens", tokens, ("cls", "mean", "all"))
        if not 0 <= num_prefix < feature_shape[0]:
            raise ValueError(f"num_prefix must be from 0 to {feature_shape[0] - 1}; got {num_prefix}")
        if tokens == "cls" and num_prefix == 0:
            raise ValueError("a layer without prefix tokens has no class token: use tokens='mean'")
        self.tokens, self.num_prefix = tokens, num_prefix
        width = math.prod(feature_shape) if tokens == "all" else feature_shape[1]
        self.linear = nn.Linear(width, self.num_outputs)

    def forward(self, features: Tensor) -> Tensor:
        """Responses (stimulus, voxel) from tokens (stimulus, token, feature)."""
        if self.tokens == "cls":
            return self.linear(features[:, 0])
        if self.tokens == "mean":
            return self.linear(features[:, self.num_prefix :].mean(1))
        return self.linear(features.flatten(1))


class Identity(Described, nn.Module):
    """The layer's output itself, averaged over space or tokens: for guidance without a linear map.

    Args:
        feature_shape: Shape of the layer's output, without the stimulus axis.
        num_outputs: Width that the layer must have; None accepts any.

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


class _ChannelsFirst(nn.Module):
    """A head on a layer whose channels are the last axis."""

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.head = head
        self.num_outputs = head.num_outputs

    def forward(self, features: Tensor) -> Tensor:
        return self.head(features.permute(0, 3, 1, 2))


HEADS: dict[str, type[nn.Module]] = {
    "linear": FullLinear,
    "pooled_linear": PooledLinear,
    "factorized": FactorizedReadout,
    "gaussian": GaussianReadout,
    "low_rank": LowRankLinear,
    "attention": AttentionPool,
    "token": TokenLinear,
    "identity": Identity,
}
"""Heads that can be given by name."""


def pooled_linear(size: int = 1) -> HeadBuilder:
    """Builder of a :class:`PooledLinear` that pools to ``size`` by ``size``."""
    return partial(PooledLinear, size=size)


def identity() -> HeadBuilder:
    """Builder of an :class:`Identity` head."""
    return Identity


@dataclass(frozen=True)
class ResponseHead:
    """Description of a response head: the layer that it reads, its number of outputs, and its kind.

    Args:
        layer: Dotted name of a layer of the backbone, or its last parts where only one layer has them; None reads the
            backbone's final features.
        num_outputs: Number of voxels, or the predictor that the head will match, whose number of voxels is taken (None only
            for an identity head).
        head: A name in ``HEADS``, or a builder ``(feature_shape, num_outputs) -> nn.Module``.
        size: Height and width that a pooled head pools to.
        options: Further options of a head given by name, passed to its class.
        channels_last: Whether the layer's output is (height, width, channel), as Swin's; None infers it from the images'
            proportions.

    Example:
        >>> ResponseHead("layer3", 1084, size=2).head
        'pooled_linear'
        >>> head = ResponseHead("layer3", 1084, head="gaussian", options={"covariance": "full"})
        >>> head.build((256, 14, 14)).num_outputs
        1084
    """

    layer: str | None = None
    num_outputs: int | nn.Module | None = None
    head: str | HeadBuilder = "pooled_linear"
    size: int = 1
    options: Mapping[str, Any] = field(default_factory=dict)
    channels_last: bool | None = None

    def __post_init__(self) -> None:
        if isinstance(self.num_outputs, nn.Module):
            width = getattr(self.num_outputs, "num_voxels", None)
            if width is None:
                raise ValueError(f"a {type(self.num_outputs).__name__} has no num_voxels: give num_outputs as a number")
            object.__setattr__(self, "num_outputs", int(width))

    @classmethod
    def of(cls, value: ResponseHead | Mapping[str, Any] | Sequence[Any]) -> ResponseHead:
        """A head from a head, a dict of its fields, or a tuple of its first fields ``(layer, num_outputs, head, size)``.

        Raises:
            TypeError: If the value is none of these, or has unknown fields.
        """
        if isinstance(value, cls):
            return value
        if isinstance(value, Mapping):
            for name in value:
                if name not in cls.__dataclass_fields__:
                    raise TypeError(unknown("field of a head:", name, cls.__dataclass_fields__))
            return cls(**value)
        if isinstance(value, Sequence) and not isinstance(value, str):
            return cls(*value)
        raise TypeError(
            f"a head is a ResponseHead, a dict of its fields, or a tuple (layer, num_outputs); got {value!r}"
        )

    def build(self, feature_shape: Sequence[int], image_shape: Sequence[int] | None = None) -> nn.Module:
        """Build the head for a layer.

        Args:
            feature_shape: Shape of the layer's output, without the stimulus axis.
            image_shape: (channel, height, width) of the images, from which ``channels_last=None`` infers the order of axes;
                None means channels first.

        Raises:
            TypeError: If the head has no such option.
            ValueError: If the name is unknown, or the head doesn't fit the layer.
        """
        last = self.channels_last
        if last is None:
            last = image_shape is not None and keeps_channels_last(feature_shape, image_shape)
        if last:
            if len(feature_shape) != 3:
                raise ValueError(f"channels_last goes with a layer of three axes; this one is {tuple(feature_shape)}")
            height, width, channels = feature_shape
            return _ChannelsFirst(self._build((channels, height, width)))
        return self._build(feature_shape)

    def _build(self, feature_shape: Sequence[int]) -> nn.Module:
        width = self.num_outputs
        assert not isinstance(width, nn.Module), "a predictor was replaced by its number of voxels"
        if not isinstance(self.head, str):
            return self.head(feature_shape, width)
        if self.head not in HEADS:
            raise ValueError(unknown("head", self.head, HEADS))
        options = dict(self.options)
        if self.head == "pooled_linear":
            options.setdefault("size", self.size)
        allowed = list(inspect.signature(HEADS[self.head]).parameters)[2:]
        for option in options:
            if option not in allowed:
                raise TypeError(unknown(f"option of the {self.head!r} head:", option, allowed))
        return HEADS[self.head](feature_shape, width, **options)
