"""What an engine is: it takes calls, runs each on a machine that has room for it, and gives futures."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import AbstractContextManager, nullcontext
from types import TracebackType
from typing import Any, TypeVar

from neuroalign.study.graph import Resources

__all__: list[str] = []

T = TypeVar("T")


class WorkerLost(RuntimeError):
    """The process that made a stage ended before the stage was made."""


class Engine(ABC):
    """Hands calls to machines. As a context it waits for what was submitted; after an error it cancels that."""

    capacity: int = 1000
    """How many calls it is worth to keep submitted."""

    @abstractmethod
    def submit(self, call: Callable[[], T], resources: Resources) -> Future[T]:
        """Run a call that other processes can import; the future fails with :class:`WorkerLost` if its process dies."""

    def batch(self) -> AbstractContextManager[Any]:
        """A context whose submissions belong together; clusters take them as one array."""
        return nullcontext()

    def check(self, resources: Resources) -> None:  # noqa: B027
        """Raise ValueError if no machine of the engine has what a stage takes."""

    def close(self, *, cancel: bool = False) -> None:  # noqa: B027
        """Wait for all calls, or end them if ``cancel`` is true, then free what the engine holds."""

    def __enter__(self) -> Engine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close(cancel=error is not None)


def settle(future: Future, error: BaseException | None, result: Any) -> None:
    """Give a future its error or result, unless it was cancelled."""
    if future.cancelled():
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(result)
