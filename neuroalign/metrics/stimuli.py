"""The base of metrics that keep every stimulus: which rows are the same stimulus, and their order."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from neuroalign.functional.identities import first_of_each
from neuroalign.metrics.base import EpochMetric, check_tensors

__all__: list[str] = []


class Kept(NamedTuple):
    """The rows that are used, in order.

    Attributes:
        rows: (kept,) positions among all rows.
        number: (kept,) the given index, or the position in the order of arrival.
        named: True if every row has an index, False if none has, None if only some have.
    """

    rows: Tensor
    number: Tensor
    named: bool | None


class StimulusMetric(EpochMetric):
    """A metric that keeps one row per stimulus.

    A row without an ``index`` is a separate stimulus, in any object, batch or process. Rows with the same given index are one
    stimulus, of which the first row counts, since distributed samplers repeat images to give all processes the same number.

    ``compute`` gets rows by rising index, then rows without an index in order of arrival (one process after the other).

    Attributes:
        kept: Names of the states that hold one row per stimulus.
    """

    kept: tuple[str, ...] = ()
    identity: list[Tensor]

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        for name in (*self.kept, "identity"):
            self.add_state(name, [], dist_reduce_fx="cat")

    def add(self, index: Tensor | None, **rows: Tensor) -> None:
        """Keep rows.

        Args:
            index: (stimulus,) identities; None means that every row is a separate stimulus.
            **rows: Tensors (stimulus, ...) by the name of their state.

        Raises:
            TypeError: If identities are not integers.
            ValueError: If there are not as many identities as rows, or rows differ in shape from earlier ones.
        """
        first = next(iter(rows.values()))
        if index is not None:
            check_tensors(index=index)
            if index.is_floating_point() or index.dtype == torch.bool:
                raise TypeError(f"index must be integer identities of the stimuli; got {index.dtype}")
        if index is not None and index.shape != first.shape[:1]:
            raise ValueError(f"{len(first)} stimuli but an index of {len(index)}")
        for name, x in rows.items():
            seen = getattr(self, name)
            if isinstance(seen, list) and seen and seen[0].shape[1:] != x.shape[1:]:
                was, now = ("x".join(map(str, s.shape[1:])) for s in (seen[0], x))
                raise ValueError(f"{name} had {was} columns in earlier batches, now {now}")
        for name, x in rows.items():
            setattr(self, name, [*getattr(self, name), x.detach()])
        given = torch.zeros(len(first), dtype=torch.long) if index is None else index.detach().long()
        named = torch.full((len(first),), int(index is not None))
        self.identity = [*self.identity, torch.stack([given.to(first.device), named.to(first.device)], 1)]

    def joined(self, name: str) -> Tensor:
        """All rows of a state, before or after its synchronisation over processes."""
        state = getattr(self, name)
        return torch.cat(list(state)) if isinstance(state, list) else state

    def seen(self) -> Kept:
        """The rows that are used.

        Raises:
            ValueError: If no rows were added.
        """
        self.refuse_empty(len(self.identity))
        index, named = self.joined("identity").unbind(1)
        self.refuse_empty(len(index))
        given, other = (named > 0).nonzero()[:, 0], (named == 0).nonzero()[:, 0]
        first = given[first_of_each(index[given])]
        arrival = torch.arange(len(other), device=index.device)
        kind = None if len(first) and len(other) else bool(len(first))
        return Kept(torch.cat([first, other]), torch.cat([index[first], arrival]), kind)
