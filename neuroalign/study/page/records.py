"""The sections of a study's page that say what was done: what is missing, methods, settings, files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pandas as pd
import yaml

from neuroalign.files import readable_size
from neuroalign.study.methods import conditions_table, methods
from neuroalign.study.page.parts import Grid, Link, Section, links_to
from neuroalign.study.page.words import grid_of
from neuroalign.study.summary import other_measures

if TYPE_CHECKING:
    from neuroalign.study.findings import Tables

__all__: list[str] = []

_HOLDS = {
    "results.csv": "every measure of every network",
    "comparisons.csv": "treatments against their controls",
    "prediction.csv": "how well responses of each voxel are predicted",
    "geometry.csv": "geometry of categories, by network and predictor",
    "layers.csv": "geometry of categories, by layer",
    "factors.csv": "factors on the losses of controls",
    "transfer.csv": "adversarial images of one network shown to another",
    "rsa.csv": "similarity of each pair of networks or predictors",
    "trend.csv": "change of accuracy along the hierarchy",
    "geometry_robustness.csv": "geometry as explanation of accuracy under attack",
    "robust_geometry.csv": "geometry of robustly trained networks against that of plain ones",
    "study.json": "settings, versions, stages and command",
}


def record_sections(tables: Tables, figures: Iterable[str], folder: Path) -> list[Section]:
    """What is missing or in doubt, what was done, with which settings, and in which files it is.

    Args:
        tables: The study's tables.
        figures: Names of the figures.
        folder: The folder of the page.
    """
    found = [missing(tables, folder), _methods(tables, folder), _settings(tables), files(tables, figures, folder)]
    return [section for section in found if not section.empty]


def missing(tables: Tables, folder: Path) -> Section:
    """Comparisons and stages that are missing or failed, and the checks for masked gradients."""
    failed = tables.facts["failed"]
    lists = {
        "Comparisons that are missing or not complete": tables.notes,
        "What failed": [f"{name}: {why}" for name, why in failed.items()],
        "What is missing": [f"{name}: {why}" for name, why in tables.missing.items() if name not in failed],
        "Networks whose gradients may be masked": [
            f"{name}: {', '.join(checks) or 'failed'}. Its accuracy under attack may be too high."
            for name, checks in tables.masked.items()
        ],
    }
    checked = other_measures(tables.results, tables.study).get("masking")
    grids = []
    if checked is not None:
        title = "Checks for masked gradients: mean ± standard deviation over seeds"
        grids = [grid_of(title, checks_in_short(checked).rename_axis("Condition"), links_to(folder, ["results.csv"]))]
        if not tables.masked:
            lists["Masked gradients"] = ["No network that was checked failed a check."]
    return Section("missing", "Missing, failed, in doubt", grids=grids, lists=lists)


def checks_in_short(table: pd.DataFrame) -> pd.DataFrame:
    """The table of checks with the names of checks alone as headings."""
    return table.rename(columns=lambda column: str(column).removeprefix("masking: ").removeprefix("masking "))


def files(tables: Tables, figures: Iterable[str], folder: Path) -> Section:
    """Every table and figure that lies beside the page."""
    names = [f"{name}.csv" for name in tables.files] + ["study.json"]
    rows = [(name, _HOLDS.get(name, name.rsplit(".", 1)[0].replace("_", " "))) for name in names]
    rows += [(f"{name}.{end}", f"figure: {name.replace('_', ' ')}") for name in figures for end in ("png", "pdf")]
    there = [(name, holds) for name, holds in rows if (folder / name).is_file()]
    links = [Link(quote(name), name, readable_size((folder / name).stat().st_size)) for name, _ in there]
    grid = Grid(
        "", ["File", "What it holds", "Size"], [[n, h, link.size] for (n, h), link in zip(there, links)], "files", links
    )
    return Section("files", "Files", grids=[grid] if there else [])


def _methods(tables: Tables, folder: Path) -> Section:
    conditions = conditions_table(tables.study).rename_axis("Condition")
    conditions = conditions.loc[:, (conditions != "").any()]
    grid = grid_of("Conditions", conditions.rename(columns=lambda name: str(name).capitalize()), kind="words")
    text = methods(tables.study, tables.factors).split("\n\n")
    factors = links_to(folder, ["factors.csv"]) if len(tables.factors) else []
    return Section("methods", "What was done", paragraphs=text, grids=[grid], links=factors)


def _settings(tables: Tables) -> Section:
    facts = tables.facts
    run = {
        "seeds": ", ".join(map(str, tables.study.seeds)),
        "started": date_text(facts["started"]),
        "hours of computing": facts["hours"],
        "command": facts["command"],
        "versions": ", ".join(f"{name} {version}" for name, version in facts["versions"].items()),
        "noise ceilings": facts["noise_ceilings"],
    }
    left_out = ("name", "about", "note", "fast", "seeds")
    settings = {key: _given(value) for key, value in facts["study"].items() if key not in left_out}
    return Section(
        "settings", "Settings and versions", grids=[_listed("Run", run), _listed("The study's file", settings)]
    )


def _listed(title: str, values: Mapping[str, Any]) -> Grid:
    rows = [[key, _as_text(value)] for key, value in values.items() if value not in (None, {}, [], "")]
    return Grid(title, ["Setting", "Value"], rows, "settings")


def _given(value: Any) -> Any:
    """Settings without those that are empty, which would hide the others."""
    if isinstance(value, dict):
        return {key: _given(each) for key, each in value.items() if each not in (None, {}, [], "")}
    return [_given(each) for each in value] if isinstance(value, list) else value


def date_text(seconds: float | None) -> str:
    """A date and time in UTC.

    Example:
        >>> date_text(0.0), date_text(None)
        ('1970-01-01 00:00 UTC', 'not known')
    """
    if seconds is None:
        return "not known"
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _as_text(value: Any) -> str:
    if not isinstance(value, (dict, list)):
        return str(value)
    return str(yaml.safe_dump(value, sort_keys=False, allow_unicode=True, default_flow_style=None)).strip()
