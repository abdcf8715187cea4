"""The table of similarity for a study's page: how alike networks and regions find the same images."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from neuroalign.study.page.parts import Grid, Link
from neuroalign.study.page.words import grid_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from neuroalign.study.findings import Tables

__all__: list[str] = []


def similarity_grids(tables: Tables, links: Sequence[Link]) -> list[Grid]:
    """A matrix per layer: the mean over pairs of networks of two conditions; empty if similarity wasn't measured."""
    if tables.similarity.empty:
        return []
    title = "Mean similarity at {}: the diagonal is other seeds of one condition"
    by_layer = tables.similarity.groupby("layer", sort=False)
    return [grid_of(title.format(layer), _matrix(rows), links, "numbers") for layer, rows in by_layer]


def _matrix(rows: pd.DataFrame) -> pd.DataFrame:
    names = {
        side: [
            f"{name}, predicted" if kind == "predictor" else str(name)
            for name, kind in zip(rows[side], rows[f"{side}_network"])
        ]
        for side in ("first", "second")
    }
    table = pd.DataFrame({**names, "similarity": rows["similarity"].to_numpy(float)})
    # A pair stands there once, in either direction: the matrix has it twice, and its diagonal once.
    turned = table[table["first"] != table["second"]].rename(columns={"first": "second", "second": "first"})
    order = list(dict.fromkeys([*table["first"], *table["second"]]))
    means = pd.concat([table, turned]).groupby(["first", "second"])["similarity"].mean().unstack("second")
    texts = means.reindex(index=order, columns=order).map(lambda value: "" if pd.isna(value) else f"{value:.3f}")
    return texts.rename_axis("Networks", axis=0).rename_axis(None, axis=1)
