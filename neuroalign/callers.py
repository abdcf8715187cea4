"""Where a warning points: to the line of the user's that called us, however deep inside the package it is given."""

from __future__ import annotations

import sys
from types import FrameType

__all__: list[str] = []


def level_outside() -> int:
    """The ``stacklevel`` of a warning that points to the nearest calling line outside the package.

    Example:
        >>> level_outside()
        1
    """
    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None and _is_ours(frame):
        level, frame = level + 1, frame.f_back
    return level


def _is_ours(frame: FrameType) -> bool:
    return str(frame.f_globals.get("__name__", "")).split(".")[0] == "neuroalign"
