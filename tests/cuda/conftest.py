"""Devices to compare with the CPU: a GPU (marked ``cuda``), and the stand-in device where there is no GPU."""

from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import torch

from tests.stand_in_device import StandIn, StandInTensor, on_stand_in


@dataclass
class Place:
    """A device by ``put``, which moves modules and nested tensors there, and ``active``, a context in which it computes."""

    put: Any
    active: Any
    real: bool

    @staticmethod
    def back(x):
        """Nested tensors on the CPU."""
        return torch.utils._pytree.tree_map(lambda t: _host(t) if isinstance(t, torch.Tensor) else t, x)


def _host(x):
    return x.inner if isinstance(x, StandInTensor) else x.detach().cpu()


def _on_gpu(x):
    if isinstance(x, torch.nn.Module):
        return x.cuda()
    move = lambda t: t.detach().cuda().requires_grad_(t.requires_grad) if isinstance(t, torch.Tensor) else t  # noqa: E731
    return torch.utils._pytree.tree_map(move, x)


@contextmanager
def _without_tf32():
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


@pytest.fixture(params=["stand-in", pytest.param("gpu", marks=pytest.mark.cuda)])
def place(request):
    if request.param == "stand-in":
        return Place(on_stand_in, StandIn, real=False)
    return Place(_on_gpu, _without_tf32, real=True)
