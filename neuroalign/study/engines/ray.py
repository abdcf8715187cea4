"""A Ray cluster: stages are tasks, which Ray places by their cores, memory and GPUs, and does again when a node is lost."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from neuroalign.study.engines.base import Engine, WorkerLost, settle
from neuroalign.study.graph import Resources

__all__: list[str] = []

T = TypeVar("T")


class RayEngine(Engine):
    """Runs calls as tasks of Ray. All nodes see the study's folder, or it is a URL.

    Args:
        address: The cluster, such as "auto" or "ray://head:10001"; None starts Ray on this machine. A Ray that this process
            is connected to already is used as it is, and not shut down.
        retries: How often a task is done again whose worker or node was lost.
        capacity: How many tasks to keep submitted.
        **options: Options of ``ray.init``, such as ``runtime_env``.

    Raises:
        ImportError: If Ray is not installed.
    """

    def __init__(self, *, address: str | None = None, retries: int = 3, capacity: int = 1000, **options: Any) -> None:
        try:
            import ray
        except ImportError as error:
            raise ImportError("running on Ray needs it installed: pip install 'neuroalign[ray]'") from error
        self._ray, self.retries, self.capacity = ray, retries, capacity
        self._started = not ray.is_initialized()
        if self._started:
            ray.init(address=address, log_to_driver=False, **options)
        self._alone = self._started and address is None
        self._tasks: dict[Any, Future] = {}
        self._run: Any = ray.remote(_run)

    def check(self, resources: Resources) -> None:
        there = self._ray.cluster_resources().get("GPU", 0.0)
        if self._alone and resources.gpus > there:
            raise ValueError(
                f"a stage takes {resources.gpus:g} GPUs, but Ray on this machine has {there:g}: choose the CPU in the "
                "study's file, or give the address of a cluster"
            )

    def submit(self, call: Callable[[], T], resources: Resources) -> Future[T]:
        wanted = {"num_cpus": resources.cpus, "num_gpus": resources.gpus, "max_retries": self.retries}
        if resources.memory:
            wanted["memory"] = resources.memory
        task = self._run.options(**wanted).remote(call)
        future: Future[T] = Future()
        future.set_running_or_notify_cancel()
        self._tasks[task] = future
        task.future().add_done_callback(lambda inner: self._ended(task, future, inner))
        return future

    def _ended(self, task: Any, future: Future, inner: Future) -> None:
        self._tasks.pop(task, None)
        error = inner.exception()
        if isinstance(error, self._ray.exceptions.RayTaskError):
            error = error.cause
        elif isinstance(error, self._ray.exceptions.RayError):
            lines = str(error).strip().splitlines() or [type(error).__name__]
            error = WorkerLost(f"Ray lost it: {lines[0]}")
        settle(future, error, None if error else inner.result())

    def close(self, *, cancel: bool = False) -> None:
        for task, future in list(self._tasks.items()):
            if cancel:
                self._ray.cancel(task, force=True)
            else:
                future.exception()
        if self._started and self._ray.is_initialized():
            self._ray.shutdown()


def _run(call: Callable[[], T]) -> T:
    return call()
