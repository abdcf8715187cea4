"""Which stimuli a split holds, in one short number that gives none of them away."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

__all__ = ["stimulus_hash"]


def stimulus_hash(stimuli: Iterable[Any]) -> str:
    r"""SHA-256 of a set of stimuli: equal for two splits if, and only if, they hold the same stimuli.

    The hash is that of the distinct stimuli in ascending order, one a line, in UTF-8: numbers in decimal digits, names as
    they are.

    Args:
        stimuli: (trial,) identities, all integers or all names; order and repeats don't matter.

    Returns:
        64 hexadecimal digits.

    Raises:
        ValueError: If there are none.
        TypeError: If they are neither integers nor names.

    Example:
        >>> stimulus_hash([10, 2, 2]) == stimulus_hash(np.array([2, 10]))
        True
        >>> import hashlib
        >>> stimulus_hash([10, 2]) == hashlib.sha256(b"2\n10").hexdigest()
        True
    """
    found: list[Any] = sorted({_identity(stimulus) for stimulus in stimuli})
    if not found:
        raise ValueError("there are no stimuli to hash")
    return hashlib.sha256("\n".join(map(str, found)).encode()).hexdigest()


def identities(responses: Any) -> Sequence[Any]:
    """The names of the stimuli of a ``Responses`` if they have any, else their numbers."""
    numbers = [int(number) for number in responses.stimulus]
    names = responses.info.get("stimulus_id")
    return numbers if names is None else [str(names[number]) for number in numbers]


def _identity(stimulus: Any) -> int | str:
    if isinstance(stimulus, str):
        return str(stimulus)
    number = getattr(stimulus, "item", lambda: stimulus)()  # of NumPy or a tensor
    if isinstance(number, bool) or not isinstance(number, int):
        raise TypeError(f"a stimulus is given by its number or name; got {type(stimulus).__name__}")
    return number
