"""The page of a study: the verdict first, then the results, then what was done."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from neuroalign.files import whole
from neuroalign.study.figures.captioned import Captioned
from neuroalign.study.page.parts import Page
from neuroalign.study.page.readings import summary_reading
from neuroalign.study.page.records import date_text, record_sections
from neuroalign.study.page.rendering import html_of
from neuroalign.study.page.results import result_sections
from neuroalign.study.page.summaries import comparisons_grid

if TYPE_CHECKING:
    from neuroalign.study.findings import Tables

__all__: list[str] = []


def write_study_report(tables: Tables, figures: Mapping[str, Captioned], path: Path) -> None:
    """Write one HTML page that needs no other file; tables and figures that lie beside it are linked.

    Args:
        tables: The study's tables.
        figures: From :func:`~neuroalign.study.figures.study_figures`.
        path: File to write.
    """
    page = page_of(tables, figures, path.parent)
    with whole(path) as temporary:
        temporary.write_text(html_of(page), encoding="utf-8")


def page_of(tables: Tables, figures: Mapping[str, Captioned], folder: Path) -> Page:
    """What stands on the page of a study.

    Args:
        tables: The study's tables.
        figures: From :func:`~neuroalign.study.figures.study_figures`.
        folder: The folder of the page.
    """
    note = tables.study.note.strip()
    return Page(
        title=_title(tables),
        facts=_facts(tables),
        verdict=[sentence for sentence in tables.sentences if sentence != note],
        limits=note,
        summary=comparisons_grid(tables, folder) if tables.compared else None,
        reading=summary_reading(tables) if tables.compared else "",
        sections=[*result_sections(tables, figures, folder), *record_sections(tables, figures, folder)],
    )


def _title(tables: Tables) -> str:
    """The study's name, with "simulated" and "fast run" where it doesn't say so itself."""
    name = tables.study.name
    words = [word for word in tables.origin.split(", ") if "simulated" not in word or "simulated" not in name.lower()]
    return f"{name} ({', '.join(words)})" if any(words) else name


def _facts(tables: Tables) -> str:
    facts, results = tables.facts, tables.results
    networks = len(results[["subject", "region", "condition", "seed"]].drop_duplicates())
    counted = [(networks, "network"), (results["seed"].nunique(), "seed"), (results["subject"].nunique(), "subject")]
    parts = [f"{number} {name}{'' if number == 1 else 's'}" for number, name in counted if number]
    parts.append(f"{facts['done']} of {len(facts['stages'])} stages finished")
    if facts["started"] is not None:
        parts.append(f"begun {date_text(facts['started'])}")
    return " · ".join(parts)
