"""Tables of accuracy for people, and tables for the terminal."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from rich.table import Table

from neuroalign.study.budgets import budget_texts

__all__: list[str] = []


def accuracy_by_condition(images: pd.DataFrame) -> pd.DataFrame:
    """Accuracy from per-image outcomes: one row per condition, replication and budget."""
    keys = ["condition", "replication", "perturbation", "eps"]
    table = images.groupby(keys, sort=False)["correct"].agg(["mean", "size"]).reset_index()
    return table.rename(columns={"mean": "accuracy", "size": "num_images"})


def summary_table(accuracy: pd.DataFrame, spread: Sequence[str] | None = None) -> pd.DataFrame:
    """Mean and standard deviation over replications, one row per condition: clean, each budget, and the mean over budgets.

    Args:
        accuracy: From :func:`accuracy_by_condition`.
        spread: Columns that show the standard deviation; None means all.
    """
    attacked = accuracy[accuracy["eps"] > 0].groupby(["condition", "replication"], sort=False)["accuracy"].mean()
    wide = accuracy.pivot_table(index=["condition", "replication"], columns="eps", values="accuracy", sort=False)
    wide["mean"] = attacked
    texts = budget_texts(accuracy["eps"])
    names = {eps: text if eps == 0 else f"ε {text}" for eps, text in texts.items()}
    wide.columns = ["mean" if c == "mean" else names[float(c)] for c in wide.columns]
    stats = wide.groupby("condition", sort=False).agg(["mean", "std"])
    return pd.DataFrame({
        column: [
            f"{mean:.3f}" + (f" ± {std:.3f}" if pd.notna(std) and (spread is None or column in spread) else "")
            for mean, std in stats[column].itertuples(index=False)
        ]
        for column in dict.fromkeys(stats.columns.get_level_values(0))
    }, index=stats.index)  # fmt: skip


def rich_table(table: pd.DataFrame, title: str) -> Table:
    """A table for the terminal."""
    result = Table(title=title, title_justify="left", title_style="bold")
    result.add_column(str(table.index.name or ""))
    for column in table.columns:
        result.add_column(str(column), justify="right")
    for name, row in table.iterrows():
        result.add_row(str(name), *map(str, row))
    return result
