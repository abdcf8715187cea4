"""A figure and its caption, and the files it is written to."""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

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
        return self._drawn(format="png", dpi=150)

    @cached_property
    def pdf(self) -> bytes:
        """The figure as the bytes of a PDF file, without a date, so that the same numbers give the same file."""
        return self._drawn(format="pdf", metadata={"CreationDate": None})

    def _drawn(self, **how: Any) -> bytes:
        buffer = io.BytesIO()
        if self.figure.get_layout_engine() is not None:
            # Ticks change with the first placing, so one alone may cut labels off; a third takes longer than to draw.
            self.figure.draw_without_rendering()
            self.figure.draw_without_rendering()
            self.figure.set_layout_engine("none")
        self.figure.savefig(buffer, **how)
        return buffer.getvalue()


def said(origin: str) -> str:
    """A word on simulated subjects within a sentence; begins with a space, or is empty."""
    return f" ({origin})" if origin else ""
