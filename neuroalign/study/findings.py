"""What a study shows: its tables, its comparisons, its verdict, and what is missing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neuroalign.study.collecting import RESULTS
from neuroalign.study.comparing import Compared
from neuroalign.study.methods import origin
from neuroalign.study.study import Study

if TYPE_CHECKING:
    import pandas as pd

__all__: list[str] = []


@dataclass(frozen=True)
class Tables:
    """What a study shows so far.

    Attributes:
        out: Folder of the files.
        study: The study.
        results: One row per network, measure and budget: ``subject``, ``region``, ``condition``, ``seed``, ``measure``,
            ``eps``, ``value``, ``n``, ``evaluation``.
        comparisons: One row per comparison: ``treatment``, ``control``, ``difference``, ``low``, ``high``, ``unit``, ``n``
            (number of units), ``p``, ``p_holm`` (both empty), ``outcome``, ``higher_in``, ``measure``.
        prediction: One row per predictor and voxel.
        geometry: One row per network or predictor, a column per measure.
        layers: The geometry of layers.
        factors: One row per control: the factor on its loss.
        transfer: One row per seed and pair of networks.
        trend: One row per condition along the study's hierarchy of regions; empty without a hierarchy.
        geometry_robustness: One row per measure of geometry and scope: whether it predicts robustness.
        similarity: One row per pair of networks or predictors: how similar their dissimilarities of images are.
        compared: The comparisons with their tables by budget.
        notes: A sentence per comparison that isn't there or isn't complete.
        missing: Why each stage that isn't finished isn't, by its name.
        masked: Checks against masked gradients that failed, by the name of the network.
        sentences: The verdict.
        facts: Versions, start, hours, command: the content of ``study.json``.
    """

    out: Path
    study: Study
    results: pd.DataFrame
    comparisons: pd.DataFrame
    prediction: pd.DataFrame
    geometry: pd.DataFrame
    layers: pd.DataFrame
    factors: pd.DataFrame
    transfer: pd.DataFrame
    trend: pd.DataFrame
    geometry_robustness: pd.DataFrame
    similarity: pd.DataFrame
    compared: list[Compared]
    notes: list[str]
    missing: Mapping[str, str]
    masked: Mapping[str, list[str]]
    sentences: list[str]
    facts: Mapping[str, Any]

    @property
    def origin(self) -> str:
        """What titles and captions must say of the numbers: simulated subjects, a fast run; empty for neither."""
        return ", ".join(text for text in (origin(self.study), "fast run" if self.facts["fast"] else "") if text)

    @property
    def files(self) -> dict[str, pd.DataFrame]:
        """The tables that are written as CSV, by the name of their file: those that the study asks for or has rows of."""
        found = {
            "results": self.results[RESULTS],
            "comparisons": self.comparisons,
            "prediction": self.prediction,
            "geometry": self.geometry,
            "factors": self.factors,
        }
        optional = {"layers": self.layers, "transfer": self.transfer, "rsa": self.similarity}
        found |= {name: table for name, table in optional.items() if len(table)}
        if self.study.hierarchy:
            found["trend"] = self.trend
        if self.study.evaluations.geometry is not None:
            found["geometry_robustness"] = self.geometry_robustness
        return found
