"""Stage evaluations."""

from __future__ import annotations

from neuroalign.study.work import Work

__all__: list[str] = []

VERSION = 1


def robustness(work: Work) -> None:
    """To come."""
    raise NotImplementedError


def geometry(work: Work) -> None:
    """To come."""
    raise NotImplementedError


def corruptions(work: Work) -> None:
    """To come."""
    raise NotImplementedError


def smoothness(work: Work) -> None:
    """To come."""
    raise NotImplementedError


def masking(work: Work) -> None:
    """To come."""
    raise NotImplementedError


def shape_bias(work: Work) -> None:
    """To come."""
    raise NotImplementedError


def transfer(work: Work) -> None:
    """To come."""
    raise NotImplementedError
