"""What stands on the page of a study: sections of figures, tables, sentences and links, already in words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from neuroalign.files import readable_size

__all__: list[str] = []


@dataclass(frozen=True)
class Link:
    """A file beside the page.

    Args:
        href: Its address, relative to the page.
        text: What is shown.
        size: Its size in words.
    """

    href: str
    text: str
    size: str


@dataclass(frozen=True)
class Picture:
    """A figure within the page.

    Args:
        name: Name of its files, without ending.
        alt: What kind of figure it is, for those who can't see it.
        caption: What it shows.
        data: The PNG file in base64.
        width: Its width in pixels of the page.
        height: Its height in pixels of the page.
        links: Its files.
    """

    name: str
    alt: str
    caption: str
    data: str
    width: int
    height: int
    links: Sequence[Link] = ()


@dataclass(frozen=True)
class Grid:
    """A table of texts; the first column names the rows.

    Args:
        title: What it shows.
        columns: Names of the columns.
        rows: Cells by row.
        kind: "numbers" (aligned to the right after the first column), "words" or "settings".
        links: The files with its numbers.
        words: Columns of a table of numbers that hold words.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    kind: str = "numbers"
    links: Sequence[Link] = ()
    words: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Section:
    """A part of the page with a heading.

    Args:
        id: Where links lead to.
        title: Its heading.
        origin: Words such as "simulated subject" that stand beside the heading; may be empty.
        reading: How to read what follows; may be empty.
        paragraphs: Plain text.
        pictures: Figures.
        grids: Tables.
        lists: Sentences by their heading.
        links: Files that no table of the section shows.
    """

    id: str
    title: str
    origin: str = ""
    reading: str = ""
    paragraphs: Sequence[str] = ()
    pictures: Sequence[Picture] = ()
    grids: Sequence[Grid] = ()
    lists: Mapping[str, Sequence[str]] = field(default_factory=dict)
    links: Sequence[Link] = ()

    @property
    def empty(self) -> bool:
        """Whether there is nothing to show, so that the section doesn't belong on the page."""
        return not (self.paragraphs or self.pictures or self.grids or any(self.lists.values()))


@dataclass(frozen=True)
class Page:
    """The page of a study.

    Args:
        title: Its title.
        facts: A line under it.
        verdict: Computed sentences.
        limits: What the study can't say; may be empty.
        summary: The comparisons; None without any.
        reading: How to read the summary.
        sections: What follows.
    """

    title: str
    facts: str
    verdict: Sequence[str]
    limits: str
    summary: Grid | None
    reading: str
    sections: Sequence[Section]


def links_to(folder: Path, names: Iterable[str]) -> list[Link]:
    """Links to those of some files that lie in a folder, named by their endings: "CSV", "PNG", "PDF".

    Args:
        folder: The folder of the page.
        names: Names of files.
    """
    found = [(folder / name) for name in names]
    return [
        Link(quote(path.name), path.suffix[1:].upper(), readable_size(path.stat().st_size))
        for path in found
        if path.is_file()
    ]
