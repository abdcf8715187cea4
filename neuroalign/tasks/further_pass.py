"""A further forward pass within a training step that keeps running statistics and repeats dropout masks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm

__all__: list[str] = []


@contextmanager
def resting_statistics(module: nn.Module) -> Iterator[None]:
    """Context in which running statistics don't change: in train mode BatchNorm normalises by the batch only.

    Args:
        module: The network; its mode stays as it is.

    Example:
        >>> norm = nn.BatchNorm1d(2)
        >>> with resting_statistics(norm):
        ...     out = norm(torch.tensor([[1.0, 1.0], [3.0, 5.0]]))
        >>> out.round(), int(norm.num_batches_tracked)
        (tensor([[-1., -1.],
                [ 1.,  1.]], grad_fn=<RoundBackward0>), 0)
    """
    batch = [m for m in module.modules() if isinstance(m, _BatchNorm) and m.training and m.track_running_stats]
    # InstanceNorm updates its statistics whatever this flag is.
    instance = [
        (m, m.running_mean, m.running_var)
        for m in module.modules()
        if isinstance(m, _InstanceNorm) and m.training and m.track_running_stats
    ]
    try:
        for m in batch:
            m.track_running_stats = False
        for norm, _, _ in instance:
            norm.running_mean = norm.running_var = None
        yield
    finally:
        for m in batch:
            m.track_running_stats = True
        for norm, mean, var in instance:
            norm.running_mean, norm.running_var = mean, var


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Eval mode, with every submodule's own mode restored on leaving; parameters keep their gradients.

    Args:
        module: The network.

    Example:
        >>> network = nn.Sequential(nn.Dropout(), nn.BatchNorm1d(2).eval())
        >>> with evaluating(network):
        ...     inside = network[0].training
        >>> inside, network[0].training, network[1].training
        (False, True, False)
    """
    modes = {m: m.training for m in module.modules()}
    try:
        module.eval()
        yield
    finally:
        for m, training in modes.items():
            m.training = training


def paired_logits(network: nn.Module, images: Tensor, logits: Tensor, perturbed: Tensor) -> tuple[Tensor, Tensor]:
    """Logits of images and of perturbed images under the same random masks, both (stimulus, class).

    If the network draws no random numbers (no dropout), ``logits`` is returned as it is. Otherwise the masks of ``logits``
    are lost, and the images pass again under the masks of the perturbed images.

    Args:
        network: The network in the mode of the comparison; its running statistics stay as they are.
        images: (stimulus, channel, height, width).
        logits: (stimulus, class), logits of the images from an earlier pass in the same mode.
        perturbed: (stimulus, channel, height, width).

    Example:
        >>> network = nn.Sequential(nn.Flatten(), nn.Dropout(), nn.Linear(12, 3))
        >>> images = torch.rand(4, 3, 2, 2)
        >>> clean, same = paired_logits(network, images, network(images), images)
        >>> torch.equal(clean, same)
        True
    """
    with resting_statistics(network):
        before = _random_states(images.device)
        moved = network(perturbed)
        if not all(torch.equal(a, b) for a, b in zip(before, _random_states(images.device))):
            _set_random_states(before, images.device)
            logits = network(images)
    return logits, moved


def _random_states(device: torch.device) -> list[Tensor]:
    states = [torch.get_rng_state()]
    if device.type == "cuda":
        states.append(torch.cuda.get_rng_state(device))
    elif device.type == "mps":
        states.append(torch.mps.get_rng_state())
    return states


def _set_random_states(states: list[Tensor], device: torch.device) -> None:
    torch.set_rng_state(states[0])
    if device.type == "cuda":
        torch.cuda.set_rng_state(states[1], device)
    elif device.type == "mps":
        torch.mps.set_rng_state(states[1])
