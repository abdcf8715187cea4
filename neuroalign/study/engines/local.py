"""Processes of this machine: each stage in one that has its cores, its memory and its GPUs."""

from __future__ import annotations

import functools
import multiprocessing
import os
import pickle
import signal
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import CancelledError, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

from neuroalign.processes import deaf_to_interrupts
from neuroalign.study.engines.base import Engine, WorkerLost, settle
from neuroalign.study.engines.shares import Shares
from neuroalign.study.graph import Resources

__all__: list[str] = []

T = TypeVar("T")
_PATIENCE = 5.0  # seconds


class LocalEngine(Engine):
    """Runs calls in processes of this machine, as many at once as there are cores, memory and GPUs for.

    Each process is an executor of its own, so that one that is killed takes only its own stage along; that stage is tried
    again in a new process. Processes outlive their stages, and end with the process that started them, even if that is
    killed. Ctrl-C ends them through :meth:`close`.

    Args:
        workers: Most stages at once; None sets no limit beside the machine's.
        retries: How often a stage is tried again whose process died.
        shares: What the machine has; None asks it.

    Example:
        >>> LocalEngine(workers=2).capacity
        4
    """

    def __init__(self, *, workers: int | None = None, retries: int = 2, shares: Shares | None = None) -> None:
        if workers is not None and workers < 1:
            raise ValueError(f"workers must be at least 1, not {workers}")
        self.shares = shares or Shares.of_this_machine(crowded=workers is not None)
        self.workers = workers or max(1, int(min(self.shares.cpus, 1024)))
        self.retries, self.capacity = retries, 2 * self.workers
        self._waiting: deque[_Job] = deque()
        self._idle: list[_Worker] = []
        self._busy: dict[_Worker, _Job] = {}
        self._lock, self._closed = threading.RLock(), False

    def check(self, resources: Resources) -> None:
        self.shares.check(resources)

    def submit(self, call: Callable[[], T], resources: Resources) -> Future[T]:
        self.check(resources)
        try:
            pickle.dumps(call)
        except Exception as error:
            raise ValueError(
                f"other processes can't import this: a stage's work must be a function of a module ({error})"
            ) from error
        job = _Job(call, resources)
        with self._lock:
            self._waiting.append(job)
        self._start_waiting()
        return job.future

    def _start_waiting(self) -> None:
        """Start what there is room for, in order; a stage that waits for a GPU doesn't hold up those that want none."""
        with self._lock:
            short: set[str] = set()
            for job in list(self._waiting):
                if self._closed or len(self._busy) >= self.workers or "cpus" in short:
                    return
                if job not in self._waiting:  # a call that ended at once has started it
                    continue
                lacking = self.shares.lacking(job.resources)
                if lacking or short & job.wants:
                    short |= lacking | job.wants & short
                    continue
                self._waiting.remove(job)
                self._start(job)

    def _start(self, job: _Job) -> None:
        if job.attempts == 0 and not job.future.set_running_or_notify_cancel():
            return
        job.devices = self.shares.take(job.resources)
        job.attempts += 1
        while True:
            try:
                worker = self._worker(self.shares.names(job.devices))
                future = worker.submit(job.call)
            except BrokenProcessPool:  # it was killed while it was idle
                worker.close()
                continue
            except Exception as error:  # no process can be started; an error in a callback would be seen by nobody
                self.shares.give_back(job.resources, job.devices)
                job.future.set_exception(error)
                return
            break
        self._busy[worker] = job
        future.add_done_callback(functools.partial(self._ended, worker, job))

    def _worker(self, devices: str) -> _Worker:
        """An idle process that sees these GPUs, or a new one."""
        found = next((worker for worker in self._idle if worker.devices == devices), None)
        if found is None and len(self._idle) + len(self._busy) >= self.workers:
            self._idle.pop(0).close()
        if found is not None:
            self._idle.remove(found)
        return found or _Worker(devices)

    def _ended(self, worker: _Worker, job: _Job, future: Future) -> None:
        error = future.exception() if not future.cancelled() else WorkerLost("it was cancelled")
        died = isinstance(error, BrokenProcessPool)
        with self._lock:
            self.shares.give_back(job.resources, job.devices)
            self._busy.pop(worker, None)
            if died or self._closed:
                # In another thread: from Python 3.12 on, a broken executor holds the lock that closing takes.
                threading.Thread(target=worker.close, daemon=True, name="closes a worker").start()
            else:
                self._idle.append(worker)
            again = died and job.attempts <= self.retries and not self._closed
            if again:
                self._waiting.appendleft(job)
        if died and not again:
            error = WorkerLost(f"{worker.fate()}; tried {job.attempts} times")
        self._start_waiting()
        if not again:
            settle(job.future, error, None if error else future.result())

    def close(self, *, cancel: bool = False) -> None:
        with self._lock:
            waiting = [*self._waiting, *self._busy.values()]
        for job in waiting if not cancel else ():
            with suppress(CancelledError):
                job.future.exception()
        with self._lock:
            self._closed = True
            workers, waiting = [*self._idle, *self._busy], list(self._waiting)
            self._waiting.clear()
        for job in waiting:
            job.future.cancel()
        for worker in workers:
            worker.kill() if cancel else worker.close(wait=True)


@dataclass(eq=False)
class _Job:
    call: Callable[[], Any]
    resources: Resources
    future: Future = field(default_factory=Future)
    attempts: int = 0
    devices: dict[int, float] = field(default_factory=dict)

    @property
    def wants(self) -> set[str]:
        return {"gpus", "memory"} if self.resources.gpus else {"memory"} if self.resources.memory else set()


class _Worker:
    """One process, started by its first call."""

    def __init__(self, devices: str) -> None:
        self.devices = devices
        spawn = multiprocessing.get_context("spawn")  # a fork would copy torch's threads in an unknown state
        self._executor = ProcessPoolExecutor(1, spawn, initializer=_prepare, initargs=(devices,))
        self._processes: set[Any] = set()

    def submit(self, call: Callable[[], Any]) -> Future:
        if self._processes:
            return self._executor.submit(call)
        before = set(multiprocessing.active_children())
        with deaf_to_interrupts():
            future = self._executor.submit(call)
        self._processes = set(multiprocessing.active_children()) - before
        return future

    def fate(self) -> str:
        """How the process ended."""
        for process in self._processes:
            process.join(_PATIENCE)  # its pipe is closed a moment before its exit code is known
        codes = [process.exitcode for process in self._processes if process.exitcode is not None]
        if codes and codes[0] < 0:
            return f"its process was killed (signal {-codes[0]}), perhaps for lack of memory"
        return (
            f"its process ended by itself (exit code {codes[0] if codes else 'unknown'}); if it could not even start: a "
            "script that runs a study does so under `if __name__ == '__main__':`"
        )

    def kill(self) -> None:
        for process in self._processes:
            process.kill()
        self.close(wait=True)

    def close(self, *, wait: bool = False) -> None:
        self._executor.shutdown(wait=wait, cancel_futures=True)


def _prepare(devices: str) -> None:
    """Make this process a worker: it sees its GPUs only, leaves Ctrl-C to its parent, and ends with it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ["CUDA_VISIBLE_DEVICES"] = devices
    threading.Thread(target=_end_with_parent, daemon=True, name="watches the parent").start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
