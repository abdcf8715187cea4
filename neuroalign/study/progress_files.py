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
"""Seconds after which a running stage writes its file anew, even if it has nothing to say."""


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

    As a context it writes at the start, and every half minute while the stage says nothing; at the end it removes the file,
    so that only a killed attempt leaves one. A full disk is no error here.

    Args:
        path: The file.
        name: What people call the stage.
        interval: Shortest time between two writes, in seconds.

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
        self._text, self._done, self._started, self._written = "", 0.0, time.time(), float("-inf")
        self._lock, self._ended = threading.Lock(), threading.Event()

    def __call__(self, text: str, done: float) -> None:
        """Say what is being done, and the share of the stage that is done."""
        self._text, self._done = text, min(max(float(done), 0.0), 1.0)
        if time.monotonic() - self._written >= self.interval:
            self._write()

    def __enter__(self) -> ProgressFile:
        self._write()
        self._heart = threading.Thread(target=self._beat, daemon=True, name="progress of a stage")
        self._heart.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ended.set()
        self._heart.join()
        with suppress(OSError):
            self.path.unlink(missing_ok=True)

    def _beat(self) -> None:
        while not self._ended.wait(HEARTBEAT):
            self._write()

    def _write(self) -> None:
        with self._lock:
            self._written = time.monotonic()
            facts = {"name": self.name, "text": self._text, "done": self._done, "started": self._started,
                     "written": time.time(), "host": platform.node(), "pid": os.getpid()}  # fmt: skip
            with suppress(OSError), whole(self.path) as temporary:  # the stage itself will say what is wrong
                temporary.write_text(json.dumps(facts))


def read_progress(path: Path, key: str, *, runs: bool = True) -> StageProgress | None:
    """What a stage last reported; None if there is no such file, or none that is ours."""
    try:
        facts = json.loads(path.read_text())
        return StageProgress(key=key, runs=runs, **facts)
    except (OSError, ValueError, TypeError):
        return None
