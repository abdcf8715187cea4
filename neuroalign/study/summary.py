"""The tables that people read, and what a study prints when it ends."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from neuroalign.study.conclusions import meanings
from neuroalign.study.methods import attack_text
from neuroalign.study.report import rich_table, summary_table
from neuroalign.study.runs import label_of

if TYPE_CHECKING:
    from rich.console import Console

    from neuroalign.study.findings import Tables
    from neuroalign.study.study import Study

__all__: list[str] = []

_WIDE = 110  # columns of a terminal in which every column of the table has its standard deviation


def labelled(table: pd.DataFrame) -> pd.DataFrame:
    """A table with ``label``, the name of condition and region, and ``replication``, the seed; 0 where seeds share a row."""
    labels = [
        label_of(c, r if isinstance(r, str) else None) if c else str(r)
        for c, r in zip(table["condition"], table["region"])
    ]
    return table.assign(label=labels, replication=table["seed"].fillna(0).astype(int))


def in_order(rows: pd.DataFrame, study: Study) -> pd.DataFrame:
    """Labelled rows in the order of the study's conditions and regions, also where the first network of one is missing."""
    labels = [label_of(name, region) for name in study.conditions for region in study.regions_of(name)]
    places = {label: place for place, label in enumerate(labels)}
    return rows.sort_values("label", key=lambda label: label.map(places), kind="stable", ignore_index=True)


def accuracy_under(results: pd.DataFrame, attack: str, study: Study) -> pd.DataFrame:
    """Accuracy under one attack: a row per condition (and region), seed and budget, averaged over subjects.

    Args:
        results: From :func:`~neuroalign.study.collecting.results_table`.
        attack: Name of the attack.
        study: The study.

    Returns:
        Columns ``condition`` (with its region), ``group`` (without), ``replication``, ``eps``, ``accuracy``, ``num_images``
        (per network).
    """
    rows = in_order(labelled(results[results["measure"] == f"{attack} accuracy"]), study)
    rows = rows.assign(eps=rows["eps"].astype(float))
    by = rows.groupby(["condition", "label", "replication", "eps"], sort=False, dropna=False)
    table = by.agg(accuracy=("value", "mean"), num_images=("n", "max")).reset_index()
    return table.rename(columns={"condition": "group", "label": "condition"})


def geometry_by_seed(geometry: pd.DataFrame, study: Study) -> pd.DataFrame:
    """Geometry with ``label`` and ``replication``: networks are averaged over subjects, and every predictor stands alone."""
    rows = in_order(labelled(geometry), study)
    networks = rows[rows["network"] == "classifier"].drop(columns=["subject", "region", "condition", "seed"])
    means = networks.groupby(["label", "network", "replication"], sort=False).mean().reset_index()
    fitted = rows[rows["network"] == "predictor"].copy()
    fitted["replication"] = fitted.groupby("label").cumcount()
    return pd.concat([fitted[list(means)], means], ignore_index=True)


def other_measures(results: pd.DataFrame, study: Study) -> dict[str, pd.DataFrame]:
    """Mean and standard deviation over seeds of all that isn't accuracy under an attack, by the name of the evaluation.

    Args:
        results: From :func:`~neuroalign.study.collecting.results_table`.
        study: The study.

    Returns:
        Tables of texts: a row per condition (and region), a column per measure.
    """
    rows = in_order(labelled(results), study)
    rows = rows[~rows["measure"].astype(str).str.endswith("_error")]  # sampling errors, which results.csv has
    budget = rows["eps"].map(lambda eps: "" if pd.isna(eps) else f" {eps:.3g}")
    rows = rows.assign(measure=rows["measure"].astype(str) + budget.astype(str))
    names = [name for name in dict.fromkeys(rows["evaluation"]) if name not in study.evaluations.robustness]
    return {name: _spread(rows[rows["evaluation"] == name]) for name in names}


def _spread(rows: pd.DataFrame) -> pd.DataFrame:
    means = rows.groupby(["label", "replication", "measure"], sort=False)["value"].mean()
    stats = means.groupby(["label", "measure"], sort=False).agg(["mean", "std"])
    text = [f"{mean:.3g}" + ("" if pd.isna(sd) else f" ± {sd:.2g}") for mean, sd in stats.itertuples(index=False)]
    wide = pd.Series(text, index=stats.index).unstack("measure")
    order = list(dict.fromkeys(rows["label"])), list(dict.fromkeys(rows["measure"]))
    return wide.reindex(index=order[0], columns=order[1]).fillna("").rename_axis(index=None, columns=None)


def prediction_summary(prediction: pd.DataFrame) -> pd.DataFrame:
    """How well each region is predicted: the median over voxels, averaged over the region's predictors."""
    if prediction.empty:
        return pd.DataFrame()
    limit = prediction["noise_ceiling"].astype(float).clip(lower=0) ** 0.5
    names = [f"{r}" if fit == "right" else f"{r}, {fit}" for r, fit in zip(prediction["region"], prediction["fit"])]
    by_predictor = prediction.assign(limit=limit, name=names).groupby(
        ["name", "subject", "seed"], sort=False, dropna=False
    )
    medians = by_predictor[["correlation", "limit"]].median()
    by_region = medians.groupby("name", sort=False)
    means, number = by_region.mean(), by_region.size()
    return pd.DataFrame(
        {
            "r": means["correlation"].map("{:.3f}".format),
            "largest r that noise allows": means["limit"].map(lambda x: "not known" if pd.isna(x) else f"{x:.3f}"),
            "predictors": number.astype(str),
        }
    ).rename_axis(None)


def spread_text(results: pd.DataFrame) -> str:
    """What a mean and its standard deviation are over."""
    seeds, subjects = results["seed"].nunique(), results["subject"].nunique()
    over = f", each the mean over {subjects} subjects" if subjects > 1 else ""
    return f"mean ± sd of {seeds} seeds{over}" if seeds > 1 else f"one seed{over}"


def print_summary(tables: Tables, console: Console) -> None:
    """Print how well regions are predicted, accuracy by condition, the paired differences, and the verdict.

    Args:
        tables: From :func:`~neuroalign.study.tables.write_tables`.
        console: Where to print.
    """
    study = tables.study
    source = f", {tables.origin}" if tables.origin else ""
    predicted = prediction_summary(tables.prediction)
    if len(predicted):
        title = f"Prediction of held-out responses{source}: median r over voxels"
        console.print(rich_table(predicted, title))
    for name, attack in study.evaluations.robustness.items():
        accuracy = accuracy_under(tables.results, name, study)
        if accuracy.empty:
            continue
        summary = summary_table(accuracy, spread=None if console.width >= _WIDE else ["mean"])
        title = f"Accuracy under attack{source}: {attack_text(name, attack)}; {spread_text(tables.results)}"
        console.print(rich_table(summary.rename_axis(None), title))
    if study.evaluations.robustness and len(tables.results):
        console.print(
            "Share of test images that stay right; ε is the size of the attack, of pixels in [0, 1]; 'mean' is over the "
            "budgets above 0. report.html says what each condition was trained with.\n", highlight=False, markup=False,
        )  # fmt: skip
    if tables.compared:
        console.print(
            "Paired differences, averaged over the budgets above 0, with 95 % intervals, and the number of units in which "
            f"the first was higher.\n{meanings(tables.compared)} The second p is corrected for their number and "
            "decides the verdict; one replication has none.", highlight=False, markup=False,
        )  # fmt: skip
        for each in tables.compared:
            console.print(f"  {each.comparison}", highlight=False, markup=False)
    for note in tables.notes:
        console.print(f"  {note}", highlight=False, markup=False)
    console.print("\n[bold]Verdict.[/bold]", end=" ", highlight=False)
    console.print(" ".join(tables.sentences), highlight=False, markup=False)
