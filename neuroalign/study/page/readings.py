"""How to read each section of a study's page: what one number is, over what it varies, what is tested and what not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd

from neuroalign.study.conclusions import meanings

if TYPE_CHECKING:
    from neuroalign.study.findings import Tables

__all__: list[str] = []

_READINGS = {
    "accuracy": (
        "A number is the share of test images that stay rightly classified when an attack changes each of them by at most "
        "ε (0: clean images); 'mean' is over the budgets above 0. {spread} The ± says how far single networks lie apart: "
        "it is no interval of the mean, and nothing is tested here. {images}"
    ),
    "advantage": (
        "Accuracy of the treatment minus that of its control on the same images: above 0 the treatment is better. {units} "
        "{meaning} {tests} Intervals at single budgets are not corrected for their number. 'No difference shown' is not "
        "equality."
    ),
    "trend": (
        "The question is whether accuracy under attack rises from region to region, in the order that the study's file "
        "names{order}. The effect is the change of accuracy per step. {tests} A trend that a control shows, too, is not due "
        "to the responses."
    ),
    "plane": (
        "To the right: better on clean images; up: better under attack. A small mark is one network, a large one the mean of "
        "its condition with a 95 % interval over seeds. {spread} Nothing is tested here."
    ),
    "geometry": (
        "Each category of test images is a cloud of points in a layer: capacity and separability are larger where categories "
        "are easier to tell apart, radius and dimension are smaller. {spread} {robust} Geometry need not follow robustness."
    ),
    "explaining": (
        "The question is whether networks with other geometry have other accuracy under attack, once their clean accuracy is "
        "taken into account. The slope is the change of accuracy per standard deviation of the measure; partial r is the "
        "correlation given clean accuracy. 'Expected' is the sign that the manifold hypothesis predicts. {tests} The study "
        "chose its conditions, and a correlation is no cause."
    ),
    "prediction": (
        "r is the correlation between predicted and measured responses to images that the predictor has not seen; first the "
        "median over voxels, then the mean over predictors. {voxels} Noise limits how large r can be{ceilings}. Nothing is "
        "tested here."
    ),
    "similarity": (
        "Two networks are similar if they find the same pairs of images alike: the number is the correlation of their "
        "dissimilarities, at most 1. {pairs} Two seeds of one condition are the most that two conditions can reach. On the "
        "map, distances mean something, axes do not. Nothing is tested here."
    ),
    "smoothness": (
        "The mean squared gradient of the loss at an input image: smaller is smoother. A smooth network is not for this "
        "reason robust. {spread} Nothing is tested here."
    ),
    "transfer": (
        "Adversarial images are made against the network of a row and shown to the network of a column; the number is the "
        "share that fools it, of the images that both classify rightly without attack, as the mean over {seeds}. Nothing is "
        "tested here."
    ),
    "corruptions": (
        "Accuracy on corrupted test images by corruption and severity (1 to 5), and the mean error over all of them, each "
        "with the same weight; no attack is made. {spread} Nothing is tested here."
    ),
    "shape_bias": (
        "The share of decisions for shape among those for shape or texture, on images whose shape and texture belong to two "
        "classes. {spread} Nothing is tested here."
    ),
}  # fmt: skip


def reading(section: str, tables: Tables) -> str:
    """How to read a section, with the numbers of this study; empty for a section without.

    Args:
        section: Its id.
        tables: The study's tables.
    """
    if section not in _READINGS:
        return ""
    voxels = tables.prediction.groupby(["subject", "region"])["voxel"].nunique().sum() if len(tables.prediction) else 0
    filled = _READINGS[section].format(
        spread=_spread(tables),
        images=_images(tables.results),
        units=_units(tables),
        meaning=meanings(tables.compared),
        tests=_tests(
            {"trend": tables.trend, "explaining": tables.geometry_robustness}.get(section, tables.comparisons)
        ),
        order=f": {' < '.join(tables.study.hierarchy)}" if tables.study.hierarchy else "",
        voxels=f"n is {voxels} voxels or neurons.",
        ceilings=_ceilings(tables),
        pairs=_pairs(tables.similarity),
        robust=_robust(tables.robust_geometry),
        seeds=_count(tables.transfer.get("seed", pd.Series(dtype=object)).nunique(), "seed"),
    )
    return " ".join(filled.split())


def summary_reading(tables: Tables) -> str:
    """How to read the table of comparisons."""
    corrected = tables.comparisons["p_holm"].notna().any() if "p_holm" in tables.comparisons else False
    holm = (
        "The outcome rests on p after Holm's correction for all comparisons of the table."
        if corrected
        else "The intervals are not corrected for the number of comparisons."
    )
    return " ".join(
        f"Difference in accuracy, averaged over the budgets above 0. {_units(tables)} {meanings(tables.compared)} "
        f"{_tests(tables.comparisons)} {holm} 'No clear difference' is not equality.".split()
    )


def _robust(table: pd.DataFrame) -> str:
    """What is tested of geometry: networks with robust training, if there are any."""
    if table.empty:
        return "Nothing is tested here."
    return (
        "Networks with robust training are compared with those of none, paired by seed: t tests over seeds, 95 % intervals. "
        f"p after Holm's correction over {int(table['p_holm'].notna().sum())} tests says what is clear. No more is tested."
    )


def _spread(tables: Tables) -> str:
    seeds, subjects = tables.results["seed"].nunique(), tables.results["subject"].nunique()
    of_subjects = f", each the mean over {subjects} subjects" if subjects > 1 else ""
    if seeds < 2:
        return f"There is one seed{of_subjects}, so nothing is known of other trainings." if seeds else ""
    return f"Numbers are the mean ± standard deviation of n = {seeds} seeds (each a new training){of_subjects}."


def _images(results: pd.DataFrame) -> str:
    attacked = results[results["measure"].astype(str).str.endswith(" accuracy")]
    most = attacked["n"].max() if len(attacked) else float("nan")
    return "" if pd.isna(most) else f"Each network is tested on {most:g} images."


def _units(tables: Tables) -> str:
    found = dict.fromkeys((each.comparison.num_units, each.comparison.unit) for each in tables.compared)
    return f"n is {' or '.join(_count(n, unit) for n, unit in found)}, the unit of replication." if found else ""


def _tests(table: pd.DataFrame) -> str:
    named: Sequence[str] = []
    if "test" in table:
        named = list(dict.fromkeys(str(test).strip().rstrip(".") for test in table["test"] if not pd.isna(test)))
    return f"Test: {'; '.join(each for each in named if each)}." if any(named) else ""


def _ceilings(tables: Tables) -> str:
    sources = ", ".join(dict.fromkeys(tables.facts.get("noise_ceilings", {}).values()))
    return f" (known from: {sources})" if sources else ""


def _pairs(similarity: pd.DataFrame) -> str:
    if similarity.empty:
        return ""
    return f"n is {len(similarity)} pairs of networks, on {similarity['n_images'].max():g} test images."


def _count(number: int, unit: str) -> str:
    return f"{number} {unit}{'' if number == 1 else 's'}"
