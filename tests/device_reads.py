"""How often a computation reads a value from its device, for which the host must wait there."""

import torch
from torch.utils._python_dispatch import TorchDispatchMode


class CountReads(TorchDispatchMode):
    """A context that counts, in ``reads``, what ``bool(x)``, ``float(x)`` and ``x.item()`` ask of tensors."""

    def __init__(self):
        super().__init__()
        self.reads = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.reads += function is torch.ops.aten._local_scalar_dense.default
        return function(*args, **(kwargs or {}))
