"""Networks that must not change while another network trains on their outputs."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor, nn

from neuroalign.config import Described, build
from neuroalign.functional.checks import check_infinite
from neuroalign.functional.pixels import as_pixels, to_pixels
from neuroalign.functional.variation import extremes, is_constant
from neuroalign.models.network_files import PredictorFile
from neuroalign.types import check_images

__all__ = ["Frozen", "StandardizedPredictor", "predicted_responses", "untrained"]

FITTED_ON_PIXELS = "If they were normalised: a predictor takes pixels, so fit it on images * std + mean."


class Frozen(Described, nn.Module):
    """A module that doesn't change: it stays in eval mode under any ``train()``, gets no gradients and keeps its buffers.

    ``requires_grad = False`` alone doesn't do that: after ``train()`` of a surrounding module, BatchNorm's running
    statistics change with every batch, and the targets with them.

    Args:
        module: Any module; its parameters stop requiring gradients.

    Example:
        >>> frozen = Frozen(nn.BatchNorm1d(2)).train()
        >>> frozen.training, frozen(torch.rand(4, 2)).requires_grad
        (False, False)
    """

    def __init__(self, module: nn.Module | dict[str, Any]) -> None:
        super().__init__()
        self.module: nn.Module = build(module, nn.Module)
        self.module.requires_grad_(False)
        self.train(False)

    def _described(self, arguments: dict[str, Any]) -> dict[str, Any]:
        return {"module": self.module}

    def train(self, mode: bool = True) -> Frozen:
        """Stay in eval mode, whatever ``mode`` is."""
        return super().train(False)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The module's output, without a graph."""
        if self.module.training:  # somebody called frozen.module.train()
            self.module.train(False)
        with torch.no_grad():
            return self.module(*args, **kwargs)


def only_frozen_in_eval(module: nn.Module) -> bool:
    """Whether modules are in eval mode, and all of them are :class:`Frozen` or inside one.

    Example:
        >>> (
        ...     only_frozen_in_eval(nn.Sequential(nn.ReLU(), Frozen(nn.ReLU()))),
        ...     only_frozen_in_eval(nn.ReLU().eval()),
        ... )
        (True, False)
    """
    frozen = {id(inner) for each in module.modules() if isinstance(each, Frozen) for inner in each.modules()}
    in_eval = [each for each in module.modules() if not each.training]
    return bool(in_eval) and all(id(each) in frozen for each in in_eval)


class StandardizedPredictor(PredictorFile, Described, nn.Module):
    """A predictor whose outputs are z-scored per voxel with statistics of given images.

    Puts treatment and controls on one scale: the raw outputs of an untrained predictor hardly vary between images, so
    matching them would be trivial.

    Args:
        predictor: Any module from images to (stimulus, voxel).
        num_voxels: Number of voxels; None means ``predictor.num_voxels``.

    Example:
        >>> from neuroalign.models import NeuralPredictor
        >>> images = torch.rand(64, 3, 8, 8)
        >>> predictor = NeuralPredictor("small_resnet", 5, image_shape=(3, 8, 8))
        >>> predictor = StandardizedPredictor(predictor).fit(images)
        >>> predictor.eval()(images).std(0, correction=0).round(decimals=3)
        tensor([1., 1., 1., 1., 1.], grad_fn=<RoundBackward1>)
    """

    mean: Tensor
    std: Tensor

    def __init__(self, predictor: nn.Module | dict[str, Any], num_voxels: int | None = None) -> None:
        super().__init__()
        self.predictor: nn.Module = build(predictor, nn.Module)
        if num_voxels is None:
            num_voxels = getattr(self.predictor, "num_voxels", None)
            if num_voxels is None:
                raise ValueError("this predictor has no `num_voxels`: give num_voxels")
        self.num_voxels = num_voxels
        self.register_buffer("mean", torch.zeros(num_voxels))
        self.register_buffer("std", torch.ones(num_voxels))

    def _described(self, arguments: dict[str, Any]) -> dict[str, Any]:
        return {"predictor": self.predictor, "num_voxels": self.num_voxels}

    @torch.no_grad()
    def fit(self, images: Tensor | Iterable[Tensor], batch_size: int = 256) -> StandardizedPredictor:
        """Set the statistics from images (stimulus, channel, height, width), or from batches of them.

        A voxel whose prediction is constant gets a standard deviation of 1.

        Raises:
            ValueError: If images are not in [0, 1] (normalised, perhaps), or a prediction is infinite.
        """
        outputs = predicted_responses(self.predictor, images, batch_size).double()
        check_infinite(predictions=outputs)
        constant = is_constant(*extremes(outputs), torch.finfo(self.mean.dtype).eps)
        self.mean.copy_(outputs.mean(0))
        self.std.copy_(torch.where(constant, 1, outputs.std(0, correction=0)))
        return self

    def forward(self, images: Tensor) -> Tensor:
        """Standardised responses (stimulus, voxel)."""
        return (self.predictor(images) - self.mean) / self.std


@runtime_checkable
class InBatches(Protocol):
    """Images that come in batches of uint8 (stimulus, height, width, channel), such as files."""

    def batches(self, batch_size: int = 256) -> Iterable[np.ndarray]:
        """All images, so many at a time."""
        ...


@torch.no_grad()
def predicted_responses(
    predictor: nn.Module, images: Tensor | np.ndarray | InBatches | Iterable[Tensor | np.ndarray], batch_size: int = 256
) -> Tensor:
    """A predictor's responses to many images, computed batch by batch in eval mode.

    Args:
        predictor: Any module from images to (stimulus, voxel); its modes are put back afterwards.
        images: (stimulus, channel, height, width) in [0, 1]; or uint8, which is divided by 255, with channels second or
            last; or batches of either; or :class:`neuroalign.data.ImageFiles`, in the order of their numbers. They are moved
            to the predictor's device.
        batch_size: Number of images at a time; batches are taken as they are.

    Returns:
        (stimulus, voxel), without a graph, on the predictor's device.

    Raises:
        ValueError: If floats are not in [0, 1] (normalised, perhaps), or there are no images.

    Example:
        >>> from neuroalign.models import NeuralPredictor
        >>> predictor = NeuralPredictor("small_resnet", 5, image_shape=(3, 8, 8))
        >>> predicted_responses(predictor, torch.rand(10, 3, 8, 8), batch_size=4).shape
        torch.Size([10, 5])
    """
    place = next(predictor.parameters(), next(predictor.buffers(), None))
    if isinstance(images, InBatches):
        batches: Iterable[Tensor | np.ndarray] = images.batches(batch_size)
    elif isinstance(images, (Tensor, np.ndarray)):
        batches = (as_pixels(images) if isinstance(images, np.ndarray) else images).split(batch_size)
    else:
        batches = images
    modes = {module: module.training for module in predictor.modules()}
    predictor.eval()
    try:
        parts = [predictor(_pixels(batch).to(batch.device if place is None else place.device)) for batch in batches]
    finally:
        for module, mode in modes.items():
            module.training = mode
    if not parts:
        raise ValueError("there are no images to predict responses to")
    return torch.cat(parts)


def _pixels(images: Tensor | np.ndarray) -> Tensor:
    if isinstance(images, np.ndarray) or (images.dtype == torch.uint8 and images.ndim == 4):
        images = to_pixels(as_pixels(images))
    if images.ndim == 4:
        check_images(images, if_normalized=FITTED_ON_PIXELS)
    return images


def untrained(predictor: nn.Module, seed: int = 0) -> nn.Module:
    """The control "random": a copy of a predictor with freshly drawn parameters and buffers.

    Args:
        predictor: Any module whose layers with parameters have ``reset_parameters``, as torch's have.
        seed: Seed of the new parameters; the global generator is not changed.

    Returns:
        The copy; the predictor itself is not changed.

    Raises:
        ValueError: If a layer has parameters but no ``reset_parameters``.

    Example:
        >>> layer = nn.Linear(2, 2)
        >>> bool((untrained(layer, seed=1).weight != layer.weight).all())
        True
    """
    fresh = copy.deepcopy(predictor)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for name, module in fresh.named_modules():
            if hasattr(module, "reset_parameters"):
                module.reset_parameters()
            elif any(True for _ in module.parameters(recurse=False)):
                raise ValueError(f"layer {name!r} ({type(module).__name__}) has parameters but no reset_parameters()")
    return fresh
