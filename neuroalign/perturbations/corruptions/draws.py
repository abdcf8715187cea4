"""Random numbers for a batch of images, from one generator per image."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

__all__: list[str] = []


class Draws:
    """One generator per image; every method draws for all images and stacks the results.

    Generators live on the CPU, so that a GPU gets the same numbers.

    Args:
        seeds: One seed per image.
        device: Device of the numbers that are returned.

    Example:
        >>> both, second = Draws([1, 2]).normal(3, 8, 8), Draws([2]).normal(3, 8, 8)
        >>> both.shape, torch.equal(both[1], second[0])
        (torch.Size([2, 3, 8, 8]), True)
    """

    def __init__(self, seeds: Iterable[int], device: torch.device | str = "cpu") -> None:
        self.generators = [torch.Generator("cpu").manual_seed(seed) for seed in seeds]
        self.device = torch.device(device)

    def _each(self, fill: Callable[[Tensor, torch.Generator], object], *shape: int) -> Tensor:
        numbers = torch.empty(len(self.generators), *shape, dtype=torch.float32, device="cpu")
        for own, generator in zip(numbers, self.generators):
            fill(own, generator)
        return numbers.to(self.device)

    def uniform(self, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        """Uniform numbers in [low, high): ``(stimulus, *shape)``."""
        return self._each(lambda own, generator: own.uniform_(low, high, generator=generator), *shape)

    def normal(self, *shape: int) -> Tensor:
        """Standard normal numbers: ``(stimulus, *shape)``."""
        return self._each(lambda own, generator: own.normal_(generator=generator), *shape)

    def integers(self, low: int, high: int, *shape: int) -> Tensor:
        """Integers from low to high - 1: ``(stimulus, *shape)``, int64."""
        return self._each(lambda own, generator: own.random_(low, high, generator=generator), *shape).long()

    def poisson(self, rates: Tensor) -> Tensor:
        """Poisson counts with means ``rates`` (stimulus, ...), of the same shape; drawn on the CPU like all others."""
        rates = rates.cpu()
        counts = [torch.poisson(own, generator=generator) for own, generator in zip(rates, self.generators)]
        return torch.stack(counts).to(self.device)
