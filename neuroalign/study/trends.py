"""Whether robustness rises along the hierarchy of regions that a study names."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd

from neuroalign.evaluation.mixed import mixed_trend
from neuroalign.evaluation.multiple_comparisons import corrected_p
from neuroalign.evaluation.trend import Trend, trend_test
from neuroalign.study.collecting import Finished
from neuroalign.study.comparing import outcomes_of
from neuroalign.study.runs import NetworkRun
from neuroalign.study.study import Study

__all__: list[str] = []

MIXED = ["mixed_effect", "mixed_low", "mixed_high", "mixed_p", "mixed_note"]
COLUMNS = [
    "hierarchy", "statistic", "p", "effect", "n", "condition", "control", "measure", "p_holm", "rho", "low", "high", "unit",
    "num_images", "test", *MIXED,
]  # fmt: skip
BETWEEN = " < "

Runs = dict[str, list[NetworkRun]]
"""The finished networks of a condition, by region."""


def trend_table(finished: Finished) -> pd.DataFrame:
    """Whether robustness rises along the hierarchy of regions that a study names.

    One row per condition that is trained for two of the regions or more, treatments and controls alike, and one per declared
    treatment minus its control of the same regions. Regions without a finished network are left out of ``hierarchy``.

    Args:
        finished: The study's results.

    Returns:
        ``hierarchy``, ``statistic`` (Page's L), ``p`` (one-sided), ``effect`` (accuracy per step), ``n`` (number of units),
        ``condition``, ``control`` (the one that is subtracted, or empty), ``measure``, ``p_holm`` (corrected over all rows),
        ``rho``, ``low`` and ``high`` (95 % interval of ``effect``), ``unit``, ``num_images``, ``test``, and the mixed model
        over subjects (empty for one subject). No rows without a hierarchy of two regions.
    """
    study = finished.plan.study
    read = lru_cache(maxsize=256)(lambda stage: outcomes_of(finished, stage))
    rows = []
    for condition, control, measure, regions in wanted_trends(study):
        tables = _tables(finished, condition, control, measure, regions, read)
        if tables is None:
            continue
        found = trend_test(*tables)
        rows.append(_row(found, condition, control or "", measure))
    table = pd.DataFrame(rows, columns=COLUMNS)
    return table.assign(p_holm=corrected_p(table["p"].to_numpy(float))) if rows else table


def wanted_trends(study: Study) -> list[tuple[str, str | None, str, list[str]]]:
    """(condition, control or None, measure, regions in their order) of each trend that a study's file asks for."""
    first = next(iter(study.evaluations.robustness), None)
    if len(study.hierarchy) < 2 or first is None:
        return []
    measures = list(dict.fromkeys(wanted.measure or first for wanted in study.comparisons)) or [first]
    found: list[tuple[str, str | None, str, list[str]]] = []
    for measure in measures:
        for condition in study.conditions:
            found.append((condition, None, measure, _in_order(study, study.regions_of(condition))))
        subtracted: dict[tuple[str, str], list[str | None]] = {}
        for wanted in study.comparisons:
            if (wanted.measure or first) != measure:
                continue
            for region in study.treatments_of(wanted):
                for control, of in study.controls_of(wanted, region):
                    if of == region:
                        subtracted.setdefault((wanted.treatment, control), []).append(region)
        found += [(*pair, measure, _in_order(study, regions)) for pair, regions in subtracted.items()]
    return [each for each in found if len(each[3]) > 1]


def _in_order(study: Study, regions: Iterable[str | None]) -> list[str]:
    there = set(regions)
    return [region for region in dict.fromkeys(study.hierarchy) if region in there]


def _tables(
    finished: Finished,
    condition: str,
    control: str | None,
    measure: str,
    regions: Sequence[str],
    read: Callable[[Any], pd.DataFrame],
) -> tuple[dict[str, pd.DataFrame], ...] | None:
    """Per-image outcomes by region, of the condition and of its control; None if there is nothing to test."""
    sides = [_finished_runs(finished, name, measure, regions) for name in (condition, control) if name is not None]
    regions = [region for region in regions if all(side[region] for side in sides)]
    apart = _one_subject_each(sides, regions)
    keys = [{_key(run, apart) for run in side[region]} for side in sides for region in regions]
    if len(regions) < 2 or not set.intersection(*keys):
        return None
    return tuple(
        {
            region: pd.concat([
                read(run.evaluations[measure]).assign(subject=_key(run, apart)[0], replication=run.seed)
                for run in side[region]
            ])
            for region in regions
        }
        for side in sides
    )  # fmt: skip


def _finished_runs(finished: Finished, condition: str, measure: str, regions: Sequence[str]) -> Runs:
    runs = [run for run in finished.plan.networks if run.condition == condition]
    done = [run for run in runs if run.evaluations[measure].key in finished.done]
    return {region: [run for run in done if run.region == region] for region in regions}


def _one_subject_each(sides: Sequence[Runs], regions: Sequence[str]) -> bool:
    """Whether every region has one subject, as where each is of another animal: networks then belong together by seed."""
    return all(len({run.subject for run in side[region]}) == 1 for side in sides for region in regions)


def _key(run: NetworkRun, apart: bool) -> tuple[str, int]:
    return ("" if apart else run.subject or ""), run.seed


def _row(found: Trend, condition: str, control: str, measure: str) -> Mapping[str, Any]:
    row = {
        "hierarchy": BETWEEN.join(found.regions), "statistic": found.statistic, "p": found.p_value, "effect": found.effect,
        "n": found.num_units, "condition": condition, "control": control, "measure": measure, "p_holm": np.nan,
        "rho": found.rho, "low": found.low, "high": found.high, "unit": found.unit, "num_images": found.num_images,
        "test": found.test, **dict.fromkeys(MIXED, np.nan), "mixed_note": "",
    }  # fmt: skip
    if found.num_subjects > 1 and found.decides:
        mixed = mixed_trend(found.table)
        row.update(zip(MIXED, (mixed.effect, mixed.low, mixed.high, mixed.p_value, mixed.note)))
    return row
