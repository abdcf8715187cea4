"""Tables of the geometry of categories for a study's page: predicted responses, layers, and what geometry explains."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from neuroalign.study.collecting import GEOMETRY
from neuroalign.study.explaining import FEATURES
from neuroalign.study.page.parts import Grid, links_to
from neuroalign.study.page.words import constant, grid_of, texts_of
from neuroalign.study.summary import in_order, labelled

if TYPE_CHECKING:
    from neuroalign.study.findings import Tables

__all__: list[str] = []


def predictors_grid(tables: Tables, folder: Path) -> list[Grid]:
    """Geometry of the predicted responses of each region; empty if it wasn't measured."""
    fitted = tables.geometry[tables.geometry["network"] == "predictor"] if len(tables.geometry) else tables.geometry
    if fitted.empty:
        return []
    texts = _spread(fitted.assign(label=fitted["region"]), ["label"]).rename_axis("Region")
    title = "Predicted responses of each region: mean ± standard deviation over predictors"
    return [grid_of(title, texts, links_to(folder, ["geometry.csv"]))]


def layers_grid(tables: Tables, folder: Path) -> list[Grid]:
    """Geometry at the layers of the networks: a row per condition and layer; empty if it wasn't measured."""
    layers = tables.layers
    if layers.empty or "layer" not in layers:
        return []
    networks = in_order(labelled(layers[layers["network"] == "classifier"]), tables.study)
    means = networks.groupby(["label", "layer", "seed"], sort=False).mean(numeric_only=True).reset_index()
    texts = _spread(means, ["label", "layer"]).reset_index().rename(columns={"label": "Condition", "layer": "Layer"})
    title = "Layers of the networks: mean ± standard deviation over seeds"
    return [grid_of(title, texts.set_index("Condition"), links_to(folder, ["layers.csv"]))]


def explaining_grids(tables: Tables, folder: Path) -> list[Grid]:
    """Whether geometry explains accuracy under attack; empty if this couldn't be asked."""
    table = tables.geometry_robustness
    if table.empty:
        return []
    links = links_to(folder, ["geometry_robustness.csv"])
    table = table[table["layer"] == FEATURES].drop(columns="layer")
    title = "Geometry of the last features and accuracy under attack, given clean accuracy (layers are in the CSV)"
    return [grid_of(title, texts_of(table.drop(columns=["test"] if constant(table, "test") else [])), links)]


def robust_grids(tables: Tables, folder: Path) -> list[Grid]:
    """Geometry of robustly trained networks minus that of networks without guidance; empty if there are none."""
    table = tables.robust_geometry
    if table.empty:
        return []
    links = links_to(folder, ["robust_geometry.csv"])
    table = table[table["layer"] == FEATURES].drop(columns=["layer", "guided"])
    title = "Robust training minus none, in the last features: paired differences with 95 % intervals over seeds"
    return [grid_of(title, texts_of(table.drop(columns=["test"] if constant(table, "test") else [])), links)]


def _spread(table: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """Mean ± standard deviation of every measure, in the order of the rows."""
    measures = [name for name in table.select_dtypes("number") if name not in (*GEOMETRY, *by, "replication")]
    stats = table.groupby(by, sort=False)[measures].agg(["mean", "std"])
    return pd.DataFrame({
        str(name).replace("_", " "): [
            "" if pd.isna(mean) else f"{mean:.3g}" + ("" if pd.isna(sd) else f" ± {sd:.2g}")
            for mean, sd in stats[name].itertuples(index=False)
        ]
        for name in measures
    }, index=stats.index)  # fmt: skip
