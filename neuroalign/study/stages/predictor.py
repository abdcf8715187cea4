"""Stage predictor."""

from __future__ import annotations

from neuroalign.study.work import Work

__all__: list[str] = []

VERSION = 1


def fit(work: Work) -> None:
    """To come."""
    raise NotImplementedError
