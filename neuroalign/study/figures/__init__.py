"""The figures of a study, each with its caption."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from neuroalign.study.figures.advantage import advantage_figure
from neuroalign.study.figures.captioned import Captioned
from neuroalign.study.figures.geometry import geometry_figure
from neuroalign.study.figures.mds import mds_figure
from neuroalign.study.figures.prediction import prediction_figure
from neuroalign.study.figures.robustness import robustness_figure
from neuroalign.study.figures.similar_pairs import similarity_groups
from neuroalign.study.figures.similarity import similarity_figure
from neuroalign.study.methods import controls_of
from neuroalign.study.summary import accuracy_under, geometry_by_seed

if TYPE_CHECKING:
    from neuroalign.study.findings import Tables

__all__: list[str] = []


def study_figures(tables: Tables) -> dict[str, Captioned]:
    """The figures for which there are numbers, by the name of their file.

    Args:
        tables: The study's tables.
    """
    study, source = tables.study, tables.origin
    controls = controls_of(study)
    found: dict[str, Captioned] = {}
    for name, attack in study.evaluations.robustness.items():
        accuracy = accuracy_under(tables.results, name, study)
        if len(accuracy):
            file = "robustness" if not found else f"robustness_{re.sub('[^a-z0-9]+', '_', name.lower())}"
            found[file] = robustness_figure(accuracy, controls, name, source, attack.norm)
    if tables.compared:
        found["advantage"] = advantage_figure(tables.compared, source)
    if len(tables.geometry):
        found["geometry"] = geometry_figure(geometry_by_seed(tables.geometry, study), controls, source)
    fitted = tables.prediction[tables.prediction["fit"] == "right"]
    if fitted["correlation"].notna().any():
        found["prediction"] = prediction_figure(fitted, source)
    return found | _similarity(tables, controls)


def _similarity(tables: Tables, controls: set[str]) -> dict[str, Captioned]:
    """The matrix and the map of networks and regions."""
    settings = tables.study.evaluations.rsa
    if settings is None or tables.similarity.empty:
        return {}
    groups = similarity_groups(tables.similarity, tables.study, controls)
    arguments = (tables.similarity, groups, settings, tables.origin)
    found = {"similarity": similarity_figure(*arguments), "mds": mds_figure(*arguments)}
    return {name: figure for name, figure in found.items() if figure is not None}
