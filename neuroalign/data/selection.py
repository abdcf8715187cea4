"""Which voxels and stimuli are wanted, by number or name, and which stimulus gets another's responses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from neuroalign.data.fields import as_identities, has_names
from neuroalign.types import unknown

__all__: list[str] = []


def in_regions(roi: np.ndarray, wanted: Sequence[str]) -> np.ndarray:
    """(voxel,) whether each voxel is in one of the wanted regions.

    Raises:
        ValueError: If no voxel has one of the regions; the message lists near matches.

    Example:
        >>> in_regions(np.array(["V1", "V4", "V4"]), ["V4"]).tolist()
        [False, True, True]
    """
    known = sorted(set(map(str, roi)))
    for name in wanted:
        if name not in known:
            raise ValueError(unknown("roi", name, known))
    return np.isin(roi, wanted)


def stimulus_numbers(stimuli: Any, known: Sequence[str] | None) -> np.ndarray:
    """The numbers of stimuli that are given by number or by name.

    Args:
        stimuli: Numbers, or names.
        known: The names in the order of their numbers; None where stimuli have no names.

    Raises:
        TypeError: If they are names, and none are known.
        ValueError: If a name is unknown; the message lists near matches.

    Example:
        >>> stimulus_numbers(["cat.png"], ["car.png", "cat.png"])
        array([1])
    """
    given = np.asarray(stimuli)
    if known is None or not has_names(given):
        return as_identities(given, "stimuli")
    numbers = {name: number for number, name in enumerate(known)}
    for name in given.tolist():
        if name not in numbers:
            raise ValueError(unknown("stimulus", name, numbers))
    return np.array([numbers[name] for name in given.tolist()], dtype=np.int64)


def exchange_within(stimulus: np.ndarray, shared: np.ndarray, seed: int) -> np.ndarray:
    """Give every stimulus the identity of another one: shared ones exchange among themselves, and so do the others.

    Args:
        stimulus: (row,) identities.
        shared: (row,) which of the two groups each row belongs to.
        seed: Seed of the exchange.

    Returns:
        (row,) the new identities. Rows of one stimulus stay together, and no stimulus keeps its own identity.

    Raises:
        ValueError: If a group has a single stimulus.

    Example:
        >>> exchange_within(np.array([3, 3, 7]), np.zeros(3, dtype=bool), 0).tolist()
        [7, 7, 3]
    """
    rng = np.random.default_rng(seed)
    exchanged = stimulus.copy()
    for group in (shared, ~shared):
        names, inverse = np.unique(stimulus[group], return_inverse=True)
        if len(names) == 1:
            raise ValueError("a single stimulus can't exchange responses with another")
        # One cycle through all stimuli in a random order: each gets its successor's identity, never its own.
        cycle = rng.permutation(len(names))
        partner = np.empty(len(names), dtype=np.int64)
        partner[cycle] = np.roll(cycle, -1)
        exchanged[group] = names[partner[inverse]]
    return exchanged
