"""Stage manifolds."""

from __future__ import annotations

from neuroalign.study.work import Work

__all__: list[str] = []

VERSION = 1


def make(work: Work) -> None:
    """To come."""
    raise NotImplementedError
