"""What a machine has, and how much of it is free: cores, memory, and shares of its GPUs."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, field

from neuroalign.files import readable_size
from neuroalign.study.graph import Resources

__all__: list[str] = []

_ROUNDING = 1e-6


@dataclass
class Shares:
    """Cores, bytes of memory and GPUs of a machine.

    Args:
        cpus: Number of cores; infinite if stages are limited by their number alone.
        memory: Bytes of memory; infinite if unknown.
        devices: Names of the GPUs, as CUDA_VISIBLE_DEVICES holds them.

    Example:
        >>> shares = Shares(cpus=4, devices=("0", "1"))
        >>> (
        ...     shares.take(Resources(gpus=0.5)),
        ...     shares.take(Resources(gpus=0.5)),
        ...     shares.take(Resources(gpus=1)),
        ... )
        ({0: 0.5}, {0: 0.5}, {1: 1.0})
        >>> shares.lacking(Resources(gpus=0.5))
        {'gpus'}
    """

    cpus: float = math.inf
    memory: float = math.inf
    devices: tuple[str, ...] = ()
    _used_cpus: int = field(default=0, init=False)
    _used_memory: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self._free = [1.0] * len(self.devices)

    @classmethod
    def of_this_machine(cls, *, crowded: bool = False) -> Shares:
        """What this process may use; ``crowded`` lets stages share cores."""
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        return cls(math.inf if crowded else cores, _memory(), _devices())

    def check(self, resources: Resources) -> None:
        """Raise ValueError if a stage wants more GPUs or memory than there are; too many cores are no error."""
        if math.ceil(resources.gpus) > len(self.devices):
            raise ValueError(
                f"a stage takes {resources.gpus:g} GPUs, but this machine has {len(self.devices)}: choose the CPU in the "
                "study's file, or another engine"
            )
        if (resources.memory or 0) > self.memory:
            raise ValueError(
                f"a stage takes {readable_size(resources.memory or 0)} of memory, but this machine has "
                f"{readable_size(self.memory)}: take a larger machine, or another engine"
            )

    def lacking(self, resources: Resources) -> set[str]:
        """What is too little now for a stage: of "cpus", "memory", "gpus". A stage larger than the machine runs alone."""
        lacking = set()
        if self._used_cpus and self._used_cpus + resources.cpus > self.cpus:
            lacking.add("cpus")
        if self._used_memory + (resources.memory or 0) > self.memory:
            lacking.add("memory")
        if self._choice(resources.gpus) is None:
            lacking.add("gpus")
        return lacking

    def take(self, resources: Resources) -> dict[int, float]:
        """Take what a stage needs; returns the share of each of its GPUs by the GPU's place."""
        chosen = self._choice(resources.gpus) or {}
        for device, share in chosen.items():
            self._free[device] -= share
        self._used_cpus += resources.cpus
        self._used_memory += resources.memory or 0
        return chosen

    def give_back(self, resources: Resources, devices: dict[int, float]) -> None:
        """Free what a stage had taken."""
        for device, share in devices.items():
            self._free[device] += share
        self._used_cpus -= resources.cpus
        self._used_memory -= resources.memory or 0

    def names(self, devices: dict[int, float]) -> str:
        """The value of CUDA_VISIBLE_DEVICES for these GPUs."""
        return ",".join(self.devices[device] for device in sorted(devices))

    def _choice(self, gpus: float) -> dict[int, float] | None:
        """GPUs for a stage: the fullest one that a fraction fits on, or whole ones; None if there are too few."""
        if gpus == 0:
            return {}
        share, count = (gpus, 1) if gpus < 1 else (1.0, math.ceil(gpus))
        fitting = [i for i, free in enumerate(self._free) if free >= share - _ROUNDING]
        fitting.sort(key=lambda i: (self._free[i], i))
        return dict.fromkeys(fitting[:count], share) if len(fitting) >= count else None


def _memory() -> float:
    try:
        return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (ValueError, OSError, AttributeError):  # Windows has no sysconf
        return math.inf


def _devices() -> tuple[str, ...]:
    import torch

    shown = os.environ.get("CUDA_VISIBLE_DEVICES")
    if shown is not None:
        return tuple(name.strip() for name in shown.split(",") if name.strip()) if torch.cuda.is_available() else ()
    return tuple(str(i) for i in range(torch.cuda.device_count()))
