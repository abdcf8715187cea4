"""The numbers of a study's finished stages, each row with the subject, region, condition and seed that it belongs to."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pandas as pd

from neuroalign.study.graph import Stage
from neuroalign.study.runs import NetworkRun, Plan, PredictorRun, label_of

__all__: list[str] = []

IDENTITY = ["subject", "region", "condition", "seed"]
RESULTS = [*IDENTITY, "measure", "eps", "value", "n"]
PREDICTION = ["subject", "region", "fit", "seed", "voxel", "correlation", "noise_ceiling"]
FACTORS = [*IDENTITY, "matched_to", "factor"]
GEOMETRY = [*IDENTITY, "network"]
OUTCOMES = ["perturbation", "eps", "stimulus", "label", "correct"]


class Results(Protocol):
    """Where finished results lie: a :class:`~neuroalign.study.folder.StudyFolder`."""

    def done(self, stages: Iterable[Stage]) -> set[str]:
        """Keys of the stages that are finished."""

    def path(self, stage: Stage, /, *, only: Collection[str] | None = None) -> Path:
        """Folder of a finished result, of which some files will be read."""

    def failures(self) -> Mapping[str, Mapping[str, Any]]:
        """What is known of stages that failed, by key: at least ``error``."""


@dataclass(frozen=True)
class Finished:
    """The finished results of a planned study.

    Args:
        plan: The study's plan.
        folder: Where the results lie.
        done: Keys of the finished stages.
    """

    plan: Plan
    folder: Results
    done: frozenset[str]

    @classmethod
    def of(cls, plan: Plan, folder: Results) -> Finished:
        """What is finished now."""
        return cls(plan, folder, frozenset(folder.done(plan.stages)))

    def table(self, stage: Stage, name: str) -> pd.DataFrame | None:
        """A CSV file of a finished stage; None if the stage isn't finished or wrote no such file."""
        if stage.key not in self.done:
            return None
        path = self.folder.path(stage, only=(name,)) / name
        return pd.read_csv(path) if path.exists() else None

    def facts(self, stage: Stage, name: str) -> dict[str, Any]:
        """A JSON file of a finished stage; empty if the stage isn't finished or wrote no such file."""
        if stage.key not in self.done:
            return {}
        path = self.folder.path(stage, only=(name,)) / name
        return dict(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else {}

    def missing(self) -> dict[str, str]:
        """Why each stage that isn't finished isn't, by its name: its error, what it waits for, or "not run yet"."""
        failures, found, failed = self.folder.failures(), {}, {}
        for stage in self.plan.stages:
            if stage.key in self.done:
                continue
            if stage.key in failures:
                found[stage.name] = str(failures[stage.key].get("error", "failed"))
                failed[stage.key] = stage.name
                continue
            blocker = next((failed[need.key] for need in stage.needs.values() if need.key in failed), None)
            found[stage.name] = f"not run, because '{blocker}' failed" if blocker else "not run yet"
            if blocker:
                failed[stage.key] = blocker
        return found


def check_copies(finished: Finished) -> None:
    """Refuse networks of two seeds with the same weights.

    Raises:
        ValueError: If there are any; it names the condition and both seeds.
    """
    seen: dict[tuple[Any, ...], int] = {}
    for run in finished.plan.networks:
        weights = finished.facts(run.stage, "network.json").get("weights_crc")
        if weights is None:
            continue
        first = seen.setdefault((run.condition, run.subject, run.region, weights), run.seed)
        if first != run.seed:
            of = "" if run.subject is None else f" of subject {run.subject!r}"
            raise ValueError(
                f"{label_of(run.condition, run.region)!r}{of}: the networks of seeds {first} and {run.seed} have the same "
                "weights, so they are copies and no replications. Is the seed used where weights and batches are drawn?"
            )


def results_table(finished: Finished) -> pd.DataFrame:
    """One row per network, measure and budget, in the order of the plan; ``evaluation`` is the key of its evaluation."""
    parts = []
    for run in finished.plan.networks:
        for name, stage in run.evaluations.items():
            rows = finished.table(stage, "rows.csv")
            if rows is None:
                continue
            if stage.kind == "robustness":
                rows["measure"] = name + " " + rows["measure"].astype(str)
            parts.append(_identified(rows, run).assign(evaluation=name))
    return _stacked(parts, [*RESULTS, "evaluation"])


def prediction_table(finished: Finished) -> pd.DataFrame:
    """One row per predictor and voxel."""
    parts = []
    for run in _by_region(finished.plan):
        rows = finished.table(run.stage, "prediction.csv")
        if rows is not None:
            parts.append(rows.assign(subject=run.subject, region=run.region, fit=run.fit, seed=run.seed))
    return _stacked(parts, PREDICTION)


def geometry_table(finished: Finished) -> pd.DataFrame:
    """One row per network or predictor, a column per measure; ``network`` is "classifier" or "predictor"."""
    parts = []
    for run, stage, network in _measured_geometry(finished.plan):
        rows = finished.table(stage, "rows.csv")
        if rows is not None:
            wide = pd.DataFrame([dict(zip(rows["measure"], rows["value"]))])
            parts.append(_identified(wide, run).assign(network=network))
    found = _stacked(parts, GEOMETRY)
    return found[[*GEOMETRY, *(c for c in found if c not in GEOMETRY)]]


def layers_table(finished: Finished) -> pd.DataFrame:
    """The geometry of layers, with the network that they belong to."""
    parts = []
    for run, stage, network in _measured_geometry(finished.plan):
        rows = finished.table(stage, "layers.csv")
        if rows is not None:
            parts.append(_identified(rows, run).assign(network=network))
    return _stacked(parts, GEOMETRY)


def factors_table(finished: Finished) -> pd.DataFrame:
    """One row per control: the factor that gives its gradient the scale of the treatment's gradient."""
    rows = []
    for run in finished.plan.networks:
        factor = finished.facts(run.stage, "network.json").get("factor")
        if factor is not None:
            matched_to = run.stage.settings["condition"]["matched_to"]
            rows.append([run.subject, run.region, run.condition, run.seed, matched_to, factor])
    return pd.DataFrame(rows, columns=FACTORS)


def transfer_table(finished: Finished) -> pd.DataFrame:
    """Rates at which adversarial images of one network fool another, per seed."""
    tables = {seed: finished.table(stage, "transfer.csv") for seed, stage in finished.plan.transfers.items()}
    parts = [table.assign(seed=seed) for seed, table in tables.items() if table is not None]
    return _stacked(parts, ["seed", "source", "target", "rate", "n"])


def masked(finished: Finished) -> dict[str, list[str]]:
    """Checks against masked gradients that failed, by the name of the network; networks that passed all are left out."""
    found = {}
    for run in finished.plan.networks:
        if "masking" in run.evaluations:
            facts = finished.facts(run.evaluations["masking"], "masking.json")
            if facts and not facts.get("passed", True):
                found[run.stage.name] = [str(check) for check in facts.get("failed", [])]
    return found


def noise_ceilings(finished: Finished) -> dict[str, str]:
    """Where the noise ceiling of each region comes from, by subject and region."""
    found = {}
    for run in _by_region(finished.plan):
        source = finished.facts(run.stage, "predictor.json").get("noise_ceiling_from")
        if source:
            found[f"{run.subject} {run.region}"] = str(source)
    return found


def _measured_geometry(plan: Plan) -> Iterator[tuple[NetworkRun | PredictorRun, Stage, str]]:
    for predictor in _by_region(plan):
        if predictor.geometry is not None:
            yield predictor, predictor.geometry, "predictor"
    for network in plan.networks:
        if "geometry" in network.evaluations:
            yield network, network.evaluations["geometry"], "classifier"


def _by_region(plan: Plan) -> list[PredictorRun]:
    """Predictors in the order of the study's regions; which one was planned first depends on the conditions."""
    regions, fits = plan.study.regions, ("right", "shuffled", "untrained")
    return sorted(plan.predictors, key=lambda run: (regions.index(run.region), fits.index(run.fit)))


def _identified(rows: pd.DataFrame, run: NetworkRun | PredictorRun) -> pd.DataFrame:
    condition = run.condition if isinstance(run, NetworkRun) else ""
    return rows.assign(subject=run.subject, region=run.region, condition=condition, seed=run.seed)


def _stacked(parts: list[pd.DataFrame], columns: list[str]) -> pd.DataFrame:
    """All rows, the known columns first. Seeds stay whole numbers where a shared predictor has none."""
    if not parts:
        return pd.DataFrame(columns=columns)
    # Object columns, because pandas warns of columns that are empty in one part alone.
    found = pd.concat([part.astype(object) for part in parts], ignore_index=True).infer_objects()
    found["seed"] = found["seed"].astype("Int64")
    return found[[*columns, *(c for c in found if c not in columns)]]
