"""What a check of a tree has found, thing by thing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from neuroalign.data.nsd.layout import NSDError


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        level: "ok", "missing" (something is not there; the rest can be used), "warning" (can be used, but look at it) or
            "error" (damaged, inconsistent, or without it nothing can be read).
        subject: 1 to 8, or None for what all share.
        what: What was looked at, such as "func1pt8mm b3 betas".
        message: What was found.
    """

    level: str
    subject: int | None
    what: str
    message: str


@dataclass(frozen=True)
class CheckReport:
    """Findings of :func:`check_nsd`.

    Attributes:
        root: The tree.
        simulated: Whether it was written by :func:`neuroalign.write_simulated_nsd`.
        findings: In the order of subjects.
    """

    root: str
    simulated: bool
    findings: list[Finding] = field(default_factory=list)

    @property
    def usable(self) -> bool:
        """Whether something can be read, and nothing is damaged or contradictory."""
        return not self.of("error") and any(f.subject is not None for f in self.of("ok"))

    def of(self, level: str) -> list[Finding]:
        """Findings of a level."""
        return [f for f in self.findings if f.level == level]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "root": self.root,
            "simulated": self.simulated,
            "usable": self.usable,
            "findings": [asdict(f) for f in self.findings],
        }


class Doubtful(Exception):
    """Raised by a check that found something to look at."""


def attempt(subject: int | None, what: str, check: Callable[[], str]) -> Finding:
    """Run a check that returns what it found; its errors become findings."""
    try:
        return Finding("ok", subject, what, check())
    except Doubtful as doubt:
        return Finding("warning", subject, what, str(doubt))
    except FileNotFoundError as error:
        return Finding("missing", subject, what, str(error))
    except (NSDError, OSError) as error:
        return Finding("error", subject, what, str(error))
