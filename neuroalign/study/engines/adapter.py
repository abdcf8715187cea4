"""Engines around what runs already: this process, or somebody's executor."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future
from contextlib import suppress
from typing import TypeVar

from neuroalign.study.engines.base import Engine
from neuroalign.study.graph import Resources

__all__: list[str] = []

T = TypeVar("T")


class SerialEngine(Engine):
    """Runs every call at once in this process, for tests and debuggers.

    Example:
        >>> SerialEngine().submit(lambda: 3, Resources()).result()
        3
    """

    capacity = 1

    def submit(self, call: Callable[[], T], resources: Resources) -> Future[T]:
        future: Future[T] = Future()
        future.set_running_or_notify_cancel()
        try:
            future.set_result(call())
        except Exception as error:
            future.set_exception(error)
        return future


class ExecutorEngine(Engine):
    """Runs calls by any executor of :mod:`concurrent.futures` (PEP 3148); what stages take of a machine is ignored.

    The executor stays the caller's: it is not shut down here. What a dead worker means is up to it; a stage whose future
    fails counts as failed.

    Args:
        executor: The executor.
        capacity: How many calls to keep submitted; None keeps 1000.
    """

    def __init__(self, executor: Executor, *, capacity: int | None = None) -> None:
        self.executor, self.capacity = executor, capacity or 1000
        self._futures: set[Future] = set()

    def submit(self, call: Callable[[], T], resources: Resources) -> Future[T]:
        try:
            future = self.executor.submit(call)
        except BrokenExecutor as error:
            future = Future()
            future.set_exception(error)
        self._futures.add(future)
        future.add_done_callback(self._futures.discard)
        return future

    def close(self, *, cancel: bool = False) -> None:
        for future in list(self._futures):
            if cancel:
                future.cancel()
                continue
            with suppress(CancelledError):
                future.exception()
