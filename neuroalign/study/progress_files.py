"""What a running stage does, in a small file that other processes and machines can read."""

from __future__ import annotations

import json
import os
import platform
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from neuroalign.files import whole

__all__: list[str] = []

NAME = "progress.json"
HEARTBEAT = 30.0
"""Seconds after which a running stage writes its file again, even if it has nothing to say."""


@dataclass(frozen=True)
class StageProgress:
    """What is known of a stage that was begun and is not finished.

    Args:
        key: The stage's key.
        name: What people call it.
        text: What it is doing.
        done: The share of it that is done, 0 to 1.
        started: When this attempt began, in seconds since 1970.
        written: When this was written.
        host: The machine that it runs on.
        pid: The number of its process there.
        runs: Whether a process still works on it; if not, it was interrupted.
    """

    key: str
    name: str
    text: str
    done: float
    started: float
    written: float
    host: str
    pid: int
    runs: bool = True


class ProgressFile:
    """Reports the progress of one attempt at a stage into a file, at most once a second.

    As a context it also writes after the first second, and every half minute while the stage says nothing; at the end it
    removes the file, so that only a killed attempt leaves one. A full disk is no error here.

    Args:
        path: The file.
        name: What people call the stage.
        interval: Shortest time between two writes, and from the start to the first one, in seconds.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "progress.json"
        >>> with ProgressFile(path, "predictor V4", interval=0) as report:
        ...     report("epoch 3", 0.3)
        ...     read_progress(path, "predictor-0").text
        'epoch 3'
    """

    def __init__(self, path: Path, name: str, *, interval: float = 1.0) -> None:
        self.path, self.name, self.interval = path, name, interval
        self._text, self._done, self._started = "", 0.0, time.time()
        self._due, self._wrote, self._ended = time.monotonic() + interval, False, False
        self._lock = threading.Lock()

    def __call__(self, text: str, done: float) -> None:
        """Say what is being done, and the share of the stage that is done."""
        self._text, self._done = text, min(max(float(done), 0.0), 1.0)
        if time.monotonic() >= self._due:
            self._write()

    def __enter__(self) -> ProgressFile:
        _heart.add(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        _heart.remove(self)
        with self._lock, suppress(OSError):
            self._ended = True
            if self._wrote:
                self.path.unlink(missing_ok=True)

    def beat(self) -> None:
        """Write if nothing was written for long."""
        if time.monotonic() >= self._due + (HEARTBEAT if self._wrote else 0.0):
            self._write()

    def _write(self) -> None:
        with self._lock:
            if self._ended:
                return
            self._due, self._wrote = time.monotonic() + self.interval, True
            facts = {"name": self.name, "text": self._text, "done": self._done, "started": self._started,
                     "written": time.time(), "host": platform.node(), "pid": os.getpid()}  # fmt: skip
            with suppress(OSError), whole(self.path) as temporary:  # the stage itself will say what is wrong
                temporary.write_text(json.dumps(facts))


class _Heart:
    """One thread for all stages of this process; a thread for each would cost more than a short stage itself."""

    def __init__(self) -> None:
        self._files: set[ProgressFile] = set()
        self._lock = threading.Lock()
        self._some = threading.Event()
        self._thread: threading.Thread | None = None

    def add(self, file: ProgressFile) -> None:
        with self._lock:
            self._files.add(file)
            self._some.set()
            if self._thread is None or not self._thread.is_alive():  # it doesn't survive a fork
                self._thread = threading.Thread(target=self._beat, daemon=True, name="progress of stages")
                self._thread.start()

    def remove(self, file: ProgressFile) -> None:
        with self._lock:
            self._files.discard(file)
            if not self._files:
                self._some.clear()

    def _beat(self) -> None:
        while self._some.wait():
            time.sleep(1.0)
            with self._lock:
                files = list(self._files)
            for file in files:
                file.beat()


_heart = _Heart()


def read_progress(path: Path, key: str, *, runs: bool = True) -> StageProgress | None:
    """What a stage last reported; None if there is no such file, or none that is ours."""
    try:
        facts = json.loads(path.read_text())
        return StageProgress(key=key, runs=runs, **facts)
    except (OSError, ValueError, TypeError):
        return None
