"""Child processes that leave an interrupt to their parent, and end with it."""

from __future__ import annotations

import multiprocessing
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def deaf_to_interrupts() -> Iterator[None]:
    """Processes started here never see Ctrl-C, which a terminal sends to all: their parent answers it, in one line.

    An interrupt that comes meanwhile reaches the parent at the end. Without effect in a thread other than the main one,
    and on Windows.

    Example:
        >>> with deaf_to_interrupts():
        ...     process = multiprocessing.get_context("spawn").Process(target=print)
    """
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # which children inherit
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def ended_by_interrupt() -> Iterator[None]:
    """On Ctrl-C, end the processes that were started here at once: else pools wait until what has begun is done.

    Example:
        >>> with ended_by_interrupt():
        ...     pass
    """
    before = set(multiprocessing.active_children())
    try:
        yield
    except KeyboardInterrupt:
        for process in set(multiprocessing.active_children()) - before:
            process.terminate()
        raise
