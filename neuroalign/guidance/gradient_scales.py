"""Size of the gradient of a guidance, and controls whose gradient is scaled to that of their treatment."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from neuroalign.guidance.weighting import WeightedGuidance
from neuroalign.types import as_batch

__all__ = ["gradient_scale", "match_gradient_scale"]


def gradient_scale(guidance: nn.Module, network: nn.Module, batches: Iterable[Any], *, num_batches: int = 8) -> float:
    r"""Size of the gradient that a guidance sends into the network's trunk.

    .. math:: \sqrt{\mathrm{mean}_b\, |\partial L_b / \partial\theta|^2}

    over batches b, where L is the sum of the guidance's terms and :math:`\theta` are all weights of ``network.trunk`` (of the
    whole network if it has no trunk). It measures the effect on the shared features, whatever the units of the loss. The
    network is in training mode during the measurement; weights, running statistics and random state don't change.

    Args:
        guidance: Called as ``guidance(responses, batch)``; returns terms by name.
        network: A :class:`neuroalign.GuidedNetwork`, or any module called as ``network(images, with_responses=True)``.
        batches: Batches as in training, such as a loader.
        num_batches: Largest number of batches to use.

    Raises:
        ValueError: If there is no batch, or the gradient is not finite.

    Example:
        >>> from neuroalign import GuidedNetwork, LabelOnlyGuidance
        >>> heads = {"V4": (None, 30)}
        >>> network = GuidedNetwork("small_resnet", 10, heads, image_shape=(3, 8, 8))
        >>> batches = [{"image": torch.rand(20, 3, 8, 8), "label": torch.arange(20) % 10}]
        >>> gradient_scale(LabelOnlyGuidance(10, {"V4": 30}), network, batches) > 0
        True
    """
    if num_batches < 1:
        raise ValueError(f"num_batches must be at least 1; got {num_batches}")
    parameters = [p for p in getattr(network, "trunk", network).parameters() if p.requires_grad]
    if not parameters:
        raise ValueError("no weight of the network's trunk is trained (requires_grad), so no gradient reaches it")
    device, squares = parameters[0].device, []
    with _left_alone(network, guidance, device), torch.enable_grad():
        for batch in itertools.islice(batches, num_batches):
            batch = {k: v.to(device) if isinstance(v, Tensor) else v for k, v in as_batch(batch).items()}
            _, responses = network(batch["image"], with_responses=True)
            loss = sum(guidance(responses, batch).values())
            gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
            squares.append(sum(float(g.double().square().sum()) for g in gradients if g is not None))
    if not squares:
        raise ValueError("there is no batch to take a gradient from")
    scale = math.sqrt(sum(squares) / len(squares))
    if not math.isfinite(scale):
        raise ValueError(f"the gradient of {type(guidance).__name__} is not finite ({scale})")
    return scale


def match_gradient_scale(
    control: nn.Module, treatment: nn.Module, network: nn.Module, batches: Iterable[Any], *, num_batches: int = 8
) -> WeightedGuidance:
    """A control whose gradient in the network's trunk has the size of the treatment's gradient.

    The same alpha means little for two guidances whose losses differ in size: a control with a larger gradient leaves less
    to the task, and a control with a smaller gradient is no control at all. The control's terms are multiplied by
    ``gradient_scale(treatment, ...) / gradient_scale(control, ...)``. Both are measured on the network as given: give the
    network before training and the first batches, since later both sizes depend on what was learned. The factor is constant
    and is stored with the control in a checkpoint. In training on several processes, compute it before they start.

    Args:
        control: The guidance to scale.
        treatment: The guidance to compare it with.
        network: The network before training; it is not changed.
        batches: The first batches of training.
        num_batches: Largest number of batches to use.

    Returns:
        The control with this factor as the weight of every term, ``weights["*"]``.

    Raises:
        ValueError: If a gradient is 0 or not finite, or there is no batch.

    Example:
        >>> from neuroalign import (
        ...     GuidedNetwork,
        ...     LabelOnlyGuidance,
        ...     ManifoldGuidance,
        ...     NonNeuralManifoldLoss,
        ... )
        >>> heads = {"V4": (None, 30)}
        >>> network = GuidedNetwork("small_resnet", 10, heads, image_shape=(3, 8, 8))
        >>> batches = [{"image": torch.rand(40, 3, 8, 8), "label": torch.arange(40) % 10}]
        >>> treatment = LabelOnlyGuidance(10, {"V4": 30})
        >>> control = ManifoldGuidance({"V4": NonNeuralManifoldLoss()})
        >>> matched = match_gradient_scale(control, treatment, network, batches)
        >>> scale = gradient_scale(matched, network, batches)
        >>> abs(scale / gradient_scale(treatment, network, batches) - 1) < 1e-3
        True
    """
    batches = list(itertools.islice(batches, num_batches))
    scales = {}
    for name, guidance in (("treatment", treatment), ("control", control)):
        scales[name] = gradient_scale(guidance, network, batches, num_batches=num_batches)
        if not scales[name]:
            raise ValueError(
                f"the {name} ({type(guidance).__name__}) sends no gradient into the network's trunk, so there is no scale "
                "to match"
            )
    return WeightedGuidance(control, {"*": scales["treatment"] / scales["control"]})


@contextmanager
def _left_alone(network: nn.Module, guidance: nn.Module, device: torch.device) -> Iterator[None]:
    """Put the network in training mode and the guidance in eval mode (it then updates nothing); restore all at the end."""
    modes = {m: m.training for module in (network, guidance) for m in module.modules()}
    buffers = {b: b.clone() for b in network.buffers()}
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(0)
        try:
            network.train()
            guidance.eval()
            yield
        finally:
            for module, training in modes.items():
                module.training = training
            with torch.no_grad():
                for buffer, before in buffers.items():
                    buffer.copy_(before)
