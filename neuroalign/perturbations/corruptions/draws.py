"""Random numbers for a batch of images, each image's from its own key."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from neuroalign.functional import draws
from neuroalign.perturbations.corruptions.counts import poisson

__all__: list[str] = []


class Draws:
    """Random numbers of images: every method draws for all images at once, and each call draws new numbers.

    They are the same numbers on any device.

    Args:
        keys: One key per image: integers, or (stimulus,) int64 (:func:`neuroalign.functional.draws.image_keys`), on whose
            device numbers are computed.

    Example:
        >>> both, second = Draws([1, 2]).normal(3, 8, 8), Draws([2]).normal(3, 8, 8)
        >>> both.shape, torch.equal(both[1], second[0])
        (torch.Size([2, 3, 8, 8]), True)
    """

    def __init__(self, keys: Iterable[int] | Tensor) -> None:
        self._keys = keys if isinstance(keys, Tensor) else torch.tensor(list(keys), dtype=torch.int64)
        self._calls = 0

    def _next(self) -> Tensor:
        """Keys of the next call."""
        self._calls += 1
        return draws.splitmix64(self._keys, self._calls)

    def uniform(self, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        """Uniform numbers in [low, high): ``(stimulus, *shape)``."""
        return draws.uniform(self._next(), *shape, low=low, high=high)

    def normal(self, *shape: int) -> Tensor:
        """Standard normal numbers: ``(stimulus, *shape)``."""
        return draws.normal(self._next(), *shape)

    def integers(self, low: int, high: int, *shape: int) -> Tensor:
        """Integers from low to high - 1: ``(stimulus, *shape)``, int64."""
        return draws.uniform(self._next(), *shape).mul_(high - low).long().add_(low)

    def poisson(self, rates: Tensor, largest: float) -> Tensor:
        """Poisson counts with means ``rates`` (stimulus, ...) from 0 to ``largest``, of the same shape."""
        return poisson(rates, largest, self.uniform(*rates.shape[1:]), self.uniform(*rates.shape[1:]))
