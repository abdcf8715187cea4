"""The state in which a model is evaluated; its former state is restored afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

__all__ = ["evaluating"]


@contextmanager
def evaluating(module: nn.Module, seed: int = 0) -> Iterator[None]:
    """A context in which a module can be evaluated and attacked: eval mode, and gradients with respect to images only.

    On leaving, the mode of every submodule, every ``requires_grad`` and the random generators are restored; ``.grad`` and
    buffers are never changed. It works inside Lightning's validation, whose inference mode would block autograd. On a GPU,
    products are computed in full float32, because TF32 can change the sign of small gradients.

    Args:
        module: The model.
        seed: Seed of the random generator inside the context.

    Example:
        >>> net = nn.Dropout()
        >>> with evaluating(net):
        ...     inside = net.training
        >>> inside, net.training
        (False, True)
    """
    parameters = list(module.parameters())
    requires_grad = [p.requires_grad for p in parameters]
    modes = {m: m.training for m in module.modules()}
    devices = sorted({p.device.index for p in parameters if p.device.type == "cuda" and p.device.index is not None})
    with torch.random.fork_rng(devices=devices), torch.inference_mode(False), torch.enable_grad(), _full_float32():
        try:
            torch.manual_seed(seed)
            module.eval()
            for p in parameters:
                p.requires_grad_(False)
            yield
        finally:
            for p, flag in zip(parameters, requires_grad):
                p.requires_grad_(flag)
            for m, training in modes.items():
                m.training = training


@contextmanager
def _full_float32() -> Iterator[None]:
    if not torch.cuda.is_available():
        yield
        return
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    try:
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before
