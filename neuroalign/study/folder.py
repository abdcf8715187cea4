"""The folder of a study: which results it holds, where each lies, and what is being made."""

from __future__ import annotations

import errno
import json
import os
import platform
import shutil
import tempfile
import time
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from neuroalign.files import output_folder, whole
from neuroalign.processes import locked
from neuroalign.study import progress_files, records
from neuroalign.study.graph import Stage
from neuroalign.study.progress_files import StageProgress, read_progress
from neuroalign.study.store import Store

__all__: list[str] = []


class StudyFolder:
    """Results of stages, each in ``stages/<key>/``: there whole, or not at all.

    A result is made in ``stages/.work/<key>/`` and renamed when it is complete; ``stages/.failed/<key>.json`` says why a
    stage failed. Behind a URL the results are put there when they are complete; work and locks stay on each machine.

    Args:
        out: A folder, which need not exist, or a URL that fsspec opens (``pip install 'neuroalign[cloud]'`` for s3).

    Example:
        >>> folder = StudyFolder(tempfile.mkdtemp())
        >>> folder.done([Stage("responses", "responses V4", print)])
        set()
    """

    def __init__(self, out: str | os.PathLike[str]) -> None:
        self.out = os.fspath(out)
        self._store = Store(self.out) if "://" in self.out else None
        self.root = self._store.mirror if self._store else Path(self.out)
        self.stages = self.root / "stages"

    def prepare(self) -> None:
        """Make the folder, and check that it can be written to.

        Raises:
            OSError: If it can't.
        """
        try:
            for path in (self.stages, self.stages / ".work", self.stages / ".failed"):
                output_folder(path)
            with tempfile.TemporaryFile(dir=self.stages / ".work"):
                pass
        except NotADirectoryError:
            raise
        except OSError as error:
            raise OSError(
                error.errno, f"the study's folder {self.root} can't be written to ({error.strerror}): name another folder, "
                "or change its permissions") from error  # fmt: skip

    def done(self, stages: Iterable[Stage]) -> set[str]:
        """Keys of those stages whose results are finished, by one listing of the folder."""
        if self._store:
            there = self._store.keys()
        else:
            there = {entry.name for entry in os.scandir(self.stages)} if self.stages.is_dir() else set()
        wanted = {stage.key for stage in stages} & there
        return wanted if self._store else {key for key in wanted if self._is_here(key)}

    def has(self, key: str) -> bool:
        """Whether the result of a stage is finished."""
        return self._is_here(key) or (self._store is not None and self._store.has(key))

    def _is_here(self, key: str) -> bool:
        return records.looks_whole(self.stages / key / records.NAME)

    def path(self, stage: Stage | str, *, only: Collection[str] | None = None) -> Path:
        """Folder of the finished result of a stage (or of a key) on this machine; fetched first if it lies behind a URL.

        Args:
            stage: The stage, or its key.
            only: Names of the files that will be read; the bytes of the others aren't compared. None means all.

        Raises:
            FileNotFoundError: If there is none.
            DamagedFileError: If a file of it is not what was written.
        """
        key = stage if isinstance(stage, str) else stage.key
        folder = self.stages / key
        if self._store and not self._is_here(key):
            self._store.get(key, folder)
        if not folder.is_dir():
            raise FileNotFoundError(errno.ENOENT, f"no finished result of {key} in {self.stages}: run the study first")
        records.check_files(folder, records.read_record(folder), only)
        return folder

    def record(self, stage: Stage | str) -> dict[str, Any]:
        """What is known of a finished result: settings, versions, host, start, seconds, files."""
        return records.read_record(self.path(stage, only=()))

    @contextmanager
    def lock(self, key: str, name: str, *, wait: bool) -> Iterator[None]:
        """The right to make a stage; it ends with the process that holds it.

        Raises:
            TimeoutError: If another process makes the stage, and ``wait`` is false or nothing was heard of it for an hour.
        """
        work = self.stages / ".work"
        if not work.is_dir():
            output_folder(work)
        lock = work / f"{key}.lock"
        with locked(lock, f"the result of {name}", watch=key, patience=3600.0 if wait else 0.0):
            yield
            if self._is_here(key):
                with suppress(OSError):  # Windows removes no open file
                    lock.unlink()

    def work_area(self, key: str) -> tuple[Path, Path, Path]:
        """Folders of one attempt at a stage: all of it, an empty one for the result, and the one that outlives it."""
        area = self.stages / ".work" / key
        out, scratch = area / "out", area / "scratch"
        if out.exists():
            shutil.rmtree(out)
        out.mkdir(parents=True)
        scratch.mkdir(exist_ok=True)
        return area, out, scratch

    def publish(self, key: str, out: Path) -> None:
        """Make a complete result, with its record, the result of a stage."""
        if self._store:
            self._store.put(out, key)
        target = self.stages / key
        if target.exists():
            shutil.rmtree(target)  # half a result, which somebody copied here: it has no record
        out.rename(target)
        shutil.rmtree(out.parent, ignore_errors=True)
        (self.stages / ".failed" / f"{key}.json").unlink(missing_ok=True)

    def share(self) -> None:
        """Put the files beside the results (tables, figures, report, record) where the URL is; nothing without a URL."""
        for path in sorted(self.root.iterdir()) if self._store else ():
            if self._store and path.suffix in (".csv", ".html", ".json", ".png", ".yaml") and path.name[0] != ".":
                self._store.put_file(path)

    def read_shared(self, name: str) -> bytes | None:
        """The content of a file beside the results; None if there is none."""
        if self._store:
            return self._store.read_file(name)
        path = self.root / name
        return path.read_bytes() if path.is_file() else None

    def remember_failure(self, key: str, facts: dict[str, Any]) -> None:
        """Write down why a stage failed; a full disk is no error here."""
        path = self.stages / ".failed" / f"{key}.json"
        attempts = (_read(path) or {}).get("attempts", 0) + 1
        with suppress(OSError), whole(path) as temporary:
            text = json.dumps({**facts, "time": time.time(), "host": platform.node(), "attempts": attempts}, indent=1)
            temporary.write_text(text + "\n")

    def failures(self) -> dict[str, dict[str, Any]]:
        """Why stages failed when they were last tried, by key: name, error, traceback, time, host, attempts."""
        found = {path.stem: _read(path) for path in sorted((self.stages / ".failed").glob("*.json"))}
        return {key: facts for key, facts in found.items() if facts}

    def running(self) -> list[StageProgress]:
        """What the stages are doing that were begun and are not finished, also those of other processes."""
        found = []
        for path in sorted((self.stages / ".work").glob(f"*/{progress_files.NAME}")):
            key = path.parent.name
            progress = read_progress(path, key, runs=_is_held(path.parent.with_name(f"{key}.lock")))
            if progress is not None and not self._is_here(key):
                found.append(progress)
        return found


def _is_held(lock: Path) -> bool:
    """Whether a process holds a lock file."""
    import filelock

    if not lock.exists():
        return False
    held = filelock.FileLock(lock)
    try:
        held.acquire(timeout=0)
    except filelock.Timeout:
        return True
    except (OSError, NotImplementedError):  # a reader who may not write here can't know
        return True
    held.release()
    return False


def _read(path: Path) -> dict[str, Any] | None:
    try:
        return dict(json.loads(path.read_text()))
    except (OSError, ValueError, TypeError):
        return None
