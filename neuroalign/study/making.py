"""One attempt at one stage: what a worker is sent, and what it does."""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from neuroalign.addresses import redacted
from neuroalign.files import is_full
from neuroalign.study import progress_files
from neuroalign.study.folder import StudyFolder
from neuroalign.study.graph import Resources, Stage
from neuroalign.study.progress_files import ProgressFile
from neuroalign.study.records import write_record
from neuroalign.study.work import Work

__all__: list[str] = []


@dataclass(frozen=True)
class Order:
    """What a worker must know of a stage: its own settings and sources, and the keys of the results that it needs."""

    key: str
    name: str
    work: Callable[[Work], None]
    described: Mapping[str, Any]
    resources: Resources
    sources: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, stage: Stage) -> Order:
        """The order to make a stage."""
        return cls(stage.key, stage.name, stage.work, stage.described, stage.resources, stage.sources, stage.options)


@dataclass(frozen=True)
class Report:
    """What became of an order.

    Args:
        key: The stage's key.
        state: "made"; "found" (another process finished it meanwhile); "busy" (another process makes it); "failed";
            "full" (no space is left).
        error: Why it failed, in one line.
        seconds: How long the work took.
    """

    key: str
    state: Literal["made", "found", "busy", "interrupted", "failed", "full"]
    error: str = ""
    seconds: float = 0.0


_ONE_AT_A_TIME = threading.Lock()
"""Held while a stage works: torch's generator and number of threads belong to the process, so stages in threads would mix."""


def make_stage(order: Order, out: str, wait: bool = True) -> Report:
    """Make the result of a stage, unless it is there; this runs in a worker, and raises no error of the stage.

    Args:
        order: What to make.
        out: The study's folder or URL.
        wait: Whether to wait if another process makes it.
    """
    folder = StudyFolder(out)
    try:
        if folder.has(order.key):
            return Report(order.key, "found")
        with folder.lock(order.key, order.name, wait=wait):
            return Report(order.key, "found") if folder.has(order.key) else _attempt(folder, order)
    except TimeoutError as error:
        return Report(order.key, "failed" if wait else "busy", _line(error))
    except OSError as error:
        return _failed(folder, order, error)


def _attempt(folder: StudyFolder, order: Order) -> Report:
    started = time.time()
    try:
        area, out, scratch = folder.work_area(order.key)
        progress = ProgressFile(area / progress_files.NAME, order.name)
        with progress as report, _ONE_AT_A_TIME, _threads(order.resources.cpus):
            inputs = {role: folder.path(key) for role, key in order.described["needs"].items()}
            order.work(_work(order, inputs, out, scratch, report))
        seconds = time.time() - started
        facts = {"name": order.name, **order.described, "started": started, "seconds": round(seconds, 3)}
        write_record(out, facts)
        folder.publish(order.key, out)
    except (Exception, SystemExit) as error:
        if _was_told_to_stop(error):
            return Report(order.key, "interrupted", "its process was told to stop (SIGTERM)")
        return _failed(folder, order, error)
    return Report(order.key, "made", seconds=seconds)


def _was_told_to_stop(error: BaseException) -> bool:
    """Whether Lightning ended a training because its process got SIGTERM; its checkpoint stays for the next attempt."""
    return type(error).__name__ == "SIGTERMException"


def _work(
    order: Order, inputs: Mapping[str, Path], out: Path, scratch: Path, report: Callable[[str, float], None]
) -> Work:
    return Work(
        name=order.name,
        settings=order.described["settings"],
        inputs=inputs,
        out=out,
        scratch=scratch,
        sources=order.sources,
        options=order.options,
        report=report,
        cpus=order.resources.cpus,
        gpus=order.resources.gpus,
    )


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Let torch compute with as many threads as the stage has cores, everywhere: their number changes the last digits."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _failed(folder: StudyFolder, order: Order, error: BaseException) -> Report:
    full = isinstance(error, Exception) and is_full(error)
    line = _line(error)
    if full:
        line = f"no space is left for the result of {order.name} in {folder.root}: free some, and run again ({line})"
    text = redacted("".join(traceback.format_exception(error)))
    folder.remember_failure(order.key, {"name": order.name, "error": line, "traceback": text})
    return Report(order.key, "full" if full else "failed", line)


def _line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return redacted(f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__)
