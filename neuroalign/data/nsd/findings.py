"""The findings of a check of an NSD folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from neuroalign.data.nsd.layout import NSDError

__all__: list[str] = []


@dataclass(frozen=True)
class Finding:
    """The result of one check.

    Attributes:
        level: "ok", "missing" (something is not there; the rest can be used), "warning" (can be used, but look at it) or
            "error" (damaged or inconsistent, or nothing can be read without it).
        subject: 1 to 8, or None for files that all subjects share.
        what: The thing that was checked, such as "func1pt8mm b3 betas".
        message: The result in words.
    """

    level: str
    subject: int | None
    what: str
    message: str


@dataclass(frozen=True)
class CheckReport:
    """Findings of :func:`check_nsd`.

    Attributes:
        root: The NSD folder.
        simulated: Whether it was written by :func:`neuroalign.write_simulated_nsd`.
        findings: All findings, in the order of subjects.
    """

    root: str
    simulated: bool
    findings: list[Finding] = field(default_factory=list)

    @property
    def usable(self) -> bool:
        """Whether some subject can be read, and nothing is damaged or contradictory."""
        return not self.of("error") and any(f.subject is not None for f in self.of("ok"))

    def of(self, level: str) -> list[Finding]:
        """The findings of one level."""
        return [f for f in self.findings if f.level == level]

    def to_dict(self) -> dict[str, Any]:
        """The report in plain values, for JSON."""
        return {
            "root": self.root,
            "simulated": self.simulated,
            "usable": self.usable,
            "findings": [asdict(f) for f in self.findings],
        }


class Doubtful(Exception):
    """Raised by a check whose result is a warning."""


def attempt(subject: int | None, what: str, check: Callable[[], str]) -> Finding:
    """Run a check that returns its result in words; its errors become findings."""
    try:
        return Finding("ok", subject, what, check())
    except Doubtful as doubt:
        return Finding("warning", subject, what, str(doubt))
    except FileNotFoundError as error:
        return Finding("missing", subject, what, str(error))
    except (NSDError, OSError) as error:
        return Finding("error", subject, what, str(error))
