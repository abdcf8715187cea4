"""How similarly networks and regions tell images apart: a map by multidimensional scaling."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from neuroalign.plot.styles import COLORS
from neuroalign.study.figures.captioned import Captioned, said
from neuroalign.study.figures.side_labels import label_at_sides
from neuroalign.study.figures.similar_pairs import REGIONS, every_similarity, mean_similarity
from neuroalign.study.figures.similarity import CANT_SAY, what_is_compared
from neuroalign.study.settings.evaluations import RSA

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__: list[str] = []

_GRAYS = ("#000000", "#777777", "#AAAAAA", "#555555")
_MARKERS = "osD^vPX<>ph8dH"
_STARTS = 4  # of the search for a map, which may end in a poor one
_ROUNDING = 1e-12  # distances below it are those of equal networks
_MOST_POINTS = 300  # networks of a map; more would take minutes and hide one another


def mds_figure(similarity: pd.DataFrame, groups: dict[str, list[str]], settings: RSA, origin: str) -> Captioned | None:
    """A map of networks and regions, near each other where they tell the same images apart.

    Conditions stand for their networks if these are many, or were shown different images.

    Args:
        similarity: From :func:`~neuroalign.study.similarity.similarity_table`, at least one pair.
        groups: Labels by group, from :func:`~neuroalign.study.figures.similar_pairs.similarity_groups`.
        settings: How dissimilarities were measured and compared.
        origin: A word on simulated subjects; may be empty.

    Returns:
        The figure; None if there are fewer than three points, or pairs of them that were not compared.
    """
    from matplotlib.figure import Figure

    points, matrix = every_similarity(similarity)
    single = len(points) <= _MOST_POINTS and not np.isnan(matrix).any()
    if not single:
        labels = [label for group in groups.values() for label in group]
        means = mean_similarity(similarity, labels).to_numpy(float, copy=True)
        np.fill_diagonal(means, 1.0)
        points, matrix = pd.DataFrame({"label": labels}), means
    if len(points) < 3 or np.isnan(matrix).any():
        return None
    distances = 1 - matrix
    distances[distances < _ROUNDING] = 0
    places, stress = scaled(distances)
    styles = _styles(groups)
    height = max(5.0, 0.2 * len(styles) + 1.2)
    figure = Figure(figsize=(10.0, height), layout="constrained")
    ax = figure.subplots()
    middles = _draw(ax, points["label"], places, styles)
    _frame(ax, places)
    label_at_sides(ax, middles, {name: style["color"] for name, style in styles.items()})
    also = " and regions" if REGIONS in groups else ""
    ax.set_title(f"Map of networks{also} by their similarity{f' ({origin})' if origin else ''}", fontsize=12)
    return Captioned(figure, _caption(similarity, groups, settings, origin, stress, single=single))


def scaled(distances: np.ndarray) -> tuple[np.ndarray, float]:
    """Points in a plane whose distances are as near as possible to given ones (metric multidimensional scaling).

    Args:
        distances: (point, point), symmetric, not negative, at least three points.

    Returns:
        (point, 2) with the widest direction first, and Kruskal's stress 1: the root mean squared error of the distances,
        relative to the root mean squared distance on the map; 0 is perfect, 0.2 poor.

    Example:
        >>> line = np.array([[0.0, 1.0, 2.0], [1.0, 0.0, 1.0], [2.0, 1.0, 0.0]])
        >>> places, stress = scaled(line)
        >>> np.abs(places[0] - places[2]).round(2).tolist(), round(stress, 2)
        ([2.0, 0.0], 0.0)

    Source:
        Kruskal 1964, Psychometrika 29:1-27.
    """
    from sklearn.manifold import smacof

    wanted = (distances + distances.T) / 2
    if not wanted.any():
        return np.zeros((len(wanted), 2)), 0.0
    places, _ = smacof(
        wanted,
        metric=True,
        n_components=2,
        n_init=_STARTS,
        max_iter=1000,
        eps=1e-9,
        random_state=0,
        normalized_stress=False,
    )
    places = places - places.mean(0)
    directions = np.linalg.svd(places, full_matrices=False)[2]
    places = places @ directions.T  # the search ends in any rotation and reflection
    places = places * np.where(places[np.abs(places).argmax(0), [0, 1]] < 0, -1, 1)
    between = np.linalg.norm(places[:, None] - places[None], axis=-1)
    size = np.sum(between**2)
    return places, float(np.sqrt(np.sum((between - wanted) ** 2) / size)) if size > 0 else 0.0


def _styles(groups: dict[str, list[str]]) -> dict[str, dict[str, Any]]:
    """Colour and marker of each label: regions are stars, networks without guidance grey."""
    styles: dict[str, dict[str, Any]] = {}
    for group, labels in groups.items():
        for label in labels:
            number = sum(style["group"] == group for style in styles.values())
            networks = sum(style["group"] != REGIONS for style in styles.values())
            colors = COLORS if group != "other networks" else _GRAYS
            marker = "*" if group == REGIONS else _MARKERS[networks % len(_MARKERS)]
            color = "#B8860B" if group == REGIONS else colors[number % len(colors)]
            styles[label] = {"group": group, "color": color, "marker": marker}
    return styles


def _draw(
    ax: Axes, labels: pd.Series[str], places: np.ndarray, styles: dict[str, dict[str, Any]]
) -> dict[str, tuple[float, float]]:
    """A small mark for each network, a large one for the mean of each label, which is returned."""
    middles = {}
    for label, style in styles.items():
        own = places[(labels == label).to_numpy()]
        x, y = own.mean(0)
        middles[label] = (float(x), float(y))
        look = {"marker": style["marker"], "color": style["color"]}
        if len(own) > 1:
            ax.scatter(own[:, 0], own[:, 1], s=16, alpha=0.55, linewidths=0, zorder=2, **look)
        size = 260 if style["group"] == REGIONS else 75
        ax.scatter(x, y, s=size, edgecolors="white", linewidths=0.9, zorder=4, **look)
    return middles


def _frame(ax: Axes, places: np.ndarray) -> None:
    """One scale for both directions, no ticks, and a bar that says how long a distance is."""
    low, high = places.min(0), places.max(0)
    wide = max(float((high - low).max()), 1e-6)
    middle, half = (low + high) / 2, np.maximum((high - low) / 2, 0.3 * wide) + 0.06 * wide
    ax.set_xlim(middle[0] - half[0], middle[0] + half[0])
    ax.set_ylim(middle[1] - half[1], middle[1] + half[1])
    ax.set_box_aspect(float(half[1] / half[0]))
    ax.set_xticks([])
    ax.set_yticks([])
    ax.spines[:].set_color("#CCCCCC")
    power = 10.0 ** np.floor(np.log10(wide / 3))
    length = power * max(step for step in (1, 2, 5) if step * power <= wide / 3)
    start, at = middle[0] - half[0] + 0.03 * wide, middle[1] - half[1] + 0.03 * wide
    ax.plot([start, start + length], [at, at], color="black", linewidth=2, solid_capstyle="butt")
    ax.text(start + length + 0.015 * wide, at, f"1 - similarity = {length:g}", fontsize=8.5, va="center")


def _caption(
    similarity: pd.DataFrame, groups: dict[str, list[str]], settings: RSA, origin: str, stress: float, *, single: bool
) -> str:
    quality = "Below 0.1" if stress < 0.1 else "Between 0.1 and 0.2" if stress < 0.2 else "Above 0.2"
    verdict = {
        "Below 0.1": "the map shows most distances well",
        "Between 0.1 and 0.2": "single distances can be wrong",
        "Above 0.2": "the map is a poor picture of the distances: read the matrix",
    }[quality]
    marks = (
        "A small mark is a network, a large one the mean of its condition."
        if single
        else "A mark is a condition, placed by its mean similarities to the others."
    )
    stars = " Stars are regions: the responses that their fitted predictors give." if REGIONS in groups else ""
    return (
        f"Map of the similarities by metric multidimensional scaling{said(origin)}. Similarity is the "
        f"{what_is_compared(similarity, settings)}; the nearer two marks, the more similarly they tell images apart. {marks}"
        f"{stars} Distances, not axes, mean something. Normalised stress {stress:.2f} (Kruskal's stress 1). {quality}: "
        f"{verdict}. Networks of one seed start from the same weights, which draws them together. {CANT_SAY}"
    )
