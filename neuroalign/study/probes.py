"""Short measurements of a study's networks: seconds of a training step and of a forward pass, and bytes that they take."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from torch import nn

__all__: list[str] = []

_PIXELS = 2 * 224 * 224  # of a batch: two images of 224 pixels, a full batch of small ones
_STATES = {"sgd": 1, "adam": 2, "adamw": 2}  # tensors that an optimiser keeps per parameter


@dataclass(frozen=True)
class Probe:
    """What one network takes, measured on a small batch.

    Args:
        step: Seconds of a training step (forward, backward, optimiser) per image.
        forward: Seconds of a forward pass without gradient, per image.
        parameters: Bytes of the parameters.
        state: Bytes of gradients and of the optimiser's state.
        activations: Bytes that are kept for the backward pass, per image.
        device: The device that it was measured on.
        batch: Images of the batch.
        operations: Floating-point operations of a forward pass, per image.
    """

    step: float
    forward: float
    parameters: int
    state: int
    activations: int
    device: str
    batch: int
    operations: int = 0

    def at(self, rate: float) -> Probe:
        """The same network on a device that computes ``rate`` operations a second; a step is three forward passes."""
        forward = self.operations / rate
        return dataclasses.replace(self, step=3 * forward, forward=forward)

    def memory(self, batch_size: int) -> int:
        """Bytes of a training with batches of this size, without the data and the process itself."""
        return self.parameters + self.state + self.activations * batch_size


def probe_network(
    network: nn.Module,
    image_shape: tuple[int, int, int],
    *,
    batch_size: int,
    optimizer: str = "sgd",
    device: str = "cpu",
    channels_last: bool = True,
    threads: int = 1,
    timed: bool = True,
) -> Probe:
    """Measure a training step and a forward pass of a network on random images.

    Args:
        network: From images to logits, or to predicted responses.
        image_shape: (channel, height, width).
        batch_size: Images of a batch in training; fewer are measured if they are large.
        optimizer: ``"sgd"`` (with momentum), ``"adam"`` or ``"adamw"``.
        device: Where to measure.
        channels_last: Whether convolutions see channels last.
        threads: Threads of the CPU; no more than there are cores.
        timed: Whether to measure seconds; if not, they are 0.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> found = probe_network(
        ...     nn.Sequential(nn.Flatten(), nn.Linear(12, 5)), (3, 2, 2), batch_size=4
        ... )
        >>> found.parameters, found.state, found.step > 0
        (260, 520, True)
    """
    import torch

    pixels = image_shape[1] * image_shape[2]
    batch = max(2, min(batch_size, _PIXELS // pixels))
    before, generator = torch.get_num_threads(), torch.Generator().manual_seed(0)
    torch.set_num_threads(min(threads, os.cpu_count() or 1))
    try:
        images = torch.rand(batch, *image_shape, generator=generator).to(device)
        network = network.to(device).train()
        if channels_last:
            network = network.to(memory_format=torch.channels_last)
        parameters = [p for p in network.parameters() if p.requires_grad]
        size = sum(p.numel() * p.element_size() for p in network.parameters())
        activations = _activations(network, images)
        step = _seconds(lambda: _step(network, parameters, images), device) if timed else 0.0
        network.eval()
        with torch.no_grad():
            forward = _seconds(lambda: network(images), device) if timed else 0.0
            operations = _operations(network, images)
    finally:
        torch.set_num_threads(before)
    state = sum(p.numel() * p.element_size() for p in parameters) * (1 + _STATES[optimizer])
    return Probe(step / batch, forward / batch, size, state, activations // batch, device, batch, operations // batch)


def _step(network: nn.Module, parameters: Sequence[torch.Tensor], images: torch.Tensor) -> None:
    import torch

    network(images).float().square().mean().backward()
    with torch.no_grad():
        for parameter in parameters:
            if parameter.grad is not None:
                parameter.sub_(parameter.grad, alpha=1e-6)  # what an optimiser costs, and the weights stay tame
                parameter.grad = None


def _activations(network: nn.Module, images: torch.Tensor) -> int:
    """Bytes of what the backward pass keeps, its parameters apart; each storage once."""
    import torch

    own = {p.untyped_storage().data_ptr() for p in network.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        output = network(images)  # held: storages that are freed could be counted once for two
    del output
    return sum(kept.values())


def _operations(network: nn.Module, images: torch.Tensor) -> int:
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        network(images)
    return int(counter.get_total_flops())


def _seconds(call: Any, device: str) -> float:
    """The shortest of several runs; one alone if it takes long."""
    import torch

    def once() -> float:
        if device != "cpu":
            torch.cuda.synchronize()
        start = time.perf_counter()
        call()
        if device != "cpu":
            torch.cuda.synchronize()
        return time.perf_counter() - start

    first = once()
    return first if first > 4 else min(once() for _ in range(1 if first > 1 else 4))


def classifier(network: Mapping[str, Any], num_classes: int, num_voxels: int, shape: tuple[int, int, int]) -> nn.Module:
    """The classifier of a study with a head for responses, with random weights; both outputs side by side.

    Args:
        network: Settings of the network.
        num_classes: Number of classes.
        num_voxels: Number of voxels; 0 makes no head.
        shape: (channel, height, width) of the images.
    """
    import torch
    from torch import nn

    from neuroalign.models import GuidedNetwork
    from neuroalign.models.heads import ResponseHead

    layer = network.get("layer")
    if isinstance(layer, Mapping):
        layer = next(iter(layer.values()), None)
    heads = {"brain": ResponseHead(layer, num_voxels, size=network.get("size") or 1)} if num_voxels else {}

    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = GuidedNetwork(network["backbone"], num_classes, heads, image_shape=shape)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            logits, responses = self.network.forward_with_responses(images)
            return torch.cat([logits, *responses.values()], dim=1)

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Both()


def response_predictor(settings: Mapping[str, Any], num_voxels: int, shape: tuple[int, int, int]) -> nn.Module:
    """The predictor of a study with random weights.

    Args:
        settings: Settings of the predictor.
        num_voxels: Number of voxels.
        shape: (channel, height, width) of the images.
    """
    import torch

    from neuroalign.models import NeuralPredictor

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return NeuralPredictor(
            settings.get("backbone") or "small_resnet", num_voxels, layer=settings.get("layer"),
            size=settings.get("size") or 1, image_shape=shape,
        )  # fmt: skip


def device_of(training: Mapping[str, Any]) -> str:
    """Where a training runs on this machine: "cuda" if it may use a GPU and there is one, else "cpu"."""
    import torch

    wants = training.get("accelerator", "auto") in ("auto", "gpu", "cuda")
    return "cuda" if wants and torch.cuda.is_available() else "cpu"


def process_bytes() -> int:
    """Bytes that a process with the libraries of a training loaded takes of the memory."""
    import lightning  # noqa: F401  # loaded to be counted

    try:
        import resource
        import sys

        used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return used if sys.platform == "darwin" else used * 1024
    except ImportError:  # Windows
        return 400 * 10**6
