"""A figure and its caption, and the files it is written to."""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__: list[str] = []


@dataclass(frozen=True)
class Captioned:
    """A figure and what it shows.

    Args:
        figure: The figure.
        caption: Sentences.
    """

    figure: Figure
    caption: str

    @cached_property
    def png(self) -> bytes:
        """The figure as the bytes of a PNG file; drawn once, because it takes seconds."""
        buffer = io.BytesIO()
        self.figure.savefig(buffer, dpi=150, format="png")
        return buffer.getvalue()


def said(origin: str) -> str:
    """A word on simulated subjects within a sentence; begins with a space, or is empty."""
    return f" ({origin})" if origin else ""
