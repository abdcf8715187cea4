"""Which line a warning is about: the one outside neuroalign that began the call. Only the standard library."""

from __future__ import annotations

import sys
from pathlib import Path

__all__: list[str] = []

_FOLDER = str(Path(__file__).parent)


def outside() -> int:
    """The ``stacklevel`` for ``warnings.warn`` in the calling function that points to the first line outside neuroalign.

    A warning about what a user wrote is shown at the user's line, once, however many functions of ours lie between.

    Example:
        >>> outside()  # called from outside
        1
    """
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_FOLDER):
        frame, level = frame.f_back, level + 1
    return level
