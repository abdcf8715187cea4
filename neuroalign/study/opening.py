"""Open a study beside its folder of results: its file, its stages, and the data that are missing here."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from neuroalign.addresses import redacted, redacted_texts
from neuroalign.files import check_source, whole
from neuroalign.study.fingerprints import ABSENT, fingerprint
from neuroalign.study.folder import StudyFolder
from neuroalign.study.planning import plan_study
from neuroalign.study.runs import Plan
from neuroalign.study.states import reads
from neuroalign.study.study import Study, StudyError
from neuroalign.study.versions import versions

__all__: list[str] = []

RECORD = "study.json"
COPY = "study.yaml"
_FORMAT = 1


@dataclass(frozen=True)
class OpenedStudy:
    """A study, the stages that it consists of, and the folder of their results.

    Args:
        study: The study.
        plan: Its stages.
        folder: The folder of results.
        base: The folder at which relative paths of the study begin.
        file: The study's file; None if it was made in Python.
        data: Fingerprint of each file or folder that the study reads, by its path.
        absent: Those of these paths where nothing is.
        before: The record of an earlier run in the folder; empty if there is none.
        settings: What the command line changes of the file.
    """

    study: Study
    plan: Plan
    folder: StudyFolder
    base: Path
    file: Path | None = None
    data: Mapping[str, str] = field(default_factory=dict)
    absent: Collection[str] = ()
    before: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)

    def missing(self) -> dict[str, list[str]]:
        """Files and folders that aren't here and that unfinished stages read, with the names of these stages."""
        done = self.folder.done(self.plan.stages)
        found: dict[str, list[str]] = {}
        for stage in self.plan.stages:
            for path in reads(stage, self.absent) if stage.key not in done else ():
                found.setdefault(path, []).append(stage.name)
        return found

    @property
    def changed(self) -> bool:
        """Whether the last run in the folder was of other stages, or there was none."""
        return bool(self.before.get("stages") != {stage.name: stage.key for stage in self.plan.stages})

    @property
    def other_study(self) -> str | None:
        """Name of another study whose run the folder holds; None if there is none."""
        name = self.before.get("name")
        return str(name) if name and name != self.study.name else None


def open_study(
    study: Study | str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    base: str | os.PathLike[str] | None = None,
    fast: bool = False,
    changes: Mapping[str, Any] | None = None,
) -> OpenedStudy:
    """Read a study, and plan its stages. Data are looked at for their fingerprints; nothing is computed.

    Data that are gone are taken for what they were at the last run, so that what was made from them stays known.

    Args:
        study: The study, or its file.
        out: Folder or URL of the results; it need not exist.
        base: Folder at which relative paths begin; None means that of the file, or the working directory.
        fast: Whether to take the file's ``fast`` settings.
        changes: Settings in place of the file's.

    Raises:
        FileNotFoundError: If there is no such file.
        StudyError: If anything is wrong with it.
    """
    file = None
    if not isinstance(study, Study):
        file = check_source(study, "study")
        study = Study.from_file(file, fast=fast, changes=changes)
    base = Path(base) if base is not None else file.resolve().parent if file else Path.cwd()
    folder = StudyFolder(out)
    before = read_study_record(folder)
    look = _Look(folder.root / "fingerprints.json", before.get("data") or {})
    plan = _planned(study, base, look)
    settings = {"fast": fast, "changes": dict(changes or {})}
    return OpenedStudy(study, plan, folder, base, file, look.data, look.absent, before, settings)


def reopen_study(out: str | os.PathLike[str]) -> OpenedStudy:
    """The study whose run a folder holds, as it was when it ran last: its data need not be here.

    Raises:
        FileNotFoundError: If no study was run in the folder.
    """
    folder = StudyFolder(out)
    record = read_study_record(folder)
    if not record:
        raise FileNotFoundError(f"no study was run in {redacted(os.fspath(out))}: it holds no {RECORD}")
    data = dict(record.get("data", {}))
    study = Study.from_settings(record["study"], where=str(folder.root / RECORD))
    base = Path(record.get("base", "."))
    plan = _planned(study, base, lambda path: data.get(redacted(path), ABSENT))
    file = folder.root / COPY
    settings = {"fast": record.get("fast", False), "changes": record.get("changes", {})}
    absent = {path for path, found in data.items() if found == ABSENT}
    return OpenedStudy(study, plan, folder, base, file if file.exists() else None, data, absent, record, settings)


def _planned(study: Study, base: Path, look: Callable[[str], str]) -> Plan:
    try:
        plan = plan_study(study, base, look, keep_unset=True)
        plan.stages  # noqa: B018  # two different stages of one name are found here
    except ValueError as error:
        raise StudyError(str(error)) from error
    return plan


class _Look:
    """Takes the fingerprint of each path once; of what is gone, that of the last run."""

    def __init__(self, cache: Path, before: Mapping[str, str]) -> None:
        self.cache, self.before = cache, before
        self.data: dict[str, str] = {}
        self.absent: set[str] = set()

    def __call__(self, path: str) -> str:
        place = redacted(path)
        if place not in self.data:
            cache = self.cache if self.cache.parent.is_dir() else None  # to look makes no folder
            found = ABSENT if "$" in path else fingerprint(path, cache=cache)
            if found == ABSENT:
                self.absent.add(place)
            self.data[place] = self.before.get(place, ABSENT) if found == ABSENT else found
        return self.data[place]


def read_study_record(folder: StudyFolder) -> dict[str, Any]:
    """The record of the last run in a folder; empty if there is none, or it can't be read."""
    try:
        record = json.loads(folder.read_shared(RECORD) or b"")
        return record if isinstance(record, dict) else {}
    except (OSError, ValueError):
        return {}


def write_study_record(opened: OpenedStudy) -> None:
    """Write the record of a run: the study with all its settings, its stages and their keys, versions, the command.

    Raises:
        OSError: If the folder can't be written to.
    """
    record = {
        "format": _FORMAT,
        "name": opened.study.name,
        "study": opened.study.model_dump(mode="json"),
        **opened.settings,
        "base": str(opened.base),
        "stages": {stage.name: stage.key for stage in opened.plan.stages},
        "data": dict(opened.data),
        "versions": versions(),
        "command": " ".join(sys.argv),
        "started": time.time(),
    }
    if not opened.changed:  # what is known of the run that goes on, such as its hours
        record = {**opened.before, **record, "started": opened.before.get("started") or record["started"]}
    with whole(opened.folder.root / RECORD) as temporary:
        temporary.write_text(json.dumps(redacted_texts(record), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    opened.folder.share()


def copy_file(opened: OpenedStudy) -> None:
    """Keep a copy of the study's file beside its results."""
    target = opened.folder.root / COPY
    if opened.file is None or (target.exists() and target.samefile(opened.file)):
        return
    with whole(target) as temporary:
        temporary.write_bytes(opened.file.read_bytes())
