"""What has become of each stage of a study: done, running, failed, stale, or not begun."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

from neuroalign.addresses import redacted
from neuroalign.study.graph import Stage

__all__: list[str] = []

STATES = ("done", "running", "interrupted", "failed", "stale", "no data", "new")
"""In the order of tables. "stale": the stage was made with other settings or data; "no data": what it reads isn't here."""


class Folder(Protocol):
    """What of a :class:`~neuroalign.study.folder.StudyFolder` is looked at."""

    stages: Path

    def done(self, stages: Iterable[Stage]) -> set[str]: ...

    def running(self) -> list[Any]: ...

    def failures(self) -> dict[str, dict[str, Any]]: ...


def states_of(
    stages: list[Stage], folder: Folder, before: Mapping[str, str] | None = None, absent: Collection[str] = ()
) -> dict[str, str]:
    """The state of each stage by its key; nothing is changed.

    Args:
        stages: All stages, each after those that it needs.
        folder: The folder of their results.
        before: Key by name of the stages of an earlier run, which tell what is stale.
        absent: Paths of files and folders that aren't here.

    Example:
        >>> from types import SimpleNamespace
        >>> empty = SimpleNamespace(
        ...     stages=Path("none"), done=lambda s: set(), running=list, failures=dict
        ... )
        >>> list(states_of([Stage("responses", "responses V4", print)], empty).values())
        ['new']
    """
    done, failed = folder.done(stages), folder.failures()
    begun = {each.key: "running" if each.runs else "interrupted" for each in folder.running()}
    missing = {stage.key for stage in stages if stage.key not in done}
    others = _names_of_others(folder.stages, {stage.key for stage in stages}, before or {}) if missing else set()
    states: dict[str, str] = {}
    for stage in stages:
        if stage.key in done:
            states[stage.key] = "done"
        elif stage.key in begun and not (begun[stage.key] == "interrupted" and stage.key in failed):
            states[stage.key] = begun[stage.key]
        elif reads(stage, absent) or any(states[each.key] == "no data" for each in stage.needs.values()):
            states[stage.key] = "no data"
        elif stage.key in failed:
            states[stage.key] = "failed"
        else:
            states[stage.key] = "stale" if stage.name in others else "new"
    return states


def _names_of_others(stages: Path, keys: set[str], before: Mapping[str, str]) -> set[str]:
    """Names of the results that lie in the folder and are none of these stages'."""
    from neuroalign.study.records import read_record

    if not stages.is_dir():
        return set()
    there = {path.name for path in stages.iterdir() if not path.name.startswith(".")} - keys
    names = {name for name, key in before.items() if key in there}
    for key in there - set(before.values()):
        try:
            names.add(str(read_record(stages / key).get("name", "")))
        except ValueError:  # half a result, or somebody else's folder
            continue
    return names


def reads(stage: Stage, paths: Collection[str]) -> list[str]:
    """Those of some paths that a stage reads; passwords in paths are hidden.

    Example:
        >>> stage = Stage("responses", "responses V4", print, sources={"file": "v4.npy"})
        >>> reads(stage, {"v4.npy", "v1.npy"})
        ['v4.npy']
    """
    return [path for path in map(redacted, stage.sources.values()) if path in paths]


def count_states(stages: Iterable[Stage], states: Mapping[str, str]) -> dict[str, dict[str, int]]:
    """How many stages of each kind are in each state: {kind: {state: number}}.

    Example:
        >>> stage = Stage("responses", "responses V4", print)
        >>> count_states([stage], {stage.key: "done"})
        {'responses': {'done': 1}}
    """
    counts: dict[str, dict[str, int]] = {}
    for stage in stages:
        of_kind = counts.setdefault(stage.kind, {})
        of_kind[states[stage.key]] = of_kind.get(states[stage.key], 0) + 1
    return counts
