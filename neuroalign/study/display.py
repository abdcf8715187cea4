"""The display of a run: one live view in a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from neuroalign.progress import EveryMinute
from neuroalign.study.graph import Stage
from neuroalign.study.timing import StageTimes, readable_time, times_of_finished

if TYPE_CHECKING:
    from neuroalign.study.folder import StudyFolder
    from neuroalign.study.running import Event

__all__: list[str] = []

_ROWS = 12
_IN_LOG = 4  # running stages that a line of a log names
_LOOK = 1.0  # seconds between two looks at the files of running stages


class Display:
    """Shows what happens to the stages of a study; a context, whose :meth:`on_event` a run calls.

    In a terminal it is one view that is redrawn: stages done, running and failed, the time left, and what every running
    stage does. Elsewhere each stage that is done, has failed or was skipped is one line, and once a minute a line says how
    far the run is.

    Args:
        stages: All stages.
        folder: The folder of results, where running stages say what they do.
        console: Where to show it; None means standard error.
        quiet: Whether to show nothing but failures.

    Example:
        >>> from neuroalign.study.folder import StudyFolder
        >>> import tempfile, sys
        >>> with Display(
        ...     [], StudyFolder(tempfile.mkdtemp()), Console(file=sys.stdout)
        ... ) as display:
        ...     display.counts
        '0 of 0 stages done'
    """

    def __init__(
        self, stages: Iterable[Stage], folder: StudyFolder, console: Console | None = None, *, quiet: bool = False
    ) -> None:
        self.stages = {stage.key: stage for stage in stages}
        self.folder, self.quiet = folder, quiet
        self.console = console or Console(stderr=True)
        done = folder.done(self.stages.values())
        self.times: StageTimes = times_of_finished(self.stages.values(), folder, done)
        self.left = {key: stage for key, stage in self.stages.items() if key not in done}
        self.done, self.failed, self.skipped = len(done), 0, 0
        self.submitted: set[str] = set()
        self._looked, self._running = float("-inf"), list[Any]()
        live = self.console.is_terminal and not quiet
        self._live = (
            Live(console=self.console, get_renderable=self.view, refresh_per_second=2, transient=True) if live else None
        )
        self._in_log = None if live or quiet else EveryMinute(self.say)

    def __enter__(self) -> Display:
        if self._live:
            self._live.start()
        if self._in_log:
            self._in_log.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()
        if self._in_log:
            self._in_log.__exit__(kind, error, traceback)

    @property
    def counts(self) -> str:
        """How many stages are done, have failed and were skipped."""
        text = f"{self.done} of {len(self.stages)} stages done"
        return (
            text
            + (f", {self.failed} failed" if self.failed else "")
            + (f", {self.skipped} skipped" if self.skipped else "")
        )

    def on_event(self, event: Event) -> None:
        """Take in what happened to a stage."""
        key = event.stage.key
        if event.kind == "submitted":
            self.submitted.add(key)
            return
        self.submitted.discard(key)
        self.left.pop(key, None)
        if event.kind in ("done", "found"):
            self.done += 1
            if event.kind == "done":
                self.times.add(event.stage, event.seconds)
            took = f"({readable_time(event.seconds)})" if event.kind == "done" else "(made by another run)"
            self._line(f"done: {event.stage.name} {took}")
        elif event.kind == "failed":
            self.failed += 1
            self._line(f"failed: {event.stage.name}: {event.error}", "red", always=True)
        else:
            self.skipped += 1
            self._line(f"skipped: {event.stage.name} {event.error}")

    def _line(self, text: str, style: str = "", *, always: bool = False) -> None:
        """One line; where there is a live view only what must not be overlooked."""
        if always or not (self.quiet or self._live):
            counted = f"[{self.done + self.failed + self.skipped}/{len(self.stages)}]"
            self.console.print(Text(f"{counted} {text}", style=style), soft_wrap=True)

    def _look(self) -> list[Any]:
        now = time.monotonic()
        if now - self._looked >= _LOOK:
            self._looked = now
            self._running = [each for each in self.folder.running() if each.runs and each.key in self.stages]
        return self._running

    def time_left(self) -> float | None:
        """Seconds until the run ends, by the stages that are done; None if nothing is known."""
        running = self._look()
        left = list(self.left.values())  # a copy: the view is drawn in a thread of its own
        return self.times.left(left, max(1, len(running)), {each.key: each.done for each in running})

    def say(self) -> None:
        """Write how far the run is on a line, and what the stages do that are running."""
        running, left = self._look(), self.time_left()
        doing = [f"{each.name} {100 * each.done:.0f} %" for each in running[:_IN_LOG]]
        more = [f"and {len(running) - _IN_LOG} more"] if len(running) > _IN_LOG else []
        text = self._summary(len(running), left) + (f": {', '.join(doing + more)}" if doing else "")
        self.console.print(Text(text), soft_wrap=True)

    def _summary(self, num_running: int, left: float | None) -> str:
        about = f", about {readable_time(left)} left" if left is not None else ""
        return f"{self.counts}, {num_running} running{about}"

    def view(self) -> Group:
        """The view of this moment."""
        running, left = self._look(), self.time_left()
        head = self._summary(len(running), left)
        bar = ProgressBar(total=max(1, len(self.stages)), completed=self.done, width=40)
        return Group(Text(head), bar, running_table(running, limit=_ROWS))


def running_table(running: list[Any], *, limit: int | None = None, hosts: bool = False) -> Table:
    """What each running stage does: its name, its own words, the share that is done, for how long it has been running.

    Args:
        running: What :meth:`StudyFolder.running` says.
        limit: Rows to show; None shows all.
        hosts: Whether to name the machine of each, and when it was last heard of.
    """
    table = Table(box=None, show_header=hosts, pad_edge=False, header_style="")
    for column in ("stage", "does", "done", "since", *(("machine", "heard of") if hosts else ())):
        table.add_column(column, justify="right" if column in ("done", "since") else "left", overflow="fold")
    now = time.time()
    shown = sorted(running, key=lambda each: each.started)[:limit]
    for each in shown:
        row = [each.name, each.text, f"{100 * each.done:.0f} %", readable_time(now - each.started)]
        row += (
            [f"{each.host}, process {each.pid}", f"{readable_time(max(0.0, now - each.written))} ago"] if hosts else []
        )
        table.add_row(*(Text(cell) for cell in row))
    if len(running) > len(shown):
        table.add_row(f"and {len(running) - len(shown)} more")
    return table
