"""One row per network: its accuracy on clean and attacked images, beside its geometry."""

from __future__ import annotations

import pandas as pd

from neuroalign.study.study import Study
from neuroalign.study.summary import in_order, labelled

__all__: list[str] = []

KEYS = ["label", "subject", "replication"]


def networks_table(results: pd.DataFrame, attack: str, study: Study) -> pd.DataFrame:
    """Clean accuracy and the mean accuracy over the budgets above 0 of every network.

    Args:
        results: From :func:`~neuroalign.study.collecting.results_table`.
        attack: Name of the attack.
        study: The study.

    Returns:
        Columns ``label`` (condition and region), ``subject`` ("" if there is none), ``replication``, ``clean``, ``robust``.
        Networks without one of the two are left out.
    """
    rows = in_order(labelled(results[results["measure"] == f"{attack} accuracy"]), study)
    rows = rows.assign(subject=rows["subject"].fillna("").astype(str), eps=rows["eps"].astype(float))
    clean = rows[rows["eps"] == 0].groupby(KEYS, sort=False)["value"].mean()
    robust = rows[rows["eps"] > 0].groupby(KEYS, sort=False)["value"].mean()
    return pd.DataFrame({"clean": clean, "robust": robust.reindex(clean.index)}).dropna().reset_index()


def with_geometry(networks: pd.DataFrame, geometry: pd.DataFrame) -> pd.DataFrame:
    """The same rows with the geometry of the networks' last features; networks without it are left out.

    Args:
        networks: From :func:`networks_table`.
        geometry: From :func:`~neuroalign.study.collecting.geometry_table`.
    """
    rows = labelled(geometry[geometry["network"] == "classifier"])
    rows = rows.assign(subject=rows["subject"].fillna("").astype(str))
    return networks.merge(rows.drop(columns=["region", "condition", "seed", "network"]), on=KEYS, how="inner")


def over_subjects(networks: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    """Means over subjects: one row per label and replication."""
    return networks.groupby(["label", "replication"], sort=False)[columns].mean().reset_index()


def accuracy_by_unit(results: pd.DataFrame, attack: str, study: Study) -> pd.DataFrame:
    """Mean accuracy over the budgets above 0 of each condition, region and unit: subjects if there are several, else seeds.

    Args:
        results: From :func:`~neuroalign.study.collecting.results_table`.
        attack: Name of the attack.
        study: The study.

    Returns:
        Columns ``condition``, ``region``, ``unit``, ``kind`` ("subject" or "seed"), ``accuracy``. Networks without a region
        are left out.
    """
    rows = results[(results["measure"] == f"{attack} accuracy") & results["region"].notna()]
    rows = rows[rows["eps"].astype(float) > 0]
    kind = "subject" if rows["subject"].nunique() > 1 else "seed"
    by = rows.assign(unit=rows[kind].astype(str)).groupby(["condition", "region", "unit"], sort=False)["value"]
    return by.mean().rename("accuracy").reset_index().assign(kind=kind)


def seed_rows(table: pd.DataFrame, study: Study, keys: list[str]) -> pd.DataFrame:
    """Numbers of each condition and seed, averaged over subjects.

    Args:
        table: Columns ``subject``, ``region``, ``condition``, ``seed``, ``keys`` and numbers.
        study: The study.
        keys: Columns that tell apart the rows of one network.

    Returns:
        Columns ``label``, ``replication``, ``keys`` and the numbers.
    """
    rows = in_order(labelled(table), study)
    rows = rows.drop(columns=["subject", "region", "condition", "seed", "network"], errors="ignore")
    numbers = [str(name) for name in rows if name not in ("label", "replication", *keys)]
    rows = rows.assign(**{name: pd.to_numeric(rows[name], errors="coerce") for name in numbers})
    return rows.groupby(["label", "replication", *keys], sort=False, dropna=False)[numbers].mean().reset_index()
