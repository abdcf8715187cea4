"""What a stage is given while it works: its settings, the results that it needs, and a folder to write to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__: list[str] = []


def _silent(text: str, done: float) -> None:
    """Report nothing."""


@dataclass(frozen=True)
class Work:
    """One attempt at a stage.

    Args:
        name: What people call the stage.
        settings: Its settings.
        inputs: The folder of each result that it needs, by role; to be read only.
        out: The folder to write the result to. It is empty at the start of every attempt, and published when the stage
            returns.
        scratch: A folder that outlives a killed attempt, for checkpoints; removed when the stage is done.
        sources: Path or URL of each file or folder outside the study, by its role.
        options: Settings that don't change the result.
        report: Called with what is being done and the share of the stage that is done, 0 to 1.
        cpus: Number of cores that the stage may use.
        gpus: Number of GPUs that the stage may use; those are the ones that torch sees.
    """

    name: str
    settings: Mapping[str, Any]
    inputs: Mapping[str, Path]
    out: Path
    scratch: Path
    sources: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    report: Callable[[str, float], None] = _silent
    cpus: int = 1
    gpus: float = 0.0
