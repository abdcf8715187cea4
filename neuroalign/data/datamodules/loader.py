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
    how many batches of an epoch are done, but begins every loader at its first batch unless it has a ``state_dict``.

    Attributes:
        num_done: Asked when the first batch of an epoch is wanted: how many of its batches are left out; None, the default,
            for as many as a loaded state says, which is wrong with ``Trainer(limit_train_batches=...)``. Our DataModules ask
            the Trainer.

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
        # A generator: nothing happens before the first batch is wanted. Lightning makes the iterator before it tells the
        # sampler the epoch, and worker processes would begin with the order of another one.
        done = self._loaded if self.num_done is None else self.num_done()
        self._loaded, self._given = 0, done
        for batch in self._after(done) if done and self.batch_sampler is not None else super().__iter__():
            self._given += 1
            yield batch

    def _after(self, done: int) -> Iterator[Any]:
        sampler = self.batch_sampler.sampler  # type: ignore[union-attr]
        start = done * self.batch_sampler.batch_size  # type: ignore[union-attr]
        try:
            self.batch_sampler.sampler = _Rest(sampler, start)  # type: ignore[union-attr]
            batches = super().__iter__()
            first = next(batches, None)  # which makes the batch sampler begin
        finally:
            self.batch_sampler.sampler = sampler  # type: ignore[union-attr]
        if first is not None:
            yield first
            yield from batches

    def state_dict(self) -> dict[str, Any]:
        """How many batches of the epoch were given."""
        return {"batches": self._given}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Leave so many batches out, once; none where the epoch was complete."""
        self._loaded = state_dict["batches"] if state_dict["batches"] < len(self) else 0


class _Rest(Sampler[int]):
    def __init__(self, sampler: Any, start: int) -> None:
        self.sampler, self.start = sampler, start

    def __iter__(self) -> Iterator[int]:
        return itertools.islice(iter(self.sampler), self.start, None)

    def __len__(self) -> int:
        return max(0, len(self.sampler) - self.start)
