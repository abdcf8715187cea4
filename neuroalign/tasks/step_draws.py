"""Random numbers of a training step that depend on the training's seed, the step and the process only."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

__all__: list[str] = []


@contextmanager
def drawing(seed: int, device: torch.device) -> Iterator[None]:
    """Context that seeds the global generators of the CPU and a device, and restores those of the CPU and a CUDA device.

    Numbers depend on the type of the device: they are the same on every GPU, and different from those on a CPU.

    Args:
        seed: From 0 to 2^63 - 1.
        device: The device, beside the CPU, on which numbers are drawn.

    Example:
        >>> with drawing(3, torch.device("cpu")):
        ...     first = torch.rand(2)
        >>> with drawing(3, torch.device("cpu")):
        ...     second = torch.rand(2)
        >>> torch.equal(first, second)
        True
    """
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        # Not torch.manual_seed: it would seed the generators of all devices, and the others would not be restored.
        torch.default_generator.manual_seed(seed)
        if device.type == "cuda":
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        elif device.type != "cpu":
            getattr(torch, device.type).manual_seed(seed)
        yield


def step_seed(seed: int, step: int, rank: int) -> int:
    """A different seed for every training batch of every process.

    Args:
        seed: Seed of the training.
        step: Number of training batches before this one, over all epochs.
        rank: Rank of the process.

    Example:
        >>> len({step_seed(0, step, rank) for step in range(100) for rank in range(4)})
        400
    """
    return ((seed * 1_000_003 + step) * 1_000_003 + rank) % 2**63


def fresh_seed() -> int:
    """A seed derived from the state of torch's global generator, which stays as it is.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> fresh_seed() == fresh_seed(), torch.equal(torch.rand(1), torch.rand(1))
        (True, False)
    """
    generator = torch.Generator()
    generator.set_state(torch.get_rng_state())
    return int(torch.randint(2**62, (), generator=generator))
