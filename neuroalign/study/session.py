"""Run a study from Python, as the command does: what is not done is made, then tables and a report are written."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neuroalign.study.checks import check_names
from neuroalign.study.opening import (
    OpenedStudy,
    copy_file,
    open_study,
    write_study_record,
)
from neuroalign.study.running import Outcome, run_stages
from neuroalign.study.study import Study, StudyError, listed

if TYPE_CHECKING:
    from concurrent.futures import Executor

    import pandas as pd
    from rich.console import Console

    from neuroalign.study.engines.base import Engine
    from neuroalign.study.tables import Tables

__all__ = ["StudyResult", "run_study"]

TABLES = ("results.csv", "report.html")
_SLURM_NAMES = ("partition", "account", "qos", "constraint", "array_parallelism", "nodelist", "exclude", "setup")


@dataclass(frozen=True)
class StudyResult:
    """What became of a run.

    Args:
        out: The folder of tables, figures and report.
        num_stages: Number of the study's stages.
        made: Names of the stages that were made in this run.
        failed: The error of each stage that failed, in one line, by its name.
        skipped: By the name of each stage that was skipped, which stage it needs that failed.
        seconds: How long the run took.
        tables: The tables, if they were written in this run.

    Example:
        >>> failures = {"predictor V4": "ValueError: the loss is NaN"}
        >>> StudyResult(Path("runs"), 4, [], failures).complete
        False
    """

    out: Path
    num_stages: int
    made: list[str] = field(default_factory=list)
    failed: Mapping[str, str] = field(default_factory=dict)
    skipped: Mapping[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    tables: Tables | None = None

    @property
    def complete(self) -> bool:
        """Whether every stage has its result."""
        return not self.failed and not self.skipped

    @cached_property
    def results(self) -> pd.DataFrame:
        """The rows of ``results.csv``: one per network, evaluation and budget."""
        return _table(self.out / "results.csv")

    @cached_property
    def comparisons(self) -> pd.DataFrame:
        """The rows of ``comparisons.csv``: one per treatment and control."""
        return _table(self.out / "comparisons.csv")


def _table(path: Path) -> pd.DataFrame:
    import pandas as pd

    if not path.exists():
        raise FileNotFoundError(f"there is no {path}: no stage that it is made from is done")
    return pd.read_csv(path)


def run_study(
    study: Study | str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    engine: str | Executor | Engine = "local",
    workers: int | None = None,
    fast: bool = False,
    changes: Mapping[str, Any] | None = None,
    progress: bool = True,
    **options: Any,
) -> StudyResult:
    """Run a study: make what is not done, then write tables and a report. The same call goes on from what is there.

    Args:
        study: The study, or its YAML file.
        out: Folder or URL of the results.
        engine: ``"local"`` (processes of this machine), ``"ray"``, ``"slurm"``, ``"serial"`` (this process), or any executor
            of :mod:`concurrent.futures`.
        workers: Most stages at once; None means as many as there is room for.
        fast: Whether to take the file's ``fast`` settings, to see that everything runs.
        changes: Settings in place of the file's, such as ``{"training": {"epochs": 2}}``.
        progress: Whether to show what is being done.
        **options: Options of the engine.

    Returns:
        What became of the stages. A stage that failed doesn't end the others.

    Raises:
        StudyError: If anything is wrong with the study, or data are missing. Nothing was started then.
        FileNotFoundError: If there is no such file.
        OSError: If the folder can't be written to, or no space is left.

    Example:
        >>> from neuroalign.study import run_study
        >>> run_study("no/such/study.yaml", "runs")
        Traceback (most recent call last):
        FileNotFoundError: no study at no/such/study.yaml
    """
    if isinstance(study, Study) and (fast or changes):
        raise ValueError("'fast' and 'changes' belong to a study's file: make the study with these settings")
    opened = open_study(study, out, fast=fast, changes=changes)
    return run_opened(opened, engine=engine, workers=workers, progress=progress, **options)


def run_opened(
    opened: OpenedStudy,
    *,
    engine: str | Executor | Engine = "local",
    workers: int | None = None,
    progress: bool = True,
    console: Console | None = None,
    **options: Any,
) -> StudyResult:
    """Run a study that was opened; see :func:`run_study`."""
    from neuroalign.study.display import Display

    check_data(opened)
    folder, stages = opened.folder, opened.plan.stages
    outcome = Outcome(found=[stage.name for stage in stages])
    to_do = len(folder.done(stages)) < len(stages)
    stale = opened.changed or not all((folder.root / name).exists() for name in TABLES)
    if to_do:
        check_names(opened.study)
    if to_do or stale:
        folder.prepare()
        copy_file(opened)
        write_study_record(opened)
    if to_do:
        found = engine_options(engine, options, workers, folder.root)
        with _engine(engine, found) as machines, Display(stages, folder, console, quiet=not progress) as display:
            outcome = run_stages(stages, folder, machines, on_event=display.on_event)
    failed, tables = dict(outcome.failed), None
    if outcome.done or outcome.failed or stale:
        try:
            tables = write_results(opened)
        except ValueError as error:
            failed["tables and report"] = str(error)
    return StudyResult(folder.root, len(stages), outcome.done, failed, outcome.skipped, outcome.seconds, tables)


def check_data(opened: OpenedStudy) -> None:
    """Check that all data are here that unfinished stages read.

    Raises:
        StudyError: If some are missing: a line for each.
    """
    lines = missing_lines(opened)
    if lines:
        raise StudyError(listed("data are missing, and nothing was started", lines))


def missing_lines(opened: OpenedStudy) -> list[str]:
    """A line for each file or folder that is missing: where it should be, and what needs it."""
    lines = []
    for path, names in opened.missing().items():
        more = len(names) - 1
        of = names[0] + (f" and {more} more stage{'s' if more > 1 else ''}" if more else "")
        unset = f" (the environment variable {path[path.index('$') :].split('/')[0]} is not set)" if "$" in path else ""
        lines.append(f"{path}{unset}: needed by {of}")
    return lines


def engine_options(engine: Any, options: Mapping[str, Any], workers: int | None, root: Path) -> dict[str, Any]:
    """Options of an engine in its own words: how many stages at once, SLURM's parameters, where jobs write their logs.

    Example:
        >>> engine_options("slurm", {"partition": "gpu"}, None, Path("runs"))["slurm_partition"]
        'gpu'
    """
    found = dict(options)
    if engine == "slurm":
        found = {f"slurm_{name}" if name in _SLURM_NAMES else name: value for name, value in found.items()}
        found.setdefault("logs", root / "logs")
    if workers is not None and engine == "local":
        found["workers"] = workers
    elif workers is not None and engine in ("ray", "slurm"):
        found["capacity"] = workers
    return found


def _engine(kind: Any, options: dict[str, Any]) -> Engine:
    from neuroalign.study.engines import engine

    try:
        return engine(kind, **options)
    except TypeError as error:  # an option that the engine doesn't have
        given = ", ".join(options) or "none"
        raise StudyError(f"engine {kind!r} doesn't take these options: {given} ({error})") from error
    except (RuntimeError, ConnectionError) as error:  # no SLURM or no Ray cluster here
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise StudyError(f"engine {kind!r} can't be started here: {reason}") from error


def write_results(opened: OpenedStudy) -> Tables:
    """Write tables, figures and report from what is done.

    Raises:
        ValueError: If the results contradict one another, such as those of two seeds that are copies.
        OSError: If the folder can't be written to.
    """
    from neuroalign.study.tables import write_tables

    fast = bool(opened.settings.get("fast"))
    tables = write_tables(opened.plan, opened.folder, opened.folder.root, fast=fast)
    opened.folder.share()
    return tables
