"""The small table at the top of a study's page: every comparison with its uncertainty."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from neuroalign.evaluation.comparison import Comparison
from neuroalign.study.page.parts import Grid, links_to
from neuroalign.study.page.words import counted, grid_of, interval_text, p_text

if TYPE_CHECKING:
    from neuroalign.study.findings import Tables

__all__: list[str] = []


def comparisons_grid(tables: Tables, folder: Path) -> Grid:
    """Every comparison: treatment, control, difference, interval, p, p after correction, outcome in words, n and unit.

    A fast run has no outcomes, because its numbers mean nothing.

    Args:
        tables: The study's tables, with a comparison at least.
        folder: The folder of the page.
    """
    several = len({each.measure for each in tables.compared}) > 1
    rows = []
    for each, row in zip(tables.compared, tables.comparisons.to_dict("records")):
        c = each.comparison
        rows.append({
            "Treatment": c.treatment, "Control": c.control, "Attack": each.measure if several else "",
            "Difference": f"{c.difference:+.3f}", f"{c.confidence * 100:g} % interval": interval_text(c.low, c.high),
            "p": p_text(row.get("p")), "p after Holm": p_text(row.get("p_holm")),
            "p of equality after Holm": p_text(row.get("p_equivalence_holm")),
            "Outcome": "" if tables.facts["fast"] else outcome_text(c),
            "n": counted(c.num_units, c.unit),
        })  # fmt: skip
    table = pd.DataFrame(rows)
    shown = table.loc[:, (table != "").any()].set_index("Treatment")
    origin = f" ({tables.origin})" if tables.origin else ""
    title = f"Accuracy of each treatment minus that of its controls, averaged over the budgets above 0{origin}"
    return grid_of(title, shown, links_to(folder, ["comparisons.csv"]), "numbers")


def outcome_text(comparison: Comparison) -> str:
    """What a comparison shows, in words.

    Args:
        comparison: The comparison, corrected for the number of comparisons or not.

    Example:
        >>> outcome_text(Comparison("TO", "none", 0.01, -0.02, 0.04, 3, 4, 300))
        'no clear difference; up to +0.040 not excluded'
    """
    c = comparison
    if not c.decides:
        return "one replication decides nothing"
    if c.outcome == "equivalent":
        return f"equal to within {c.equivalence:g}"
    if c.outcome in ("higher", "lower"):
        return f"{c.outcome}, but by less than {c.equivalence:g}" if c.equivalent else c.outcome
    if c.lost_to_correction:
        return "not significant after Holm's correction"
    equal = "" if c.equivalence is None else f", so not shown to be equal to within {c.equivalence:g}"
    return f"no clear difference; up to {c.largest:+.3f} not excluded{equal}"
