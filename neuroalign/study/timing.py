"""How long the rest of a run takes, from how long the stages took that are done."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from neuroalign.progress import readable_time as readable_time
from neuroalign.study.graph import Stage

__all__: list[str] = []


class StageTimes:
    """Seconds that stages of each kind took, and what they say of those that are left.

    Example:
        >>> times = StageTimes()
        >>> stages = [Stage("network", f"network {i}", print, {"seed": i}) for i in range(3)]
        >>> times.add(stages[0], 60)
        >>> times.left(stages[1:], at_once=2)
        60.0
    """

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}
        self._sizes: dict[str, float] = {}

    def add(self, stage: Stage, seconds: float) -> None:
        """Remember how long a stage took."""
        self._seconds[stage.kind] = self._seconds.get(stage.kind, 0.0) + seconds
        self._sizes[stage.kind] = self._sizes.get(stage.kind, 0.0) + stage.size

    def of(self, stage: Stage) -> float | None:
        """Seconds that a stage takes, by those of its kind, else by all; None if nothing is known."""
        kinds = [stage.kind] if self._sizes.get(stage.kind) else list(self._sizes)
        size = sum(self._sizes[kind] for kind in kinds)
        return stage.size * sum(self._seconds[kind] for kind in kinds) / size if size else None

    def left(self, stages: Iterable[Stage], at_once: int, shares: Mapping[str, float] | None = None) -> float | None:
        """Seconds until stages are done of which ``at_once`` run at a time; None if nothing is known.

        Args:
            stages: The stages that are not done.
            at_once: How many run at a time.
            shares: The share of a running stage that is done, by its key.
        """
        total = 0.0
        for stage in stages:
            seconds = self.of(stage)
            if seconds is None:
                return None
            total += seconds * (1 - (shares or {}).get(stage.key, 0.0))
        return total / max(1, at_once)


def seconds_of_finished(stages: Iterable[Stage], folder: Any, done: set[str], most: int = 30) -> dict[str, float]:
    """Seconds that finished stages took, by key, from the records of up to ``most`` of each kind.

    Args:
        stages: All stages.
        folder: The folder of results.
        done: Keys of the finished ones.
        most: Records to read of each kind.
    """
    from neuroalign.study.records import read_record

    found, read = dict[str, float](), dict[str, int]()
    for stage in stages:
        if stage.key not in done or read.get(stage.kind, 0) >= most:
            continue
        read[stage.kind] = read.get(stage.kind, 0) + 1
        try:
            found[stage.key] = float(read_record(folder.stages / stage.key)["seconds"])
        except (ValueError, KeyError, TypeError):  # behind a URL it was not fetched yet
            continue
    return found


def times_of_finished(stages: Iterable[Stage], folder: Any, done: set[str]) -> StageTimes:
    """Times of finished stages of each kind; see :func:`seconds_of_finished`."""
    stages, times = list(stages), StageTimes()
    seconds = seconds_of_finished(stages, folder, done)
    for stage in stages:
        if stage.key in seconds:
            times.add(stage, seconds[stage.key])
    return times
