"""Several processes: child processes that leave Ctrl-C to their parent, and one writer at a time."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

__all__: list[str] = []

_log = logging.getLogger(__name__)

PATIENCE = 3600.0
"""Seconds that one process waits for another one that writes nothing."""


@contextmanager
def deaf_to_interrupts() -> Iterator[None]:
    """A context in which started processes ignore Ctrl-C, which a terminal sends to all; only the parent answers it.

    An interrupt that comes inside the context reaches the parent at its end. The context has no effect on Windows.

    Example:
        >>> with deaf_to_interrupts():
        ...     process = multiprocessing.get_context("spawn").Process(target=print)
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # child processes inherit this
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def ended_by_interrupt() -> Iterator[None]:
    """A context that ends the processes started in it on Ctrl-C; without it pools wait until running tasks are done.

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


@contextmanager
def locked(lock: str | os.PathLike[str], what: str, *, watch: str, patience: float = PATIENCE) -> Iterator[None]:
    """Hold a lock file, so that only one process at a time makes something.

    A process waits for another one as long as that makes progress. The lock ends with the process that holds it.

    Args:
        lock: The lock file; its folder exists.
        what: The thing that is made, for messages.
        watch: Pattern of the files beside the lock that change while it is made; for a folder, the files in it.
        patience: Seconds without any change after which waiting for the other process ends; 0 doesn't wait at all.

    Raises:
        OSError: If nothing can be locked there; this is raised without waiting.
        TimeoutError: If another process holds the lock, and has changed nothing for ``patience`` seconds.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> with locked(folder / ".lock", "notes.txt", watch="*"):
        ...     _ = (folder / "notes.txt").write_text("done")
    """
    import filelock

    lock = Path(lock)
    try:  # filelock can't distinguish a lock that is impossible from one that is held
        os.close(os.open(lock, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o644))
    except OSError as error:
        raise OSError(
            error.errno, f"{what} can't be made: no lock file can be written at {lock} ({error.strerror})"
        ) from error
    held = filelock.FileLock(lock)
    try:
        held.acquire(timeout=0)
    except NotImplementedError as error:
        raise OSError(
            f"{what} can't be made: the file system of {lock.parent} has no locks; write to another"
        ) from error
    except filelock.Timeout:
        if patience <= 0:
            raise TimeoutError(f"another process makes {what}") from None
        _log.warning("another process makes %s: waiting for it", what)
        _wait(held, lock, what, watch, patience)
    try:
        yield
    finally:
        held.release()


def _wait(held: Any, lock: Path, what: str, watch: str, patience: float) -> None:
    import filelock

    state, since = _state(lock, watch), time.monotonic()
    while True:
        try:
            held.acquire(timeout=min(patience / 4, 10.0))
            return
        except filelock.Timeout:
            now = _state(lock, watch)
            if now != state:
                state, since = now, time.monotonic()
            elif time.monotonic() - since > patience:
                raise TimeoutError(
                    f"another process makes {what}, and has written nothing for {patience / 60:.3g} minutes: if it hangs, "
                    f"end it, and run again. If there is none, nor on another computer that sees the folder, remove {lock}"
                ) from None


def _state(lock: Path, watch: str) -> list[tuple[str, int, int]]:
    """Names, sizes and times of the files that are being written."""
    found = []
    for path in [*lock.parent.glob(watch), *lock.parent.glob(f"{watch}/*")]:
        try:
            stat = path.stat()
        except OSError:  # renamed or removed in the meantime; the next call sees the change
            continue
        if path != lock:
            found.append((str(path), stat.st_size, stat.st_mtime_ns))
    return sorted(found)
