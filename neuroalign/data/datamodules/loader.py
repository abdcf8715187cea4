"""A DataLoader that continues within an epoch from the batch at which a checkpoint was saved."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

from torch.utils.data import DataLoader, Sampler

from neuroalign.types import Batch

__all__ = ["ResumableLoader"]


class ResumableLoader(DataLoader[Batch]):
    """A DataLoader that skips the batches of an epoch that are done, without loading them.

    Its order must depend on the epoch alone, like that of torch's ``DistributedSampler`` with a seed. Lightning restores
    the number of batches that are done, but starts every loader at its first batch unless the loader has a ``state_dict``.

    Attributes:
        num_done: A function that is called before the first batch of an epoch and returns how many batches to skip. None,
            the default, skips as many as a loaded state says, which is wrong with ``Trainer(limit_train_batches=...)``. Our
            DataModules ask the Trainer.

    Example:
        >>> first, second = (ResumableLoader(range(10), batch_size=2) for _ in range(2))
        >>> batches = iter(first)
        >>> next(batches).tolist(), first.state_dict()
        ([0, 1], {'batches': 1})
        >>> second.load_state_dict(first.state_dict())
        >>> [batch.tolist() for batch in second]
        [[2, 3], [4, 5], [6, 7], [8, 9]]
    """

    num_done: Callable[[], int] | None = None
    _loaded = _given = 0

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]  # torch promises a private class
        # A generator does nothing before its first batch is requested. Lightning makes the iterator before it sets the
        # sampler's epoch, and worker processes would start with the order of another epoch.
        done = self._loaded if self.num_done is None else self.num_done()
        self._loaded, self._given = 0, done
        for batch in self._after(done) if done and self.batch_sampler is not None else super().__iter__():
            self._given += 1
            yield batch

    def _after(self, done: int) -> Iterator[Any]:
        batch_sampler: Any = self.batch_sampler  # torch leaves its attributes untyped
        sampler = batch_sampler.sampler
        start = done * batch_sampler.batch_size
        try:
            batch_sampler.sampler = _Rest(sampler, start)
            batches = super().__iter__()
            first = next(batches, None)  # this starts the batch sampler
        finally:
            batch_sampler.sampler = sampler
        if first is not None:
            yield first
            yield from batches

    def state_dict(self) -> dict[str, Any]:
        """The number of batches of the epoch that were returned."""
        return {"batches": self._given}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Skip the batches that the state counts, once; none if the epoch was complete."""
        self._loaded = state_dict["batches"] if state_dict["batches"] < len(self) else 0


class _Rest(Sampler[int]):
    def __init__(self, sampler: Any, start: int) -> None:
        self.sampler, self.start = sampler, start

    def __iter__(self) -> Iterator[int]:
        return itertools.islice(iter(self.sampler), self.start, None)

    def __len__(self) -> int:
        return max(0, len(self.sampler) - self.start)
