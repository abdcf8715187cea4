"""Any network as a classifier of pixels, whatever normalisation it needs and wherever its output holds the logits."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, is_dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from neuroalign.config import Described
from neuroalign.types import check_images

__all__ = ["PixelClassifier"]

Logits = Callable[[Any], Tensor] | int | str
"""Where logits are in a model's output: a function of it, an index or a key."""


class PixelClassifier(Described, nn.Module):
    """A network as a function from pixels in [0, 1] to logits, as attacks and metrics need it.

    Args:
        model: Any network.
        logits: Where the logits are in its output: a key of a dict or an attribute's name, an index of a tuple or list, or
            a function of the output; None means that the output is the logits.
        mean: Mean per channel of the normalisation that the network needs, in pixel units of [0, 1]; None means no
            normalisation.
        std: Standard deviation per channel of the same.

    Shapes:
        images (stimulus, channel, height, width) in [0, 1] -> logits (stimulus, class).

    Raises:
        ValueError: If mean and std don't fit each other, or the images.
        TypeError: If the model is a class, or its output has no tensor at the place given by ``logits``.

    Example:
        >>> class Task(nn.Module):
        ...     def forward(self, normalized):
        ...         return {"logits": normalized.flatten(1)[:, :3], "features": normalized}
        >>> network = PixelClassifier(
        ...     Task(), logits="logits", mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25)
        ... )
        >>> network(torch.ones(1, 3, 2, 2))
        tensor([[2., 2., 2.]])
    """

    mean: Tensor | None
    std: Tensor | None

    def __init__(
        self,
        model: nn.Module,
        *,
        logits: Logits | None = None,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        check_normalization(mean, std)
        if isinstance(model, type):
            raise TypeError(f"the model is a class: make an object of it, {model.__name__}(...)")
        # The wrapper would synchronise buffers in every pass, but the processes attack with different numbers of passes.
        self.model = model.module if isinstance(model, DistributedDataParallel) else model
        self.where = logits
        parameter = next(self.model.parameters(), None)
        device = None if parameter is None else parameter.device
        for name, values in (("mean", mean), ("std", std)):
            self.register_buffer(name, None if values is None else _per_channel(values, device=device))

    def forward(self, images: Tensor) -> Tensor:
        """Logits (stimulus, class) of images (stimulus, channel, height, width) in [0, 1]."""
        if self.mean is not None and self.std is not None:
            images = (images - _fitting(self.mean, images)) / _fitting(self.std, images)
        output = self.model(images)
        return output if self.where is None else logits_of(output, self.where)

    def extra_repr(self) -> str:
        """Shown in ``repr``."""
        parts = [] if self.where is None else [f"logits={self.where!r}"]
        if self.mean is not None and self.std is not None:
            parts += [f"mean={self.mean.flatten().tolist()}", f"std={self.std.flatten().tolist()}"]
        return ", ".join(parts)


@dataclass(frozen=True)
class ModelInterface:
    """How the images of a project are normalised, and where its model's output holds the logits.

    Attributes:
        logits: See :class:`PixelClassifier`.
        mean: Mean per channel of the normalisation that the images *have had*; None means that they are pixels.
        std: Standard deviation per channel of the same.

    Raises:
        ValueError: If mean and std don't fit each other.
    """

    logits: Logits | None = None
    mean: Sequence[float] | None = None
    std: Sequence[float] | None = None

    def __post_init__(self) -> None:
        check_normalization(self.mean, self.std)
        if self.logits is not None and not callable(self.logits) and not isinstance(self.logits, (int, str)):
            raise TypeError(f"logits must be a key, an index or a function of the output; got {self.logits!r}")

    def classifier(self, model: nn.Module) -> nn.Module:
        """The model as a classifier of pixels: the model itself if it is one already."""
        if self.logits is None and self.mean is None:
            return model
        return PixelClassifier(model, logits=self.logits, mean=self.mean, std=self.std)

    def pixels(self, images: Tensor, *, first: bool = True) -> Tensor:
        """The images as pixels in [0, 1], checked, in float32.

        Args:
            images: (stimulus, channel, height, width), as the project's model takes them.
            first: Whether to check that normalised images aren't pixels already, as is done for the first batch.

        Raises:
            ValueError: If the images are not in [0, 1] as pixels, or don't fit mean and std.
        """
        if self.mean is None or self.std is None:
            check_images(images)
            return images.float()
        if not isinstance(images, Tensor):
            check_images(images)
        if not images.is_floating_point():
            raise ValueError(f"normalised images must be floating point; got {images.dtype}")
        mean, std = (_per_channel(v, device=images.device) for v in (self.mean, self.std))
        wide = images.float()
        pixels = wide * _fitting(std, wide) + _fitting(mean, wide)
        rounding = max(1e-5, 2 * torch.finfo(images.dtype).eps)
        low, high = (float(v) for v in pixels.detach().aminmax()) if pixels.numel() else (0.0, 1.0)
        if not (low >= -rounding and high <= 1 + rounding):  # also catches NaN
            raise ValueError(
                f"images that were normalised with mean {_text(self.mean)} and std {_text(self.std)} must come back to "
                f"[0, 1]; these come back to {low:.3g} to {high:.3g}. Give the mean and std of your transform, in pixel "
                "units of [0, 1]"
            )
        pixels = pixels.clamp(0, 1)
        check_images(pixels)
        if first and bool((images >= 0).all() & (images <= 1).all()) and not torch.equal(pixels, wide):
            raise ValueError(
                "mean and std say that the images were normalised, but these all lie in [0, 1], as pixels do. Leave mean "
                "and std out; if the model wants normalised images, give it as PixelClassifier(model, mean=..., std=...)"
            )
        return pixels


def check_normalization(mean: Sequence[float] | None, std: Sequence[float] | None) -> None:
    """Refuse a mean without a standard deviation (or the reverse), and values that can't normalise images.

    Raises:
        ValueError: If only one is given, their lengths differ, or a standard deviation is not positive.
    """
    if (mean is None) != (std is None):
        raise ValueError("give both mean and std, or neither")
    if mean is not None and std is not None and (len(mean) != len(std) or not len(std) or not all(s > 0 for s in std)):
        raise ValueError(f"mean and std must have one value per channel, std positive; got {mean} and {std}")


def logits_of(output: Any, where: Logits) -> Tensor:
    """The logits in a model's output.

    Raises:
        TypeError: If there is no tensor at that place.

    Example:
        >>> logits_of({"logits": torch.ones(1, 2), "loss": None}, "logits")
        tensor([[1., 1.]])
    """
    if isinstance(output, Tensor) and not callable(where):
        raise TypeError(f"the model's output is a tensor already: leave logits={where!r} out")
    try:
        if callable(where):
            found = where(output)
        elif isinstance(where, int) or isinstance(output, Mapping):
            found = output[where]
        else:
            found = getattr(output, where)
    except (KeyError, IndexError, AttributeError, TypeError) as error:
        raise TypeError(
            f"logits={where!r} finds no logits in the model's output, {_contents(output)} ({error})"
        ) from error
    if not isinstance(found, Tensor):
        raise TypeError(f"logits={where!r} finds {_contents(found)} in the model's output, not a tensor of logits")
    return found


def asked(model: Callable[[Tensor], Any], images: Tensor) -> Any:
    """The model's output for images; a plain error if the model is on another device.

    Raises:
        ValueError: If the model's parameters are on another device than the images, and the model fails.
    """
    try:
        return model(images)
    except (RuntimeError, NotImplementedError) as error:
        parameter = next(model.parameters(), None) if isinstance(model, nn.Module) else None
        if parameter is None or parameter.device == images.device:
            raise
        raise ValueError(
            f"the model is on {parameter.device}, the images on {images.device}: move one to the other's device by .to(...)"
        ) from error


def no_logits(output: Any) -> str:
    """The error message for an output that is no tensor of logits."""
    return (
        f"the model returns {_contents(output)}, not a tensor of logits: say where they are by logits=, a key, an index or "
        "a function of the output (an argument of every evaluation and callback); for an attack that you call yourself, "
        "wrap the model as PixelClassifier(model, logits=...)"
    )


def _contents(output: Any) -> str:
    """A description of an output: its type and what it holds."""
    kind = type(output).__name__
    if isinstance(output, Mapping):
        return f"a {kind} of {', '.join(map(repr, output)) or 'nothing'}"
    names = getattr(output, "_fields", None) or (list(output.__dataclass_fields__) if is_dataclass(output) else None)
    if names:
        return f"a {kind} of {', '.join(map(repr, names))}"
    if isinstance(output, (tuple, list)):
        return f"a {kind} of {', '.join(type(x).__name__ for x in output) or 'nothing'}"
    return f"a {kind}"


def _per_channel(values: Sequence[float], device: torch.device | None = None) -> Tensor:
    return torch.tensor([float(v) for v in values], dtype=torch.float32, device=device)[:, None, None]


def _fitting(values: Tensor, images: Tensor) -> Tensor:
    if len(values) not in (1, images.shape[-3] if images.ndim == 4 else -1):
        raise ValueError(
            f"mean and std have {len(values)} values, one per channel, but the images are {tuple(images.shape)}: they must "
            "be (stimulus, channel, height, width)"
        )
    return values.to(device=images.device, dtype=images.dtype)


def _text(values: Sequence[float]) -> str:
    return f"({', '.join(f'{float(v):g}' for v in values)})"


PIXELS_TO_LOGITS = ModelInterface()
"""The interface of a classifier from pixels to logits."""
