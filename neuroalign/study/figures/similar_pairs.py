"""From pairs of networks to matrices: label by label, or network by network."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import pandas as pd

from neuroalign.study.runs import label_of
from neuroalign.study.stages.similarity import LAST
from neuroalign.study.study import Study

__all__: list[str] = []

REGIONS = "regions"


def similarity_groups(similarity: pd.DataFrame, study: Study, controls: Collection[str]) -> dict[str, list[str]]:
    """What stands in the figures of similarity, by group: regions, guided networks, other networks.

    Args:
        similarity: From :func:`~neuroalign.study.similarity.similarity_table`.
        study: The study.
        controls: Labels of the networks that no brain guides.
    """
    shown = set(_sides(similarity)["label"])
    networks = [label_of(name, region) for name in study.conditions for region in study.regions_of(name)]
    groups = {
        REGIONS: [region_label(region) for region in study.regions],
        "guided networks": [name for name in networks if name not in controls],
        "other networks": [name for name in networks if name in controls],
    }
    found = {name: [label for label in labels if label in shown] for name, labels in groups.items()}
    return {name: labels for name, labels in found.items() if labels}


def region_label(region: str) -> str:
    """What a region's predictor is called beside the networks that it guides.

    Example:
        >>> region_label("V4")
        'V4, predicted'
    """
    return f"{region}, predicted"


def shares_images(similarity: pd.DataFrame) -> bool:
    """Whether networks of different seeds were shown the same images."""
    return bool(_of_other_seeds(similarity).any())


def mean_similarity(similarity: pd.DataFrame, labels: list[str]) -> pd.DataFrame:
    """Mean similarity of every two labels in the last features, over pairs of seeds (and over subjects).

    Networks of one seed start from the same weights, which makes them more similar than those of different seeds. So where
    there are pairs of different seeds, only those count, and a label's similarity to itself is the most that another can
    reach. Pairs of different subjects don't count.

    Args:
        similarity: From :func:`~neuroalign.study.similarity.similarity_table`.
        labels: Labels of the rows and columns.

    Returns:
        (label, label); NaN where there is no pair.
    """
    rows = similarity[similarity["layer"] == LAST]
    subjects = rows[["subject_first", "subject_second"]]
    rows = rows[(subjects["subject_first"] == subjects["subject_second"]) | subjects.isna().any(axis=1)]
    if shares_images(rows):
        networks = (rows["first_network"] == "classifier") & (rows["second_network"] == "classifier")
        rows = rows[_of_other_seeds(rows) | ~networks]
    first, second = _sides(rows, "first")["label"], _sides(rows, "second")["label"]
    pairs = pd.DataFrame({"first": first, "second": second, "similarity": rows["similarity"].astype(float)})
    turned = pairs.rename(columns={"first": "second", "second": "first"})
    means = pd.concat([pairs, turned]).groupby(["first", "second"])["similarity"].mean()
    return means.unstack("second").reindex(index=labels, columns=labels)


def every_similarity(similarity: pd.DataFrame) -> tuple[pd.DataFrame, np.ndarray]:
    """Similarity of every two networks and predictors in the last features.

    Args:
        similarity: From :func:`~neuroalign.study.similarity.similarity_table`.

    Returns:
        Columns ``label``, ``subject``, ``seed`` of each, and (network, network), 1 on the diagonal, NaN where two were not
        shown the same images.
    """
    rows = similarity[similarity["layer"] == LAST]
    sides = [_sides(rows, side) for side in ("first", "second")]
    known = pd.concat(sides).drop_duplicates(ignore_index=True)
    places = {key: place for place, key in enumerate(_keys(known))}
    first, second = ([places[key] for key in _keys(side)] for side in sides)
    matrix = np.full((len(known), len(known)), np.nan)
    matrix[first, second] = matrix[second, first] = rows["similarity"].to_numpy(float)
    np.fill_diagonal(matrix, 1.0)
    return known, matrix


def _sides(rows: pd.DataFrame, *which: str) -> pd.DataFrame:
    """Label, subject and seed of one side of each pair, or of both sides one after the other."""
    parts = []
    for side in which or ("first", "second"):
        predicted = rows[f"{side}_network"] == "predictor"
        label = rows[side].where(~predicted, rows[side].map(region_label))
        parts.append(pd.DataFrame({"label": label, "subject": rows[f"subject_{side}"], "seed": rows[f"seed_{side}"]}))
    return pd.concat(parts)


def _keys(sides: pd.DataFrame) -> list[tuple[str, str, str]]:
    return list(zip(*(sides[name].astype(str) for name in ("label", "subject", "seed"))))


def _of_other_seeds(rows: pd.DataFrame) -> pd.Series[bool]:
    networks = (rows["first_network"] == "classifier") & (rows["second_network"] == "classifier")
    return networks & (rows["seed_first"] != rows["seed_second"]).fillna(False).astype(bool)
