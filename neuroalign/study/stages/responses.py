"""Stage responses."""

from __future__ import annotations

from neuroalign.study.work import Work

__all__: list[str] = []

VERSION = 1


def make_subject(work: Work) -> None:
    """To come."""
    raise NotImplementedError


def make_stimuli(work: Work) -> None:
    """To come."""
    raise NotImplementedError


def make_responses(work: Work) -> None:
    """To come."""
    raise NotImplementedError
