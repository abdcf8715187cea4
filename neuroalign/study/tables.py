"""The tables, the figures and the report of a study, from whichever of its stages are finished."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from neuroalign.addresses import redacted_texts, without_secrets
from neuroalign.files import output_folder, whole, write_csv
from neuroalign.study.collecting import (
    Finished,
    Results,
    check_copies,
    factors_table,
    geometry_table,
    layers_table,
    masked,
    noise_ceilings,
    prediction_table,
    results_table,
    transfer_table,
)
from neuroalign.study.comparing import compare_conditions, comparisons_table
from neuroalign.study.conclusions import conclusions
from neuroalign.study.explaining import geometry_of_networks, geometry_robustness_table
from neuroalign.study.figures import study_figures
from neuroalign.study.findings import Tables
from neuroalign.study.robust_geometry import robust_geometry_table
from neuroalign.study.runs import Plan
from neuroalign.study.similarity import similarity_table
from neuroalign.study.study_report import write_study_report
from neuroalign.study.trends import trend_table
from neuroalign.study.versions import versions

__all__: list[str] = []


def write_tables(
    plan: Plan, folder: Results, out: str | os.PathLike[str], *, fast: bool = False, command: str = ""
) -> Tables:
    """Write the tables, the figures, ``report.html`` and ``study.json`` of whatever is finished.

    Stages that failed or haven't run leave their rows out, and are named in the report and in ``study.json``.

    Args:
        plan: The study's plan.
        folder: Where the results of its stages lie.
        out: Folder to write to.
        fast: Whether the study ran with its fast settings, so that its numbers mean nothing.
        command: The command that ran it; empty keeps the one that ``study.json`` has.

    Raises:
        ValueError: If networks of two seeds are copies of one another.
        OSError: If the folder can't be written to.
    """
    tables = gather(plan, folder, out, fast=fast, command=command)
    _write(tables)
    return tables


def gather(
    plan: Plan, folder: Results, out: str | os.PathLike[str], *, fast: bool = False, command: str = ""
) -> Tables:
    """The same tables, without writing anything; see :func:`write_tables`."""
    finished, out = Finished.of(plan, folder), Path(out)
    check_copies(finished)
    compared, notes = compare_conditions(finished)
    missing = finished.missing()
    trend = trend_table(finished)
    results, geometry, layers = results_table(finished), geometry_table(finished), layers_table(finished)
    of_networks = geometry_of_networks(geometry, layers)
    return Tables(
        out=out,
        study=plan.study,
        results=results,
        comparisons=comparisons_table(compared),
        prediction=prediction_table(finished),
        geometry=geometry,
        layers=layers,
        factors=factors_table(finished),
        transfer=transfer_table(finished),
        trend=trend,
        geometry_robustness=geometry_robustness_table(plan.study, results, of_networks),
        robust_geometry=robust_geometry_table(plan.study, of_networks),
        similarity=similarity_table(finished),
        compared=compared,
        notes=notes,
        missing=missing,
        masked=masked(finished),
        sentences=conclusions(plan.study, compared, missing, fast=fast, trend=trend),
        facts=_facts(finished, out / "study.json", missing, fast=fast, command=command),
    )


def _write(tables: Tables) -> None:
    out = output_folder(tables.out)
    for name, table in tables.files.items():
        write_csv(table, out / f"{name}.csv")
    figures = study_figures(tables)
    for name, each in figures.items():
        for ending, content in (("png", each.png), ("pdf", each.pdf)):
            with whole(out / f"{name}.{ending}") as temporary:
                temporary.write_bytes(content)
    with whole(out / "study.json") as temporary:
        temporary.write_text(json.dumps(tables.facts, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    write_study_report(tables, figures, out / "report.html")  # last, because it links the others with their sizes


def _facts(finished: Finished, path: Path, missing: Mapping[str, str], *, fast: bool, command: str) -> dict[str, Any]:
    """The content of study.json; keys that others wrote into it are kept."""
    try:
        before = dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        before = {}
    stages = finished.plan.stages
    records = [finished.facts(stage, "stage.json") for stage in stages]
    started = [record["started"] for record in records if record.get("started") is not None]
    failures = finished.folder.failures()
    facts = {
        **before,
        "name": finished.plan.study.name,
        "study": redacted_texts(finished.plan.study.model_dump(mode="json")),
        "fast": fast,
        "stages": {stage.name: stage.key for stage in stages},
        "versions": {**before.get("versions", {}), **versions()},
        "noise_ceilings": noise_ceilings(finished),
        "started": min(started) if started else before.get("started"),
        "hours": round(sum(float(record.get("seconds", 0.0)) for record in records) / 3600, 4),
        "command": command or before.get("command", ""),
        "done": len(finished.done),
        "failed": {s.name: missing[s.name] for s in stages if s.key in failures and s.name in missing},
        "missing": dict(missing),
    }
    # In a study's settings 'key' names an array in a file: taken for a secret, it would make the recorded study another one.
    return {**without_secrets(facts), "study": facts["study"]}
