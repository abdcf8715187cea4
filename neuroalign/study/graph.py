"""The stages of a study: what each one does, what it depends on, and the key under which its result lies."""

from __future__ import annotations

import graphlib
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from neuroalign.study.work import Work

__all__: list[str] = []


@dataclass(frozen=True)
class Resources:
    """What one stage takes of a machine.

    Args:
        cpus: Number of CPU cores.
        gpus: Number of GPUs; a fraction shares one GPU among several stages.
        memory: Largest memory in bytes; None means unknown.
        minutes: Longest time in minutes, for clusters that ask for one; None takes the cluster's own limit.
    """

    cpus: int = 1
    gpus: float = 0.0
    memory: int | None = None
    minutes: int | None = None


@dataclass(frozen=True, eq=False)
class Stage:
    """One step of a study, whose result lies in a folder of its own.

    Everything that the result depends on is part of the key: the kind and its version, the settings, the data that are read
    from outside, and the keys of the stages that it needs. The name and the resources are not.

    Args:
        kind: What the stage does, such as "predictor"; the first part of its folder's name.
        name: What people call the stage, such as "predictor V4, seed 0". Unique in a study, and the same whatever the
            settings are, so that a changed setting shows as a stale result.
        work: A function of a module, called with a :class:`~neuroalign.study.work.Work`; other processes import it by name.
        settings: All settings of the stage, in plain values (what JSON can hold).
        needs: The stages whose results are read, by the role that they have here.
        data: Fingerprint of each file or folder that is read from outside the study, by its role.
        sources: Where these are, by the same roles; not part of the key, so that data can be moved.
        options: Settings that don't change the result, such as the logger or the device; not part of the key.
        version: Version of what the stage does; raised when the same settings would give another result.
        resources: What the stage takes of a machine.
        size: Work relative to other stages, for the estimate of the time left.

    Example:
        >>> first = Stage("responses", "responses V4", print, {"region": "V4"})
        >>> second = Stage(
        ...     "predictor", "predictor V4", print, {"epochs": 2}, {"responses": first}
        ... )
        >>> same = Stage("predictor", "renamed", print, {"epochs": 2}, {"responses": first})
        >>> second.key.startswith("predictor-"), second.key == same.key
        (True, True)
    """

    kind: str
    name: str
    work: Callable[[Work], None]
    settings: Mapping[str, Any] = field(default_factory=dict)
    needs: Mapping[str, Stage] = field(default_factory=dict)
    data: Mapping[str, str] = field(default_factory=dict)
    sources: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    version: int = 1
    resources: Resources = Resources()
    size: float = 1.0

    @cached_property
    def described(self) -> dict[str, Any]:
        """Everything that the result depends on, in plain values; the key is its hash."""
        return {
            "kind": self.kind,
            "version": self.version,
            "settings": dict(self.settings),
            "needs": {role: stage.key for role, stage in sorted(self.needs.items())},
            "data": dict(sorted(self.data.items())),
        }

    @cached_property
    def key(self) -> str:
        """Name of the result's folder: the kind, and 16 hexadecimal digits of a hash."""
        text = json.dumps(self.described, sort_keys=True, separators=(",", ":"), allow_nan=False)
        return f"{self.kind}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def all_stages(wanted: Iterable[Stage]) -> list[Stage]:
    """The wanted stages and all that they need, each once (by key), every stage after those that it needs.

    Raises:
        ValueError: If two stages of one name have different keys.

    Example:
        >>> first = Stage("responses", "responses V4", print)
        >>> second = Stage("predictor", "predictor V4", print, needs={"responses": first})
        >>> [stage.name for stage in all_stages([second])]
        ['responses V4', 'predictor V4']
    """
    found: dict[str, Stage] = {}
    for stage in wanted:
        for each in _depth_first(stage, found):
            found.setdefault(each.key, each)
    order = graphlib.TopologicalSorter({k: [n.key for n in s.needs.values()] for k, s in found.items()}).static_order()
    stages = [found[key] for key in order]
    names: dict[str, str] = {}
    for stage in stages:
        if names.setdefault(stage.name, stage.key) != stage.key:
            raise ValueError(f"two different stages are called {stage.name!r}")
    return stages


def _depth_first(stage: Stage, known: Mapping[str, Stage]) -> Iterator[Stage]:
    """A stage and all that it needs and that is not known yet."""
    waiting = [stage]
    seen: set[str] = set()
    while waiting:
        each = waiting.pop()
        if each.key in known or each.key in seen:
            continue
        seen.add(each.key)
        yield each
        waiting.extend(each.needs.values())
