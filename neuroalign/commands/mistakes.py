"""A mistake of whoever typed a command is answered in one sentence; a fault of ours keeps its traceback."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

__all__: list[str] = []

_OF_THE_USER = (ValueError, TypeError, OSError, ImportError)
"""Errors that our own checks raise for a wrong value, file or missing extra."""


@contextmanager
def told_in_one_line(command: str, *, debug: bool = False, goes_on: str | None = None) -> Iterator[None]:
    """Answer a mistake with one line and exit status 2, and Ctrl-C with one line and exit status 130.

    Args:
        command: Name of the command, for the line.
        debug: Whether errors keep their whole traceback.
        goes_on: How to go on after Ctrl-C, such as "the same command goes on from what is in DIR"; None if there is nothing
            to go on from.

    Raises:
        SystemExit: After a mistake or Ctrl-C.

    Example:
        >>> with told_in_one_line("evaluate"):  # doctest: +SKIP
        ...     raise ValueError("there is no layer9")
        neuroalign evaluate: there is no layer9
    """
    try:
        yield
    except KeyboardInterrupt:
        print(f"\nneuroalign {command}: stopped{f'; {goes_on}' if goes_on else ''}", file=sys.stderr)
        raise SystemExit(130) from None
    except _OF_THE_USER as error:
        if debug:
            raise
        print(f"neuroalign {command}: {sentence_of(error)}", file=sys.stderr)
        raise SystemExit(2) from None


def sentence_of(error: BaseException) -> str:
    """The message of the error that others were raised from, on one line.

    Example:
        >>> sentence_of(ValueError("two\\nlines"))
        'two lines'
    """
    while error.__cause__ is not None and isinstance(error.__cause__, _OF_THE_USER) and not str(error):
        error = error.__cause__
    return " ".join(str(error).split()) or type(error).__name__
