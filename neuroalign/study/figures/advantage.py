"""Differences between treatments and their controls, budget by budget."""

from __future__ import annotations

import math
from collections.abc import Sequence

from neuroalign.plot import plot_differences
from neuroalign.study.comparing import Compared
from neuroalign.study.figures.captioned import Captioned, said

__all__: list[str] = []


def advantage_figure(compared: Sequence[Compared], origin: str) -> Captioned:
    """Each treatment's accuracy minus that of its controls at every budget, a panel per treatment and attack.

    Args:
        compared: Comparisons, at least one.
        origin: A word on simulated subjects; may be empty.
    """
    from matplotlib.figure import Figure

    panels: dict[tuple[str, str], list[Compared]] = {}
    for each in compared:
        panels.setdefault((each.comparison.treatment, each.measure), []).append(each)
    columns = min(2, len(panels))
    rows = math.ceil(len(panels) / columns)
    figure = Figure(figsize=(8.6 * columns, 0.6 + 4.2 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, sharey=True, squeeze=False).flatten()
    several = len({measure for _, measure in panels}) > 1
    for ax, ((treatment, measure), group) in zip(axes, panels.items()):
        tables = {each.comparison.control: each.comparison.table for each in group}
        decides = all(each.comparison.decides for each in group)
        plot_differences(tables, ax=ax, title=f"{treatment}{f', {measure}' if several else ''}", decides=decides)
    for ax in axes[len(panels) :]:
        ax.set_visible(False)
    figure.suptitle(f"Accuracy minus that of each control{f' ({origin})' if origin else ''}", fontsize=12)
    confidence = compared[0].comparison.confidence * 100
    caption = (
        f"Accuracy of the treatment minus that of each control at every budget{said(origin)}, with {confidence:g} % "
        "intervals that aren't corrected for their number. A hollow mark stands where the interval includes 0, so that no "
        "difference is shown."
    )
    return Captioned(figure, caption)
