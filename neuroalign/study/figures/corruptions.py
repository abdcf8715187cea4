"""Errors on corrupted images."""

from __future__ import annotations

import numpy as np
import pandas as pd

from neuroalign.plot.styles import t_intervals
from neuroalign.study.figures.captioned import Captioned, said
from neuroalign.study.figures.conditions import Conditions
from neuroalign.study.figures.layout import new_figure
from neuroalign.study.figures.rows import dots_by_condition, matrix

__all__: list[str] = []

MEAN, EACH = "mean error under corruptions", "corruption accuracy "


def corruptions_figure(rows: pd.DataFrame, conditions: Conditions) -> Captioned:
    """The mean error of each condition, and a map of its error under every corruption.

    Args:
        rows: Columns ``label``, ``replication``, ``measure``, ``eps`` (severity), ``value``: a mean over subjects each.
        conditions: Order, groups and styles of the conditions.
    """
    means = rows[rows["measure"] == MEAN].dropna(subset=["value"])
    each = rows[rows["measure"].astype(str).str.startswith(EACH)].dropna(subset=["value"])
    each = each.assign(corruption=each["measure"].str.removeprefix(EACH).str.replace("_", " "), error=1 - each["value"])
    shown = conditions.ordered(set(means["label"]) | set(each["label"]))
    names = list(dict.fromkeys(each["corruption"]))
    figure = new_figure(
        1.9 + 0.22 * len(shown) + (1.6 + 0.22 * len(shown)), "Errors on corrupted images", conditions.origin
    )
    above, below = figure.subplots(2, 1)
    dots_by_condition(above, means, "value", t_intervals(means, "label", "value"), shown, conditions)
    above.set_xlabel("mean error over corruptions and severities (share of images)", fontsize=9)
    errors = (
        each.groupby(["label", "corruption"])["error"].mean().unstack("corruption").reindex(index=shown, columns=names)
    )
    values = errors.to_numpy(float)
    lightest = max(0.0, 1.4 * float(np.nanmin(values)) - 0.4 * float(np.nanmax(values)))
    matrix(below, values, shown, names, label="error, %", smallest=lightest)
    below.tick_params(axis="x", rotation=60)
    for text in below.get_xticklabels():
        text.set(ha="left", rotation_mode="anchor")
    severities = ", ".join(f"{severity:g}" for severity in sorted(set(each["eps"].astype(float))))
    seeds = int(means.groupby("label")["replication"].nunique().max()) if len(means) else 0
    interval = (
        f" with 95 % t intervals over at most {seeds} seeds" if seeds > 1 else "; with one seed there are no intervals"
    )
    return Captioned(
        figure,
        f"Above: error averaged over {len(names)} corruptions at severities {severities}{said(conditions.origin)}; "
        f"points are seeds, large marks means{interval}. Below: error under each corruption in %, mean over severities and "
        "seeds; darker is worse. Errors aren't divided by those of a reference network, so they can't be compared with "
        "published mCE.",
    )
