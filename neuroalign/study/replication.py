"""Run the replications of a study: in this process, in several processes, or on a Ray cluster."""

from __future__ import annotations

import contextlib
import multiprocessing
import queue as queue_module
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress

from neuroalign.processes import deaf_to_interrupts, ended_by_interrupt

__all__ = ["Progress", "run_replications"]

Result = TypeVar("Result")


@dataclass(frozen=True)
class Progress:
    """Reports the progress of a replication: call it with a stage's name and the work done since the last call.

    Args:
        replication: Number of the replication.
        queue: Queue that receives the reports; None reports nothing.
    """

    replication: int
    queue: Any = None

    def __call__(self, stage: str, work: float = 0.0) -> None:
        """Report the current stage, and the work done since the last call."""
        if self.queue is not None:
            self.queue.put((self.replication, stage, work))


def run_replications(
    replicate: Callable[[int, Any, Progress], Result],
    seeds: Sequence[int],
    settings: Any,
    *,
    work: float,
    num_workers: int = 1,
    use_ray: bool = False,
    console: Console | None = None,
) -> list[Result]:
    """Run ``replicate(seed, settings, progress)`` for every seed, with one progress display.

    Args:
        replicate: A function of a module (processes must be able to import it).
        seeds: One seed per replication.
        settings: Passed to ``replicate``; must be picklable.
        work: Total work that one replication reports; the time left is estimated from it.
        num_workers: Number of processes at once; each computes on its share of the cores. 1 runs in this process.
        use_ray: Run them on Ray (``pip install 'neuroalign[ray]'``), on this machine or the cluster it is connected to.
        console: Console that shows the progress; None means standard error.

    Returns:
        The results, in the order of the seeds.

    Raises:
        ImportError: If Ray is wanted and not installed.
    """
    console = console or Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TextColumn("time left"),
               TimeRemainingColumn(elapsed_when_finished=False))  # fmt: skip
    with RichProgress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("starting", total=work * len(seeds))
        stages: dict[int, str] = {}

        def show(message: tuple[int, str, float]) -> None:
            replication, stage, done = message
            if not console.is_terminal and stages.get(replication) != stage:  # a log gets lines, not a moving bar
                console.print(
                    f"replication {replication + 1}/{len(seeds)}: {stage} ({bar.tasks[0].percentage:.0f} % of all)"
                )
            stages[replication] = stage
            text = " | ".join(f"{r + 1}/{len(seeds)} {stages[r]}" for r in sorted(stages))
            bar.update(task, advance=done, description=text)

        if use_ray:
            return _run_on_ray(replicate, seeds, settings, show)
        if num_workers <= 1 or len(seeds) == 1:
            here = _Here(show)
            return [replicate(seed, settings, Progress(i, here)) for i, seed in enumerate(seeds)]
        return _run_in_processes(replicate, seeds, settings, num_workers, show)


class _Here:
    def __init__(self, show: Callable[[tuple[int, str, float]], None]) -> None:
        self.put = show


def _run_in_processes(
    replicate: Callable[[int, Any, Progress], Result],
    seeds: Sequence[int],
    settings: Any,
    num_workers: int,
    show: Callable[[tuple[int, str, float]], None],
) -> list[Result]:
    context = multiprocessing.get_context("spawn")  # a fork would copy torch's thread pool in an unknown state
    num_workers = min(num_workers, len(seeds))
    threads = max(1, torch.get_num_threads() // num_workers)
    with contextlib.ExitStack() as stack:
        with deaf_to_interrupts():
            manager = stack.enter_context(context.Manager())
            pool = stack.enter_context(
                ProcessPoolExecutor(num_workers, context, initializer=torch.set_num_threads, initargs=(threads,))
            )
            stack.enter_context(ended_by_interrupt())
            messages = manager.Queue()
            futures = [pool.submit(replicate, seed, settings, Progress(i, messages)) for i, seed in enumerate(seeds)]
        while not all(f.done() for f in futures):
            failed = [f for f in futures if f.done() and f.exception()]
            if failed:
                pool.shutdown(wait=False, cancel_futures=True)
                failed[0].result()  # raises what it failed by
            try:
                show(messages.get(timeout=0.2))
            except queue_module.Empty:
                continue
        return [f.result() for f in futures]


def _run_on_ray(
    replicate: Callable[[int, Any, Progress], Result],
    seeds: Sequence[int],
    settings: Any,
    show: Callable[[tuple[int, str, float]], None],
) -> list[Result]:
    try:
        import ray
        from ray.util.queue import Empty, Queue
    except ImportError as error:
        raise ImportError("running on Ray needs it installed: pip install 'neuroalign[ray]'") from error
    if not ray.is_initialized():
        ray.init(log_to_driver=False)
    messages = Queue()
    remote = ray.remote(replicate)
    pending = left = [remote.remote(seed, settings, Progress(i, messages)) for i, seed in enumerate(seeds)]
    while left:
        _, left = ray.wait(left, num_returns=len(left), timeout=0.2)
        while True:
            try:
                show(messages.get(block=False))
            except Empty:
                break
    return ray.get(pending)
