"""The sections of a study's page that show results: one for each kind of evaluation that has numbers."""

from __future__ import annotations

import base64
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from neuroalign.study.budgets import budget_texts
from neuroalign.study.conclusions import none_shown
from neuroalign.study.explaining import explaining_sentences
from neuroalign.study.figures.captioned import Captioned
from neuroalign.study.methods import attack_text
from neuroalign.study.page.geometry_tables import explaining_grids, layers_grid, predictors_grid, robust_grids
from neuroalign.study.page.parts import Grid, Link, Picture, Section, links_to
from neuroalign.study.page.readings import reading
from neuroalign.study.page.similarity_tables import similarity_grids
from neuroalign.study.page.words import constant, grid_of, interval_text, measure_text, texts_of
from neuroalign.study.report import summary_table
from neuroalign.study.robust_geometry import robust_geometry_sentences
from neuroalign.study.summary import accuracy_under, other_measures, prediction_summary

if TYPE_CHECKING:
    from neuroalign.study.findings import Tables

__all__: list[str] = []

TITLES = {
    "accuracy": "Accuracy under attack", "advantage": "Advantage over controls", "trend": "Trend along the hierarchy",
    "plane": "Accuracy and robustness", "geometry": "Geometry", "explaining": "Geometry against robustness",
    "prediction": "Prediction and noise ceiling", "similarity": "Similarity of networks", "smoothness": "Smoothness",
    "transfer": "Transfer of adversarial images", "corruptions": "Corruptions", "shape_bias": "Shape bias",
    "more": "More figures and measures",
}  # fmt: skip
_SECTION_OF = {"robustness": "accuracy", "layers": "geometry", "mds": "similarity"}
_ALT = {
    "robustness": "Lines of accuracy against the size of the attack, one for each condition",
    "advantage": "Differences in accuracy between each treatment and its controls, with intervals, budget by budget",
    "trend": "Accuracy under attack by region, in the order of the hierarchy",
    "plane": "Clean accuracy against accuracy under attack, a mark for each network",
    "geometry": "Bars of capacity, radius, dimension and separability by condition",
    "layers": "Lines of each measure of geometry over the layers of the network",
    "explaining": "Each measure of geometry against accuracy under attack, a mark for each network",
    "prediction": "Correlation of predicted and measured responses against the noise ceiling, by region",
    "similarity": "Matrix of the similarity between conditions and regions",
    "mds": "Map on which similar networks and regions lie close together",
    "smoothness": "Squared input gradient by condition",
    "transfer": "Matrix of the rates at which adversarial images of one network fool another",
    "corruptions": "Error on corrupted images by condition and corruption",
    "shape_bias": "Share of decisions for shape by condition",
}
_FILES = {"plane": ["results.csv"]}  # of figures without a table
_CSS_PIXELS = 96 / 150  # figures are drawn with 150 dots per inch, and a pixel of a page is 1/96 inch


def result_sections(tables: Tables, figures: Mapping[str, Captioned], folder: Path) -> list[Section]:
    """The sections with results, in the order of the page; those without any are left out.

    Args:
        tables: The study's tables.
        figures: From :func:`~neuroalign.study.figures.study_figures`.
        folder: The folder of the page, in which the files lie.
    """
    pictures: dict[str, list[Picture]] = {name: [] for name in TITLES}
    for name, each in figures.items():
        pictures[section_of(name)].append(_picture(name, each, folder))
    measured = other_measures(tables.results, tables.study)
    grids: dict[str, Callable[[], list[Grid]]] = {
        "accuracy": lambda: _accuracy(tables, links_to(folder, ["results.csv"])),
        "advantage": lambda: _advantage(tables, links_to(folder, ["comparisons.csv"])),
        "trend": lambda: _trend(tables, links_to(folder, ["trend.csv"])),
        "geometry": lambda: [
            *predictors_grid(tables, folder),
            *layers_grid(tables, folder),
            *robust_grids(tables, folder),
        ],
        "explaining": lambda: explaining_grids(tables, folder),
        "prediction": lambda: _prediction(tables, links_to(folder, ["prediction.csv"])),
        "similarity": lambda: similarity_grids(tables, links_to(folder, ["rsa.csv"])),
        "transfer": lambda: _transfer(tables, links_to(folder, ["transfer.csv"])),
        "more": lambda: [
            _measured(name, table, links_to(folder, ["results.csv"]))
            for name, table in measured.items()
            if name not in (*TITLES, "masking")
        ],
    }
    sections = []
    for name, title in TITLES.items():
        shown = grids[name]() if name in grids else []
        if name in measured:
            file = "geometry.csv" if name == "geometry" else "results.csv"
            shown.insert(0, _measured(name, measured[name], links_to(folder, [file])))
        section = Section(
            name,
            title,
            tables.origin,
            reading(name, tables),
            paragraphs=_shown(name, tables),
            pictures=pictures[name],
            grids=shown,
            lists=_without_difference(tables) if name == "advantage" else {},
            links=links_to(folder, _FILES.get(name, ())),
        )
        if not section.empty:
            sections.append(section)
    return sections


def _shown(section: str, tables: Tables) -> list[str]:
    """What the tests of a section show; a fast run shows nothing."""
    if tables.facts["fast"]:
        return []
    if section == "geometry":
        return robust_geometry_sentences(tables.robust_geometry)
    return explaining_sentences(tables.geometry_robustness) if section == "explaining" else []


def section_of(figure: str) -> str:
    """The section of a figure by the name of its file.

    Example:
        >>> section_of("robustness_l2"), section_of("mds"), section_of("something new")
        ('accuracy', 'similarity', 'more')
    """
    first = "robustness" if figure.startswith("robustness_") else figure
    section = _SECTION_OF.get(first, first)
    return section if section in TITLES else "more"


def _picture(name: str, each: Captioned, folder: Path) -> Picture:
    width, height = struct.unpack(">II", each.png[16:24])  # the header of every PNG file
    kind = "robustness" if name.startswith("robustness_") else name
    title = _ALT.get(kind, f"Figure: {name.replace('_', ' ')}")
    return Picture(
        name,
        f"{title}. The caption says what it shows.",
        each.caption,
        base64.b64encode(each.png).decode(),
        round(width * _CSS_PIXELS),
        round(height * _CSS_PIXELS),
        links_to(folder, [f"{name}.png", f"{name}.pdf"]),
    )


def _accuracy(tables: Tables, links: Sequence[Link]) -> list[Grid]:
    found = []
    for name, attack in tables.study.evaluations.robustness.items():
        accuracy = accuracy_under(tables.results, name, tables.study)
        if len(accuracy):
            found.append(grid_of(attack_text(name, attack), summary_table(accuracy).rename_axis("Condition"), links))
    return found


def _advantage(tables: Tables, links: Sequence[Link]) -> list[Grid]:
    """The difference at each budget, a table for each attack: a row per comparison."""
    rows: dict[str, dict[str, dict[str, str]]] = {}
    for each in tables.compared:
        cells = {
            name if eps == 0 else f"ε {name}": f"{difference:+.3f} {interval_text(low, high)}"
            for eps, name, difference, low, high in _by_budget(each.comparison.table)
        }
        name = f"{each.comparison.treatment} - {each.comparison.control}"
        rows.setdefault(each.measure, {})[name] = cells
    return [
        grid_of(
            f"Difference at each budget of {measure}, with 95 % intervals that are not corrected for their number",
            pd.DataFrame.from_dict(each, orient="index").fillna("").rename_axis("Treatment - control"),
            links,
            "numbers",
        )
        for measure, each in rows.items()
    ]


def _by_budget(table: pd.DataFrame) -> Iterator[tuple[float, str, float, float, float]]:
    """Each budget with its name, the difference and the ends of its interval."""
    texts = budget_texts(table["eps"])
    columns = (table[name].astype(float) for name in ("eps", "difference", "low", "high"))
    for eps, difference, low, high in zip(*columns):
        yield eps, texts[eps], difference, low, high


def _without_difference(tables: Tables) -> dict[str, list[str]]:
    return {"Budgets at which no difference is shown": [s for s in map(none_shown, tables.compared) if s]}


def _trend(tables: Tables, links: Sequence[Link]) -> list[Grid]:
    if tables.trend.empty:
        return []
    order, measure = (constant(tables.trend, name) for name in ("hierarchy", "measure"))
    hidden = [name for name in ("hierarchy", "measure", "test") if constant(tables.trend, name)]
    table = tables.trend.drop(columns=hidden)
    first = [name for name in ("condition", "control", "effect", "low", "high", "p", "p_holm", "n") if name in table]
    title = f"Change of accuracy per step{f' of {order}' if order else ''}{f', under {measure}' if measure else ''}"
    return [grid_of(title, texts_of(table[[*first, *(c for c in table if c not in first)]]), links)]


def _prediction(tables: Tables, links: Sequence[Link]) -> list[Grid]:
    summary = prediction_summary(tables.prediction)
    if summary.empty:
        return []
    return [grid_of("Prediction of held-out responses: median over voxels", summary.rename_axis("Region"), links)]


def _transfer(tables: Tables, links: Sequence[Link]) -> list[Grid]:
    if tables.transfer.empty:
        return []
    means = tables.transfer.groupby(["source", "target"], sort=False)["rate"].mean().unstack("target")
    # Sorted columns would part a network from itself: rows and columns have one order.
    order = list(dict.fromkeys([*tables.transfer["source"], *tables.transfer["target"]]))
    means = means.reindex(index=[n for n in order if n in means.index], columns=[n for n in order if n in means])
    texts = means.map(lambda rate: "" if pd.isna(rate) else f"{rate:.3f}")
    title = "Rate at which adversarial images of a row fool a column"
    return [grid_of(title, texts.rename_axis("Made against", axis=0).rename_axis(None, axis=1), links)]


def _measured(name: str, table: pd.DataFrame, links: Sequence[Link]) -> Grid:
    title = TITLES.get(name, f"{name[0].upper()}{name[1:]}".replace("_", " "))
    named = table.rename(columns=measure_text).rename_axis("Condition")
    return grid_of(f"{title}: mean ± standard deviation over seeds", named, links)
