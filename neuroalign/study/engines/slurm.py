"""A SLURM cluster, through submitit: the stages that are ready at once, and take the same of a machine, are one job array."""

from __future__ import annotations

import logging
import math
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from neuroalign.study.engines.base import Engine, WorkerLost, settle
from neuroalign.study.graph import Resources

__all__: list[str] = []

T = TypeVar("T")

_log = logging.getLogger(__name__)
_DAY = 24 * 60


class SlurmEngine(Engine):
    """Runs calls as jobs of SLURM. All nodes see the study's folder, or it is a URL.

    Jobs that are preempted or run out of time are queued again by submitit, and go on from their last checkpoint; those whose
    node died are submitted again. Jobs outlive a driver that is killed.

    Args:
        logs: Folder for scripts and logs of the jobs, seen by all nodes.
        cluster: "slurm"; "local" runs the jobs as processes of this machine, without limits, to try things out.
        retries: How often a job is submitted again that ended without a result.
        capacity: How many jobs to keep in the queue.
        interval: Seconds between two looks at the queue.
        **options: Parameters of submitit's ``AutoExecutor``, such as ``slurm_partition``, ``slurm_account``,
            ``slurm_array_parallelism``, ``timeout_min`` (for stages that name no time; a day), ``mem_gb``.

    Raises:
        ImportError: If submitit is not installed.
    """

    def __init__(
        self,
        *,
        logs: str | os.PathLike[str] = "slurm_logs",
        cluster: str = "slurm",
        retries: int = 2,
        capacity: int = 1000,
        interval: float = 5.0,
        **options: Any,
    ) -> None:
        try:
            import submitit
        except ImportError as error:
            raise ImportError("running on SLURM needs submitit: pip install 'neuroalign[slurm]'") from error
        self._executor = submitit.AutoExecutor(folder=Path(logs) / "%j", cluster=cluster)
        self._executor.update_parameters(**options)  # a wrong name is an error now
        self.retries, self.capacity, self.interval, self.options = retries, capacity, interval, options
        self._lock, self._wake, self._closed = threading.RLock(), threading.Event(), False
        self._waiting: list[_Job] = []
        self._jobs: list[_Job] = []
        self._in_batch = False
        self._watch: threading.Thread | None = None

    def submit(self, call: Callable[[], T], resources: Resources) -> Future[T]:
        job = _Job(_JobCall(call), resources)
        job.future.set_running_or_notify_cancel()
        with self._lock:
            self._waiting.append(job)
        if not self._in_batch:
            self._submit_waiting()
        return job.future

    @contextmanager
    def batch(self) -> Iterator[None]:
        self._in_batch = True
        try:
            yield
        finally:
            self._in_batch = False
        self._submit_waiting()

    def _submit_waiting(self) -> None:
        """Submit what waits, as an array for each kind of machine; what the queue doesn't take waits on."""
        with self._lock:
            for resources in dict.fromkeys(job.resources for job in self._waiting):
                alike = [job for job in self._waiting if job.resources == resources]
                self._executor.update_parameters(**self._parameters(resources))
                for job, submitted in zip(alike, self._executor.submit_array([job.call for job in alike])):
                    job.submitted, job.attempts = submitted, job.attempts + 1
                self._jobs.extend(alike)
                self._waiting = [job for job in self._waiting if job.resources != resources]
            if self._jobs and self._watch is None:
                self._watch = threading.Thread(target=self._look, daemon=True, name="looks at the jobs")
                self._watch.start()

    def _parameters(self, resources: Resources) -> dict[str, Any]:
        wanted: dict[str, Any] = {"cpus_per_task": resources.cpus, "timeout_min": resources.minutes or _DAY}
        if resources.minutes is None and "timeout_min" in self.options:
            wanted["timeout_min"] = self.options["timeout_min"]
        if resources.gpus:
            wanted["gpus_per_node"] = math.ceil(resources.gpus)
        if resources.memory:
            wanted["mem_gb"] = math.ceil(resources.memory / 2**30)
        return {**self.options, **wanted}

    def _look(self) -> None:
        """Settle the futures of jobs that have ended, now and then."""
        while not self._wake.wait(self.interval):
            with self._lock:
                ended = [job for job in self._jobs if job.ended()]
                self._jobs = [job for job in self._jobs if job not in ended]
            for job in ended:
                self._settle(job)
            try:
                self._submit_waiting()
            except Exception as error:  # the queue doesn't answer; the jobs stay for the next look
                _log.warning("jobs could not be submitted again: %s", error)

    def _settle(self, job: _Job) -> None:
        """Give a job that has ended its result, or submit it again."""
        try:
            error = job.submitted.exception()
            result = None if error is not None else job.submitted.result()
        except Exception as found:
            error, result = found, None
        if error is not None and job.attempts <= self.retries and not self._closed:
            _log.warning("job %s ended without a result: it is submitted again", job.submitted.job_id)
            with self._lock:
                self._waiting.append(job)
            return
        paths = job.submitted.paths
        for pickled in (paths.result_pickle, paths.submitted_pickle):
            pickled.unlink(missing_ok=True)  # the logs stay
        if error is not None:
            lines = str(error).strip().splitlines() or [type(error).__name__]
            error = WorkerLost(f"job {job.submitted.job_id} ended without a result, at attempt {job.attempts}: {lines[0]}; "
                               f"its log is {paths.stderr}")  # fmt: skip
        settle(job.future, error, result)

    def close(self, *, cancel: bool = False) -> None:
        with self._lock:
            jobs = [*self._jobs, *self._waiting]
            self._closed = cancel
        for job in jobs:
            if not cancel:
                job.future.exception()
            elif job.submitted is not None:
                job.submitted.cancel(check=False)
        self._wake.set()


@dataclass(eq=False)
class _Job:
    call: _JobCall
    resources: Resources
    future: Future = field(default_factory=Future)
    submitted: Any = None
    attempts: int = 0

    def ended(self) -> bool:
        try:
            return bool(self.submitted.done())
        except Exception as error:  # the queue doesn't answer: ask again later
            _log.warning("the state of job %s is unknown: %s", self.submitted.job_id, error)
            return False


@dataclass(frozen=True)
class _JobCall:
    """A call as submitit runs it in a job."""

    call: Callable[[], Any]

    def __call__(self) -> Any:
        # Lightning would take the job's variables for a launch of its own, by srun; it leaves interactive jobs alone.
        os.environ["SLURM_JOB_NAME"] = "interactive"
        return self.call()

    def checkpoint(self) -> Any:
        """What submitit queues when the job is preempted or runs out of time: the same, which goes on from its scratch."""
        import submitit

        return submitit.helpers.DelayedSubmission(self)
