"""Outcomes of two conditions, paired by image and budget, from any of the tables that hold them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from neuroalign.evaluation.curve import RobustnessCurve

__all__: list[str] = []

_KEYS = ["perturbation", "eps"]
_ROW = ["subject", "replication"]


@dataclass(frozen=True)
class PairedOutcomes:
    """Outcomes of two conditions.

    Attributes:
        names: Names of the two conditions.
        keys: One row per perturbation and budget: ``perturbation``, ``eps`` (NaN for a perturbation without a budget).
        first: (row, image, key) 0 or 1, NaN where a row wasn't measured on an image.
        second: The same for the other condition.
        subjects: Subject of each row of ``first``; None if the tables have no subjects, or one.
        replications: Replication of each row of ``first``.
        stimuli: Identity of each image.
        paired: Whether row i of ``first`` belongs together with row i of ``second``.
    """

    names: tuple[str, str]
    keys: pd.DataFrame
    first: np.ndarray
    second: np.ndarray
    subjects: np.ndarray | None
    replications: np.ndarray
    stimuli: pd.Index
    paired: bool

    @property
    def num_replications(self) -> int:
        """Number of distinct replications; of the condition that has fewer, if the rows of the two are not paired."""
        return len(np.unique(self.replications)) if self.paired else min(len(self.first), len(self.second))

    @property
    def attacked(self) -> np.ndarray:
        """Whether each key is an attack or corruption, not clean accuracy: (key,); all keys if all are clean."""
        attacked = ~(self.keys["eps"] == 0).to_numpy()
        return attacked if attacked.any() else np.ones(len(attacked), dtype=bool)


def paired_outcomes(
    first: pd.DataFrame | RobustnessCurve,
    second: str | pd.DataFrame | RobustnessCurve,
    control: str | None,
    *,
    names: tuple[str, str] | None = None,
    paired_replications: bool = True,
) -> PairedOutcomes:
    """Align two conditions by image, perturbation and budget; see :func:`neuroalign.evaluation.compare` for the arguments.

    Raises:
        ValueError: If a column or condition is missing, or the two don't fit each other.
    """
    own_names, tables = _two_tables(first, second, control)
    names = names or own_names
    a, b = (tidy(table) for table in tables)
    rows_a, rows_b = (_rows(t) for t in (a, b))
    keys, keys_b = (t[_KEYS].drop_duplicates(ignore_index=True) for t in (a, b))
    if set(map(tuple, keys.to_numpy())) != set(map(tuple, keys_b.to_numpy())):
        raise ValueError(
            f"the two were measured under different perturbations or budgets: {_listed(keys)} and {_listed(keys_b)}"
        )
    if paired_replications and not rows_a.equals(rows_b):
        raise ValueError(
            f"{names[0]!r} and {names[1]!r} have different replications: only one of them has (subject, replication) "
            f"{rows_a.symmetric_difference(rows_b).tolist()[:6]}. Give the pairs that belong together the same number, or "
            "say paired_replications=False if none do"
        )
    _same_labels(a, b)
    stimuli = pd.Index(np.union1d(a["stimulus"].unique(), b["stimulus"].unique()))
    values = [_array(t, r, stimuli, keys) for t, r in ((a, rows_a), (b, rows_b))]
    there = [~np.isnan(v[:, :, 0]) for v in values]
    same = np.array_equal(*there) if paired_replications else np.array_equal(there[0].any(0), there[1].any(0))
    if not same:
        raise ValueError(
            f"{names[0]!r} and {names[1]!r} were tested on different images: don't shuffle the loader, or give each image's "
            "'stimulus' in its batch"
        )
    subjects = rows_a.get_level_values("subject").to_numpy()
    several = len(set(subjects)) > 1
    if several and not paired_replications:
        raise ValueError(
            "paired_replications=False is for tables of one subject; with several, pair within the subject"
        )
    shown = keys.assign(eps=keys["eps"].where(keys["eps"] != -1))
    return PairedOutcomes(
        names, shown, values[0], values[1], subjects if several else None,
        rows_a.get_level_values("replication").to_numpy(), stimuli, paired_replications,
    )  # fmt: skip


def class_of(labels: pd.Series, stimuli: pd.Index) -> np.ndarray:
    """Class of each image, numbered from 0: (image,).

    Raises:
        ValueError: If an image has no class.
    """
    missing = stimuli.difference(labels.index)
    if len(missing):
        raise ValueError(f"labels has no class for stimulus {missing[0]} and {len(missing) - 1} others")
    return pd.factorize(labels.loc[stimuli])[0]


def _two_tables(
    first: pd.DataFrame | RobustnessCurve, second: str | pd.DataFrame | RobustnessCurve, control: str | None
) -> tuple[tuple[str, str], list[pd.DataFrame]]:
    if isinstance(second, str):
        if not isinstance(first, pd.DataFrame) or "condition" not in first:
            raise ValueError(
                "names of conditions need a table with a column 'condition'; two curves or tables are given without names"
            )
        if control is None:
            raise ValueError(f"{second!r} is compared with what? Give a second name in 'condition'")
        for name in (second, control):
            if not (first["condition"] == name).any():
                raise ValueError(f"no condition {name!r}; there are {sorted(map(str, first['condition'].unique()))}")
        return (second, control), [first[first["condition"] == name] for name in (second, control)]
    if control is not None:
        raise ValueError("a name of a control needs one table with a column 'condition'; two tables have none")
    tables = [t.per_image() if isinstance(t, RobustnessCurve) else t for t in (first, second)]
    conditions = [list(dict.fromkeys(t["condition"])) if "condition" in t else [] for t in tables]
    for several in conditions:
        if len(several) > 1:
            raise ValueError(f"a table holds several conditions, {several}: give one table and two of their names")
    names = [c[0] if c else default for c, default in zip(conditions, ("first", "second"))]
    return (names[0], names[1]) if names[0] != names[1] else ("first", "second"), tables


def tidy(table: pd.DataFrame) -> pd.DataFrame:
    """The columns that are used, checked; eps is -1 for a perturbation without a budget, since NaN can't be a key."""
    missing = {"eps", "stimulus", "correct"} - set(table)
    if missing:
        raise ValueError(
            f"one row per image is needed, as from per_image_robustness; {', '.join(sorted(missing))} is missing"
        )
    if not len(table):
        raise ValueError("a table has no rows")
    defaults: dict[str, Any] = {"perturbation": "", "subject": "", "replication": 0}
    tidy = table.assign(
        **{name: value for name, value in defaults.items() if name not in table},
        eps=table["eps"].astype(float).fillna(-1.0),
        correct=table["correct"].astype(float),
    )
    if not tidy["correct"].isin([0.0, 1.0]).all():
        raise ValueError("'correct' must be 0 or 1 (or False and True) in every row")
    for column in (*_ROW, "stimulus"):
        if tidy[column].isna().any():
            raise ValueError(f"{column!r} is missing in {int(tidy[column].isna().sum())} rows")
    if tidy.duplicated([*_ROW, *_KEYS, "stimulus"]).any():
        raise ValueError("an image occurs twice in a replication: give each its own 'stimulus'")
    return tidy


def _rows(table: pd.DataFrame) -> pd.MultiIndex:
    return pd.MultiIndex.from_frame(table[_ROW].drop_duplicates().sort_values(_ROW))


def _listed(keys: pd.DataFrame) -> list[tuple[str, float]]:
    return [(p, float(e) if e != -1 else float("nan")) for p, e in keys.to_numpy()]


def _same_labels(*tables: pd.DataFrame) -> None:
    labelled = [t[["stimulus", "label"]].drop_duplicates() for t in tables if "label" in t]
    if labelled and pd.concat(labelled).drop_duplicates()["stimulus"].duplicated().any():
        raise ValueError(
            "one 'stimulus' has two labels, so different images have the same number: don't shuffle the loader, or give "
            "each image's own 'stimulus' in its batch"
        )


def _array(table: pd.DataFrame, rows: pd.MultiIndex, stimuli: pd.Index, keys: pd.DataFrame) -> np.ndarray:
    """Outcomes (row, image, key), NaN where not measured."""
    values = np.full((len(rows), len(stimuli), len(keys)), np.nan)
    row = rows.get_indexer(pd.MultiIndex.from_frame(table[_ROW]))
    key = pd.MultiIndex.from_frame(keys).get_indexer(pd.MultiIndex.from_frame(table[_KEYS]))
    values[row, stimuli.get_indexer(pd.Index(table["stimulus"])), key] = table["correct"]
    unmeasured = np.isnan(values)
    if (unmeasured.any(2) != unmeasured.all(2)).any():
        raise ValueError("not every image was measured under every perturbation and budget")
    return values
