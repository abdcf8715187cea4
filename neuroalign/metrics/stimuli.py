"""What metrics that keep every stimulus share: which rows are the same stimulus, and in which order they count."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from neuroalign.functional.identities import first_of_each
from neuroalign.metrics.base import EpochMetric, check_tensors


class Kept(NamedTuple):
    """The rows that count, in order.

    Attributes:
        rows: (kept,) their places among all rows.
        number: (kept,) the index that was given, or the place in the order of arrival.
        named: Whether each row came with an index, none did, or (None) some did.
    """

    rows: Tensor
    number: Tensor
    named: bool | None


class StimulusMetric(EpochMetric):
    """A metric that keeps rows, one for each stimulus.

    A stimulus that came without an ``index`` is a stimulus of its own, whatever object, batch or process saw it. Rows of
    one given index are one stimulus: the first counts, as distributed samplers repeat images to even out.

    ``compute`` sees rows by rising index, then those without, in the order in which they came (one process after the other).

    Attributes:
        kept: Names of the states that hold a row for each stimulus.
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
            index: (stimulus,) identities, or None.
            **rows: By the state's name, (stimulus, ...).

        Raises:
            TypeError: If identities are no integers.
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
        """All rows of a state, before or after it was synchronised over processes."""
        state = getattr(self, name)
        return torch.cat(list(state)) if isinstance(state, list) else state

    def seen(self) -> Kept:
        """The rows that count.

        Raises:
            ValueError: If there are none.
        """
        self.refuse_empty(len(self.identity))
        index, named = self.joined("identity").unbind(1)
        self.refuse_empty(len(index))
        given, other = (named > 0).nonzero()[:, 0], (named == 0).nonzero()[:, 0]
        first = given[first_of_each(index[given])]
        arrival = torch.arange(len(other), device=index.device)
        kind = None if len(first) and len(other) else bool(len(first))
        return Kept(torch.cat([first, other]), torch.cat([index[first], arrival]), kind)
