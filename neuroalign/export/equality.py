"""Whether an exported network gives the outputs of the network that it was made of."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from neuroalign.types import check_images

__all__: list[str] = []

TOLERANCE = 1e-5
"""Largest difference as a share of the largest output: float32 rounds to 6e-8, and a deep network adds up some hundred
roundings in an order that another program may choose differently."""


def trial_images(images: Tensor | None, shape: tuple[int, ...], seed: int) -> Tensor:
    """Images to compare outputs on: those given, or three of random pixels.

    Raises:
        TypeError: If the given images are no tensor.
        ValueError: If they are not in [0, 1] or of another shape than ``shape``.
    """
    if images is None:
        return torch.rand(3, *shape, generator=torch.Generator().manual_seed(seed))
    check_images(images)
    if tuple(images.shape[1:]) != shape:
        raise ValueError(f"the network takes images of shape {shape}; got {tuple(images.shape[1:])}")
    return images.detach().float().cpu()


@torch.no_grad()
def check_equal(
    network: nn.Module, exported: Callable[[Tensor], Tensor], batches: list[Tensor], tolerance: float, what: str
) -> float:
    """Compare outputs; return the largest difference as a share of the largest output.

    Args:
        network: The network as it is here.
        exported: The same network after export, a function of images.
        batches: Images (stimulus, channel, height, width), of several batch sizes.
        tolerance: Largest share that passes.
        what: What was exported, for the message.

    Raises:
        ValueError: If outputs differ by more, have another shape, or the network's own are not finite.
    """
    worst = 0.0
    for images in batches:
        ours, theirs = network(images).double(), exported(images).double()
        if not bool(ours.isfinite().all()):
            raise ValueError("the network gives NaN or infinite outputs on the images that outputs were compared on")
        if ours.shape != theirs.shape:
            raise ValueError(
                f"{what} returns shape {tuple(theirs.shape)}, the network {tuple(ours.shape)}; nothing was written"
            )
        largest = float(ours.abs().max())
        share = float((ours - theirs).abs().max()) / largest if largest else float(theirs.abs().max())
        worst = max(worst, share)
        if not share <= tolerance:  # also catches NaN
            raise ValueError(
                f"{what} gives other outputs than the network: they differ by {share:.2g} of the largest output, allowed are "
                f"{tolerance:.2g}; nothing was written"
            )
    return worst
