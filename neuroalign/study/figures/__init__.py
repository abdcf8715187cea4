"""The figures of a study, each with its caption."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pandas as pd

from neuroalign.study.figures.advantage import advantage_figure
from neuroalign.study.figures.captioned import Captioned
from neuroalign.study.figures.conditions import Conditions
from neuroalign.study.figures.corruptions import corruptions_figure
from neuroalign.study.figures.explaining import explaining_figure, explaining_measures
from neuroalign.study.figures.geometry import geometry_figure, measures_in
from neuroalign.study.figures.layers import layers_figure
from neuroalign.study.figures.mds import mds_figure
from neuroalign.study.figures.plane import plane_figure
from neuroalign.study.figures.prediction import prediction_figure
from neuroalign.study.figures.robustness import chance_of, robustness_figure
from neuroalign.study.figures.shape_bias import shape_bias_figure
from neuroalign.study.figures.similar_pairs import similarity_groups
from neuroalign.study.figures.similarity import similarity_figure
from neuroalign.study.figures.smoothness import smoothness_figure
from neuroalign.study.figures.transfer import transfer_figure
from neuroalign.study.figures.trend import trend_figure
from neuroalign.study.networks import accuracy_by_unit, networks_table, seed_rows, with_geometry
from neuroalign.study.summary import accuracy_under, geometry_by_seed

if TYPE_CHECKING:
    from neuroalign.study.findings import Tables

__all__: list[str] = []


def study_figures(tables: Tables) -> dict[str, Captioned]:
    """The figures for which there are numbers, by the name of their file, in the order in which a report shows them.

    Args:
        tables: The study's tables.
    """
    conditions = Conditions.of(tables.study, tables.origin)
    found = _robustness(tables, conditions)
    found.update(_geometry(tables, conditions))
    fitted = tables.prediction[tables.prediction["fit"] == "right"]
    if fitted["correlation"].notna().any():
        found["prediction"] = prediction_figure(fitted, tables.origin)
    found.update(_similarity(tables, conditions))
    found.update(_others(tables, conditions))
    return found


def _robustness(tables: Tables, conditions: Conditions) -> dict[str, Captioned]:
    """Accuracy under attack: curves, differences, the trend along the hierarchy, and clean against attacked."""
    study = tables.study
    found: dict[str, Captioned] = {}
    for name, attack in study.evaluations.robustness.items():
        accuracy = accuracy_under(tables.results, name, study)
        if accuracy["accuracy"].notna().any():
            file = "robustness" if not found else f"robustness_{re.sub('[^a-z0-9]+', '_', name.lower())}"
            found[file] = robustness_figure(accuracy, conditions, name, attack.norm, chance_of(study))
    if tables.compared:
        norms = {name: attack.norm for name, attack in study.evaluations.robustness.items()}
        found["advantage"] = advantage_figure(tables.compared, tables.origin, norms)
    first = next(iter(study.evaluations.robustness), None)
    if first is None:
        return found
    by_unit = accuracy_by_unit(tables.results, first, study)
    along = by_unit[by_unit["region"].isin(study.hierarchy)]
    if len(along) and along.groupby("condition")["region"].nunique().max() > 1:
        found["trend"] = trend_figure(along, study.hierarchy, _of_measure(tables.trend, first), conditions, first)
    networks = networks_table(tables.results, first, study)
    if len(networks):
        found["plane"] = plane_figure(networks, conditions, first)
    return found


def _geometry(tables: Tables, conditions: Conditions) -> dict[str, Captioned]:
    """Geometry of the last features, of layers, and beside robustness."""
    study = tables.study
    found: dict[str, Captioned] = {}
    if len(tables.geometry):
        geometry = geometry_by_seed(tables.geometry, study)
        if measures_in(geometry):
            found["geometry"] = geometry_figure(geometry, conditions)
    layers = tables.layers[tables.layers["network"] == "classifier"] if len(tables.layers) else tables.layers
    if len(layers) and measures_in(layers):
        found["layers"] = layers_figure(seed_rows(layers, study, ["layer"]), conditions)
    first = next(iter(study.evaluations.robustness), None)
    if first is not None and len(tables.geometry):
        networks = with_geometry(networks_table(tables.results, first, study), tables.geometry)
        if explaining_measures(networks):
            found["explaining"] = explaining_figure(networks, tables.geometry_robustness, conditions, first)
    return found


def _similarity(tables: Tables, conditions: Conditions) -> dict[str, Captioned]:
    """The matrix and the map of networks and regions."""
    settings = tables.study.evaluations.rsa
    if settings is None or tables.similarity.empty:
        return {}
    groups = similarity_groups(tables.similarity, tables.study, conditions.controls)
    arguments = (tables.similarity, groups, settings, tables.origin)
    found = {"similarity": similarity_figure(*arguments), "mds": mds_figure(*arguments)}
    return {name: figure for name, figure in found.items() if figure is not None}


def _others(tables: Tables, conditions: Conditions) -> dict[str, Captioned]:
    """What else was evaluated."""
    found: dict[str, Captioned] = {}
    rows = seed_rows(tables.results, tables.study, ["evaluation", "measure", "eps"])
    for name, draw in (
        ("smoothness", smoothness_figure), ("corruptions", corruptions_figure), ("shape_bias", shape_bias_figure)
    ):  # fmt: skip
        part = rows[rows["evaluation"] == name]
        if part["value"].notna().any():
            found[name] = draw(part, conditions)
    if len(tables.transfer) and tables.transfer["rate"].notna().any():
        found["transfer"] = transfer_figure(tables.transfer, conditions)
    return found


def _of_measure(trend: pd.DataFrame, attack: str) -> pd.DataFrame:
    """The rows of a trend under one attack."""
    return trend[trend["measure"] == attack] if "measure" in trend else trend
