"""The loop that runs a study: submit what has become ready, until nothing is left."""

from __future__ import annotations

import functools
import queue
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import dataclass, field
from errno import ENOSPC
from typing import Literal

from neuroalign.addresses import redacted
from neuroalign.study.engines.base import Engine
from neuroalign.study.folder import StudyFolder
from neuroalign.study.graph import Stage, all_stages
from neuroalign.study.making import Order, Report, make_stage

__all__: list[str] = []

_RETRIES = 2  # how often a stage is tried again whose process was told to stop


@dataclass(frozen=True)
class Event:
    """Something that happened to a stage, for a display.

    Args:
        kind: "submitted"; "done" (made now); "found" (finished meanwhile by another driver); "failed"; "skipped" (a stage
            that it needs has failed). What a stage does while it runs is read by :meth:`StudyFolder.running`.
        stage: The stage.
        error: Why it failed or was skipped, in one line.
        seconds: How long it took.
    """

    kind: Literal["submitted", "done", "found", "failed", "skipped"]
    stage: Stage
    error: str = ""
    seconds: float = 0.0


@dataclass
class Outcome:
    """What became of a run.

    Args:
        done: Names of the stages that were made.
        found: Names of those that were finished before, or meanwhile by another driver.
        failed: The error of each stage that failed, in one line, by its name.
        skipped: By the name of each stage that could not be made, which stage it needs that failed.
        seconds: How long the run took.
    """

    done: list[str] = field(default_factory=list)
    found: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def complete(self) -> bool:
        """Whether every stage has its result."""
        return not self.failed and not self.skipped


def run_stages(
    stages: Iterable[Stage],
    folder: StudyFolder,
    engine: Engine,
    *,
    on_event: Callable[[Event], None] | None = None,
) -> Outcome:
    """Make the results of stages, and of all that they need; finished ones are not made again.

    A stage that fails doesn't end the others; those that need it are skipped. Several runs on one folder share the work.

    Args:
        stages: The stages that are wanted.
        folder: Where the results lie.
        engine: What runs the stages.
        on_event: Called in this thread with everything that happens.

    Returns:
        What became of the stages.

    Raises:
        OSError: If the folder can't be written to, or no space is left; what was finished until then is kept.
        ValueError: If no machine of the engine has what a stage takes.

    Example:
        >>> import tempfile
        >>> from neuroalign.study.engines import engine
        >>> def work(work):
        ...     _ = (work.out / "table.csv").write_text("r")
        >>> wanted = [Stage("predictor", "predictor V4", work)]
        >>> folder = StudyFolder(tempfile.mkdtemp())
        >>> [run_stages(wanted, folder, engine("serial")).done for _ in range(2)]
        [['predictor V4'], []]
    """
    start = time.monotonic()
    run = _Run(all_stages(stages), folder, engine, on_event or (lambda event: None))
    try:
        run.loop()
    except BaseException:
        engine.close(cancel=True)
        raise
    run.outcome.seconds = time.monotonic() - start
    return run.outcome


class _Run:
    """The state of one run: which stages wait for which, which are ready, which are submitted."""

    def __init__(
        self, stages: list[Stage], folder: StudyFolder, engine: Engine, on_event: Callable[[Event], None]
    ) -> None:
        self.folder, self.engine, self.on_event = folder, engine, on_event
        self.outcome = Outcome()
        self.ended: queue.SimpleQueue[tuple[Stage, Future[Report]]] = queue.SimpleQueue()
        self.submitted = 0
        self.interruptions: Counter[str] = Counter()
        self.space_left = ""
        done = folder.done(stages)
        self.outcome.found = [stage.name for stage in stages if stage.key in done]
        missing = [stage for stage in stages if stage.key not in done]
        for resources in {stage.resources for stage in missing}:
            engine.check(resources)
        self.unmet = {s.key: {n.key for n in s.needs.values()} - done for s in missing}
        self.dependents: dict[str, list[Stage]] = {stage.key: [] for stage in missing}
        for stage in missing:
            for key in self.unmet[stage.key]:
                self.dependents[key].append(stage)
        self.ready = deque((stage, False) for stage in missing if not self.unmet[stage.key])
        if missing:
            folder.prepare()

    def loop(self) -> None:
        while self.ready or self.submitted:
            with self.engine.batch():
                while self.ready and self.submitted < self.engine.capacity and not self.space_left:
                    self.submit(*self.ready.popleft())
            if not self.submitted:
                break
            self.settle(*self.ended.get())
            while not self.ended.empty():
                self.settle(*self.ended.get())
        if self.space_left:
            raise OSError(ENOSPC, self.space_left)

    def submit(self, stage: Stage, wait: bool) -> None:
        future = self.engine.submit(
            functools.partial(make_stage, Order.of(stage), self.folder.out, wait), stage.resources
        )
        self.submitted += 1
        self.on_event(Event("submitted", stage))
        future.add_done_callback(lambda done: self.ended.put((stage, done)))

    def settle(self, stage: Stage, future: Future[Report]) -> None:
        self.submitted -= 1
        error = future.exception()
        report = Report(stage.key, "failed", redacted(str(error))) if error is not None else future.result()
        if report.state == "busy":  # another driver makes it: do something else first, then wait for it
            self.ready.append((stage, True))
        elif report.state == "interrupted" and self.interruptions[stage.key] < _RETRIES:
            self.interruptions[stage.key] += 1
            self.ready.append((stage, False))
        elif report.state in ("made", "found"):
            self.finish(stage, report)
        else:
            self.space_left = report.error if report.state == "full" else self.space_left
            self.fail(stage, report)

    def finish(self, stage: Stage, report: Report) -> None:
        made = report.state == "made"
        (self.outcome.done if made else self.outcome.found).append(stage.name)
        self.on_event(Event("done" if made else "found", stage, seconds=report.seconds))
        for each in self.dependents[stage.key]:
            self.unmet[each.key].discard(stage.key)
            if not self.unmet[each.key] and each.name not in self.outcome.skipped:
                self.ready.append((each, False))

    def fail(self, stage: Stage, report: Report) -> None:
        self.outcome.failed[stage.name] = report.error
        self.on_event(Event("failed", stage, report.error, report.seconds))
        waiting = list(self.dependents[stage.key])
        while waiting:
            each = waiting.pop()
            if each.name not in self.outcome.skipped:
                self.outcome.skipped[each.name] = f"needs {stage.name}"
                self.on_event(Event("skipped", each, f"needs {stage.name}"))
                waiting.extend(self.dependents[each.key])
