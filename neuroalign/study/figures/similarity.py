"""How similarly networks and regions tell images apart: a matrix of all pairs."""

from __future__ import annotations

from itertools import accumulate
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from neuroalign.study.figures.captioned import Captioned, said
from neuroalign.study.figures.similar_pairs import REGIONS, mean_similarity, shares_images
from neuroalign.study.settings.evaluations import RSA

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage

__all__: list[str] = []

_CELL = 0.44  # inches; a value of three characters stands in it
_SMALL_CELL = 0.2  # inches; without values
_MOST_VALUES = 26  # labels of a matrix whose values can still be read

CANT_SAY = (
    "All networks learned the same classes, which makes them similar whatever guides them. Similar networks need be neither "
    "equally robust nor alike in other respects, and the values have no intervals."
)


def similarity_figure(
    similarity: pd.DataFrame, groups: dict[str, list[str]], settings: RSA, origin: str
) -> Captioned | None:
    """Similarity of every two conditions or regions, averaged over pairs of seeds.

    Args:
        similarity: From :func:`~neuroalign.study.similarity.similarity_table`, at least one pair.
        groups: Labels by group, from :func:`~neuroalign.study.figures.similar_pairs.similarity_groups`.
        settings: How dissimilarities were measured and compared.
        origin: A word on simulated subjects; may be empty.

    Returns:
        The figure; None if there are only pairs of different subjects.
    """
    from matplotlib.figure import Figure

    labels = [label for group in groups.values() for label in group]
    matrix = mean_similarity(similarity, labels).to_numpy(float)
    if np.isnan(matrix).all():
        return None
    cell = _CELL if len(labels) <= _MOST_VALUES else _SMALL_CELL
    size, beside = max(2.4, cell * len(labels)), 0.075 * max(map(len, labels))
    figure = Figure(figsize=(size + beside + 1.3, size + beside + 0.5), layout="constrained")
    ax = figure.subplots()
    image = _draw(ax, matrix, labels)
    for end in list(accumulate(map(len, groups.values())))[:-1]:
        ax.axhline(end - 0.5, color="white", linewidth=4)
        ax.axvline(end - 0.5, color="white", linewidth=4)
    bar = figure.colorbar(image, ax=ax, shrink=0.8, pad=0.02)
    bar.set_label(
        f"{correlation_name(settings)} of dissimilarities\n(1: the same pairs of images look alike)", fontsize=9
    )
    bar.ax.tick_params(labelsize=8)
    bar.outline.set_visible(False)
    ax.set_title(f"Similarity of networks{_and_regions(groups)}{f' ({origin})' if origin else ''}", fontsize=12, pad=10)
    return Captioned(figure, _caption(similarity, groups, settings, origin, empty=bool(np.isnan(matrix).any())))


def correlation_name(settings: RSA) -> str:
    """What the similarity of two networks is.

    Example:
        >>> correlation_name(RSA())
        'rank correlation (Spearman)'
    """
    return "rank correlation (Spearman)" if settings.comparison == "spearman" else "correlation (Pearson)"


def what_is_compared(similarity: pd.DataFrame, settings: RSA) -> str:
    """Which dissimilarities are compared, and of how many images."""
    counts = sorted(set(similarity["n_images"]))
    number = f"{counts[0]:,}" if len(counts) == 1 else f"{counts[0]:,} to {counts[-1]:,}"
    how = {"correlation": "1 - correlation", "cosine": "1 - cosine", "sqeuclidean": "squared distance"}
    return (
        f"{correlation_name(settings)} of the dissimilarities ({how[settings.dissimilarity]} of their last features) of all "
        f"pairs of {number} test images"
    )


def _draw(ax: Axes, matrix: np.ndarray, labels: list[str]) -> AxesImage:
    """The matrix with its values, and labels at the left and on top."""
    from matplotlib import colormaps

    known = matrix[~np.isnan(matrix)]
    high = max(np.ceil(known.max() * 10) / 10, 0.1)
    low = min(np.floor(known.min() * 10) / 10, high - 0.1)
    # Its lightness rises evenly, so that it can be read in grey, too.
    image = ax.imshow(matrix, cmap=colormaps["cividis"].with_extremes(bad="#E8E8E8"), vmin=low, vmax=high)
    for (row, column), value in np.ndenumerate(matrix) if len(labels) <= _MOST_VALUES else ():
        if np.isnan(value):
            ax.text(column, row, "–", ha="center", va="center", fontsize=8, color="#555555")
            continue
        color = "black" if (value - low) / (high - low) > 0.55 else "white"
        ax.text(column, row, _short(value), ha="center", va="center", fontsize=8, color=color)
    ax.set_xticks(range(len(labels)), labels, rotation=90, fontsize=8.5)
    ax.set_yticks(range(len(labels)), labels, fontsize=8.5)
    ax.tick_params(length=0, labeltop=True, labelbottom=False, top=False, bottom=False)
    ax.spines[:].set_visible(False)
    return image


def _short(value: float) -> str:
    """Two decimals without the leading 0, which every value has."""
    text = f"{value:.2f}"
    return text.replace("-0.", "-.").removeprefix("0") if abs(value) < 0.995 else f"{value:.0f}"


def _and_regions(groups: dict[str, list[str]]) -> str:
    return " and regions" if REGIONS in groups else ""


def _caption(similarity: pd.DataFrame, groups: dict[str, list[str]], settings: RSA, origin: str, *, empty: bool) -> str:
    parts = [
        f"Similarity of networks{_and_regions(groups)}{said(origin)}: {what_is_compared(similarity, settings)}.",
        f"Lines separate {', '.join(groups)}." if len(groups) > 1 else "",
    ]
    if REGIONS in groups:
        parts.append("Regions stand for the responses that their fitted predictors give, not for measured responses.")
    if shares_images(similarity):
        parts.append(
            "Values are means over pairs of networks of different seeds, because networks of one seed start from the same "
            "weights and are more similar for that reason. The diagonal (the same condition, another seed) is thus the most "
            "that two conditions can be expected to reach."
        )
    else:
        seeds = len(set(similarity["seed_first"].dropna()) | set(similarity["seed_second"].dropna()))
        parts.append(
            "Networks of one seed only are compared, as there is one seed."
            if seeds < 2
            else f"Values are means over {seeds} seeds, within which networks are compared, as every seed has test images of "
            "its own."
        )
        parts.append(
            "Networks of one seed start from the same weights, which makes them more similar than networks of different "
            "seeds; how similar two networks of one condition are isn't known."
        )
    parts.append("Grey cells: no pair to compare." if empty else "")
    return " ".join([each for each in parts if each] + [CANT_SAY])
