"""Outcomes of networks guided by several regions, aligned by subject, replication and image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from neuroalign.evaluation.curve import RobustnessCurve
from neuroalign.evaluation.paired_outcomes import paired_outcomes, tidy

__all__: list[str] = []

_ROW = ["subject", "replication"]


@dataclass(frozen=True)
class RegionOutcomes:
    """Outcomes of several regions on the same images.

    Attributes:
        outcomes: (region, row, image) share of budgets at which the image stays right, minus the control's if one is
            subtracted; NaN where a row wasn't measured on an image.
        subjects: Subject of each row; None if there is one.
        replications: Replication of each row.
        subtracted: Whether a control was subtracted.
        left_out: Number of rows of the tables without some of the regions.
    """

    outcomes: np.ndarray
    subjects: np.ndarray | None
    replications: np.ndarray
    subtracted: bool
    left_out: int


def region_outcomes(
    regions: Mapping[str, pd.DataFrame | RobustnessCurve],
    control: Mapping[str, pd.DataFrame | RobustnessCurve] | None,
) -> RegionOutcomes:
    """Align the tables of regions, and those of a control of the same regions.

    Raises:
        ValueError: If they don't fit each other; see :func:`neuroalign.evaluation.trend_test`.
    """
    if len(regions) < 2:
        raise ValueError(f"a trend needs at least two regions, in their order; got {list(regions)}")
    if control is not None and set(control) != set(regions):
        raise ValueError(f"the control has other regions: {list(control)}, not {list(regions)}")
    tables = {name: _table(table, name) for name, table in regions.items()}
    controls = {f"{name} of the control": _table(control[name], name) for name in regions} if control else {}
    tables, left_out = _common_rows({**tables, **controls})
    first, *others = tables
    pairs = [paired_outcomes(tables[first], tables[name], None, names=(first, name)) for name in others]
    attacked = pairs[0].attacked
    # The columns of the second follow the keys and images of the first, so all pairs have one order.
    values = np.stack([each[:, :, attacked].mean(2) for each in (pairs[0].first, *(pair.second for pair in pairs))])
    if control is not None:
        values = values[: len(regions)] - values[len(regions) :]
    return RegionOutcomes(values, pairs[0].subjects, pairs[0].replications, control is not None, left_out)


def _table(table: pd.DataFrame | RobustnessCurve, region: str) -> pd.DataFrame:
    try:
        return tidy(table.per_image() if isinstance(table, RobustnessCurve) else table)
    except ValueError as error:
        raise ValueError(f"region {region!r}: {error}") from None


def _common_rows(tables: Mapping[str, pd.DataFrame]) -> tuple[dict[str, pd.DataFrame], int]:
    """The rows of the subjects and replications that every table has, and the number of those that are left out."""
    rows = {name: pd.MultiIndex.from_frame(table[_ROW]) for name, table in tables.items()}
    sets = [set(index.unique()) for index in rows.values()]
    common, every = set.intersection(*sets), set.union(*sets)
    if not common:
        raise ValueError(
            f"no replication of a subject has all of {', '.join(tables)}: give each the same 'replication'"
        )
    if len(common) == len(every):
        return dict(tables), 0
    wanted = pd.MultiIndex.from_tuples(sorted(common), names=_ROW)
    return {name: table[rows[name].isin(wanted)] for name, table in tables.items()}, len(every) - len(common)
