"""The page and the figures of a study."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import yaml

from neuroalign.study.conclusions import meanings, none_shown
from neuroalign.study.figures.captioned import Captioned
from neuroalign.study.methods import attack_text, conditions_table, methods
from neuroalign.study.report import summary_table, write_html
from neuroalign.study.summary import accuracy_under, other_measures, prediction_summary, spread_text

if TYPE_CHECKING:
    from neuroalign.study.findings import Tables

__all__: list[str] = []


def write_study_report(tables: Tables, figures: dict[str, Captioned], path: Path) -> None:
    """Write one HTML page that needs no other file: the verdict first, then what was done, then the numbers.

    Args:
        tables: The study's tables.
        figures: From :func:`~neuroalign.study.figures.study_figures`.
        path: File to write.
    """
    source = f" ({tables.origin})" if tables.origin else ""
    write_html(
        path,
        title=tables.study.name + ("" if "simulated" in tables.study.name.lower() else source),
        verdict=tables.sentences,
        methods=methods(tables.study, tables.factors),
        tables=_tables(tables, source),
        figures={name.replace("_", " ").capitalize(): (each.png, each.caption) for name, each in figures.items()},
        comparisons=[each.comparison for each in tables.compared],
        meaning=meanings(tables.compared),
        notes=_notes(tables),
        settings=_settings(tables),
    )


def _tables(tables: Tables, source: str) -> dict[str, pd.DataFrame]:
    study = tables.study
    found = {"Conditions": conditions_table(study)}
    for name, attack in study.evaluations.robustness.items():
        accuracy = accuracy_under(tables.results, name, study)
        if len(accuracy):
            heading = f"Accuracy under attack{source}: {attack_text(name, attack)}; {spread_text(tables.results)}"
            found[heading] = summary_table(accuracy).rename_axis(None)
    if len(tables.prediction):
        found[f"Prediction of held-out responses{source}: median over voxels"] = prediction_summary(tables.prediction)
    for name, measured in other_measures(tables.results, study).items():
        heading = f"{name[0].upper()}{name[1:]}".replace("_", " ")
        found[f"{heading}{source}: {spread_text(tables.results)}"] = measured
    if len(tables.transfer):
        rates = tables.transfer.groupby(["source", "target"], sort=False)["rate"].mean().unstack("target")
        found[f"Rate at which adversarial images of a row fool a column{source}"] = rates.round(3)
    return found


def _notes(tables: Tables) -> dict[str, list[str]]:
    """Lists of sentences by their heading."""
    facts = tables.facts
    return {
        "Budgets at which no difference is shown": [s for s in map(none_shown, tables.compared) if s],
        "Comparisons that are missing or not complete": tables.notes,
        "Networks whose gradients may be masked": [
            f"{name}: {', '.join(checks) or 'failed'}. Its accuracy under attack may be too high."
            for name, checks in tables.masked.items()
        ],
        "What failed": [f"{name}: {why}" for name, why in facts["failed"].items()],
        "What is missing": [f"{name}: {why}" for name, why in tables.missing.items() if name not in facts["failed"]],
    }


def _settings(tables: Tables) -> dict[str, str]:
    facts = tables.facts
    settings = {
        key: _given(value) for key, value in facts["study"].items() if key not in ("name", "about", "note", "fast")
    }
    shown = {
        **settings,
        "noise ceilings": facts["noise_ceilings"],
        "versions": facts["versions"],
        "started": _date(facts["started"]),
        "hours of computing": facts["hours"],
        "command": facts["command"],
    }
    return {key: _as_text(value) for key, value in shown.items() if value not in (None, {}, [], "")}


def _given(value: Any) -> Any:
    """Settings without those that are empty, which would hide the others."""
    if isinstance(value, dict):
        return {key: _given(each) for key, each in value.items() if each not in (None, {}, [], "")}
    return [_given(each) for each in value] if isinstance(value, list) else value


def _date(seconds: float | None) -> str:
    if seconds is None:
        return "not known"
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _as_text(value: Any) -> str:
    if not isinstance(value, (dict, list)):
        return str(value)
    return str(yaml.safe_dump(value, sort_keys=False, allow_unicode=True, default_flow_style=None)).strip()
