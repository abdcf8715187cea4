"""A DataLoader that goes on within an epoch where a checkpoint was saved."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

from torch.utils.data import DataLoader, Sampler

from neuroalign.types import Batch


class ResumableLoader(DataLoader[Batch]):
    """A DataLoader that leaves out the batches of an epoch that are done, without loading them.

    Its order must depend on the epoch alone, as that of torch's ``DistributedSampler`` with a seed does. Lightning restores
    how many batches of an epoch are done, but begins every loader at its first batch.

    Attributes:
        num_done: Asked when the first batch of an epoch is wanted: how many of its batches are left out.

    Example:
        >>> loader = ResumableLoader(range(10), batch_size=2)
        >>> loader.num_done = lambda: 3
        >>> [batch.tolist() for batch in loader]
        [[6, 7], [8, 9]]
    """

    num_done: Callable[[], int] | None = None

    def __iter__(self) -> Iterator[Any]:
        # A generator: nothing happens before the first batch is wanted. Lightning makes the iterator before it tells the
        # sampler the epoch, and worker processes would begin with the order of another one.
        done = 0 if self.num_done is None else self.num_done()
        if not done or self.batch_sampler is None:
            yield from super().__iter__()
            return
        sampler = self.batch_sampler.sampler  # type: ignore[attr-defined]
        batches = None
        try:
            self.batch_sampler.sampler = _Rest(sampler, done * self.batch_sampler.batch_size)  # type: ignore[attr-defined]
            batches = super().__iter__()
            first = next(batches, None)  # which makes the batch sampler begin
        finally:
            self.batch_sampler.sampler = sampler  # type: ignore[attr-defined]
        if first is not None:
            yield first
            yield from batches

    def state_dict(self) -> dict[str, Any]:
        """Nothing: the Trainer's checkpoint has how many batches are done. Lightning knows a loader that resumes by it."""
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Nothing."""


class _Rest(Sampler[int]):
    def __init__(self, sampler: Any, start: int) -> None:
        self.sampler, self.start = sampler, start

    def __iter__(self) -> Iterator[int]:
        return itertools.islice(iter(self.sampler), self.start, None)

    def __len__(self) -> int:
        return max(0, len(self.sampler) - self.start)
