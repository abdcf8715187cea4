"""Random numbers of a training step that depend on the training's seed, the step and the process alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def drawing(seed: int, device: torch.device) -> Iterator[None]:
    """The global generators of the CPU and a device under a seed; the CPU's, and a CUDA device's, are as before at the end.

    Numbers drawn on a device are those of its kind of generator: the same on every GPU, others than on a CPU.

    Args:
        seed: From 0 to 2^63 - 1.
        device: The other device that is drawn on.

    Example:
        >>> with drawing(3, torch.device("cpu")):
        ...     first = torch.rand(2)
        >>> with drawing(3, torch.device("cpu")):
        ...     second = torch.rand(2)
        >>> torch.equal(first, second)
        True
    """
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        # Not torch.manual_seed, which would seed the generators of all devices, and those would not come back.
        torch.default_generator.manual_seed(seed)
        if device.type == "cuda":
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        elif device.type != "cpu":
            getattr(torch, device.type).manual_seed(seed)
        yield


def step_seed(seed: int, step: int, rank: int) -> int:
    """A seed of its own for every training batch of every process.

    Args:
        seed: Of the training.
        step: Number of training batches before this one, over all epochs.
        rank: Of the process.

    Example:
        >>> len({step_seed(0, step, rank) for step in range(100) for rank in range(4)})
        400
    """
    return ((seed * 1_000_003 + step) * 1_000_003 + rank) % 2**63


def fresh_seed() -> int:
    """A seed by the state of torch's global generator, which stays as it is.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> fresh_seed() == fresh_seed(), torch.equal(torch.rand(1), torch.rand(1))
        (True, False)
    """
    generator = torch.Generator()
    generator.set_state(torch.get_rng_state())
    return int(torch.randint(2**62, (), generator=generator))
