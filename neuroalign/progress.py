"""How far long work is: a bar in a terminal or notebook, elsewhere, as in the log of a cluster's job, a line a minute."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

__all__: list[str] = []

T = TypeVar("T")
_MINUTE = 60.0


class EveryMinute:
    """Calls a function once a minute, from a thread of its own, while a context is open.

    Args:
        say: The function.
        wait: Waits for the given seconds, and says whether the work has ended in the meantime; None waits for the end of
            the context.

    Example:
        >>> ends = iter([False, False, True])
        >>> EveryMinute(lambda: print("still at work"), wait=lambda seconds: next(ends)).run()
        still at work
        still at work
    """

    def __init__(self, say: Callable[[], None], *, wait: Callable[[float], bool] | None = None) -> None:
        self._say, self._ended = say, threading.Event()
        self._wait = wait or self._ended.wait
        self._thread = threading.Thread(target=self.run, name="progress", daemon=True)

    def run(self) -> None:
        """Call the function each minute until the end."""
        while not self._wait(_MINUTE):
            self._say()

    def __enter__(self) -> EveryMinute:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()


class Share:
    """How much of the work is done, in words.

    Args:
        text: What is being done.
        total: How much there is to do; None if that isn't known.
        clock: The time in seconds.

    Example:
        >>> times = iter([0.0, 120.0])
        >>> share = Share("attack", total=10, clock=lambda: next(times))
        >>> share.advance(4)
        >>> str(share)
        'attack: 40 % after 2 min, about 3 min left'
    """

    def __init__(self, text: str, total: float | None = None, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.text, self.total, self.done, self._clock = text, total, 0.0, clock
        self._start = clock()

    def advance(self, amount: float = 1) -> None:
        """Count more work as done."""
        self.done += amount

    def __str__(self) -> str:
        elapsed = self._clock() - self._start
        after = f"after {readable_time(elapsed)}"
        if not self.total:
            return f"{self.text}: {f'{self.done:g} done ' if self.done else ''}{after}"
        share = min(self.done / self.total, 1.0)
        left = f", about {readable_time(elapsed * (1 - share) / share)} left" if share else ""
        return f"{self.text}: {100 * share:.0f} % {after}{left}"


def track(
    items: Iterable[T], text: str, total: int | None = None, *, transient: bool = False, show: bool = True
) -> Iterator[T]:
    """The items, with progress while they are worked on.

    Args:
        items: What to work on.
        text: What is being done.
        total: Number of items; None if that isn't known.
        transient: Whether a bar disappears when the work is done.
        show: Whether to show anything.

    Example:
        >>> list(track([1, 2], "counting", 2, show=False))
        [1, 2]
    """
    if not (show and wanted()):
        yield from items
        return
    import rich
    from rich.progress import track as bar

    if draws_bars():
        yield from bar(items, text, total=total, transient=transient, console=rich.get_console())
        return
    with in_lines(text, total) as share:
        for item in items:
            yield item
            share.advance()


@contextmanager
def in_lines(text: str, total: float | None = None, *, show: bool = True) -> Iterator[Share]:
    """A line a minute about work whose amounts the caller counts; nothing in a terminal.

    Args:
        text: What is being done.
        total: How much there is to do; None if that isn't known.
        show: Whether to show anything.
    """
    share = Share(text, total)
    if not (show and wanted()) or draws_bars():
        yield share
        return
    with EveryMinute(lambda: print(share, file=sys.stderr, flush=True)):
        yield share


def wanted() -> bool:
    """Whether progress is shown at all: not where ``logging.disable(logging.INFO)`` asks for no information, as ``-q`` does.

    Example:
        >>> logging.disable(logging.INFO)
        >>> wanted()
        False
        >>> logging.disable(logging.NOTSET)
        >>> wanted()
        True
    """
    return logging.root.manager.disable < logging.INFO


def draws_bars() -> bool:
    """Whether bars can be drawn: in a terminal or notebook."""
    import rich

    console = rich.get_console()
    return console.is_terminal or console.is_jupyter


def readable_time(seconds: float | None) -> str:
    """Seconds as people say them.

    Example:
        >>> (
        ...     readable_time(8),
        ...     readable_time(200),
        ...     readable_time(3 * 3600 + 1200),
        ...     readable_time(None),
        ... )
        ('8 s', '3 min', '3.3 h', 'unknown')
    """
    if seconds is None:
        return "unknown"
    if seconds < 90:
        return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 72 * 3600 else f"{seconds / 86400:,.0f} days"
