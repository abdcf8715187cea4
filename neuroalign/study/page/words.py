"""Tables of numbers as tables of texts that people read."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import pandas as pd

from neuroalign.study.page.parts import Grid, Link

__all__: list[str] = []

HEADINGS = {
    "treatment": "Treatment", "control": "Control", "condition": "Condition", "difference": "Difference", "p": "p",
    "p_holm": "p after Holm", "outcome": "Outcome", "measure": "Measure", "scope": "Scope", "layer": "Layer",
    "hierarchy": "Order", "statistic": "Statistic", "effect": "Change per step", "rho": "Mean rank correlation",
    "num_images": "Images", "slope": "Slope per sd", "partial_r": "Partial r", "r": "r", "expected": "Expected",
    "note": "Note", "test": "Test", "df": "df", "mixed_effect": "Change per step (mixed model)",
    "mixed_p": "p (mixed model)", "mixed_note": "Note (mixed model)", "num_seeds": "Seeds", "num_subjects": "Subjects",
}  # fmt: skip
_INTERVALS = {"": "", "partial_": " of partial r", "mixed_": " (mixed model)"}
_SIGNED = ("difference", "effect", "mixed_effect", "slope", "partial_r", "r", "rho")
_WORDS = ("outcome", "scope", "layer", "hierarchy", "note", "test", "mixed_note", "measure", "control")


def p_text(p: Any) -> str:
    """A p value in three decimals; empty if there is none.

    Example:
        >>> p_text(0.0312), p_text(0.0002), p_text(float("nan"))
        ('0.031', '< 0.001', '')
    """
    if pd.isna(p):
        return ""
    return "< 0.001" if float(p) < 0.001 else f"{float(p):.3f}"


def interval_text(low: Any, high: Any) -> str:
    """An interval with the signs of its ends; empty if there is none.

    Example:
        >>> interval_text(-0.01, 0.2), interval_text(float("nan"), 1.0)
        ('[-0.010, +0.200]', '')
    """
    return "" if pd.isna(low) or pd.isna(high) else f"[{float(low):+.3f}, {float(high):+.3f}]"


def counted(number: Any, unit: str) -> str:
    """A number of units, such as "4 replications".

    Example:
        >>> counted(1, "subject"), counted(8, "subject"), counted(6, "networks")
        ('1 subject', '8 subjects', '6 networks')
    """
    if pd.isna(number):
        return ""
    plural = "" if float(number) == 1 or unit.endswith("s") else "s"
    return f"{number:g} {unit}{plural}" if unit else f"{number:g}"


def texts_of(table: pd.DataFrame) -> pd.DataFrame:
    """A table of results in words: intervals in one column, n with its unit, columns without content left out.

    Args:
        table: Numbers and words; ``low`` and ``high`` (and ``partial_low``, ``mixed_low``, ...) are the ends of intervals,
            ``p`` and ``p_holm`` p values, ``n`` and ``unit`` a number of units.

    Returns:
        Texts, in columns with headings for people.
    """
    found: dict[str, list[str]] = {}
    for name in map(str, table):
        column = table[name]
        if name == "unit" and "n" in table:
            continue
        if name.endswith("low") and f"{name[:-3]}high" in table:
            prefix = name[:-3]
            heading = f"95 % interval{_INTERVALS.get(prefix, f' ({prefix})'.replace('_', ''))}"
            found[heading] = [interval_text(low, high) for low, high in zip(column, table[f"{prefix}high"])]
        elif name.endswith("high") and f"{name[:-4]}low" in table:
            continue
        elif name == "n" and "unit" in table:
            found["n"] = [counted(n, "" if pd.isna(unit) else str(unit)) for n, unit in zip(column, table["unit"])]
        else:
            found[HEADINGS.get(name, name.replace("_", " ").capitalize())] = [_cell(name, value) for value in column]
    return pd.DataFrame({name: cells for name, cells in found.items() if any(cells)}, index=table.index)


def constant(table: pd.DataFrame, column: str) -> str:
    """The value of a column that has only one; empty otherwise."""
    values = list(dict.fromkeys(str(v) for v in table[column] if not pd.isna(v))) if column in table else []
    return values[0] if len(values) == 1 else ""


def measure_text(name: str) -> str:
    """The name of a measure as a heading: its budget named as one, without what the section says already.

    Example:
        >>> (
        ...     measure_text("loss (adversarial) 0.0157"),
        ...     measure_text("corruption accuracy gaussian_noise 3"),
        ... )
        ('loss (adversarial), ε 0.0157', 'gaussian noise 3')
    """
    for known in ("corruption accuracy ", "masking: ", "masking "):
        name = name.removeprefix(known)
    return re.sub(r" (0\.\d+)$", r", ε \1", name.replace("_", " "))


def grid_of(title: str, texts: pd.DataFrame, links: Sequence[Link] = (), kind: str = "") -> Grid:
    """A table of texts for the page.

    Args:
        title: What it shows.
        texts: Its cells; a named index becomes the first column.
        links: The files with its numbers.
        kind: "numbers" or "words"; empty finds out.
    """
    named = texts.reset_index() if texts.index.name else texts
    cells = named.astype(str)
    headings = {HEADINGS[word] for word in _WORDS}
    return Grid(
        title,
        [str(name) for name in cells],
        cells.to_numpy().tolist(),
        kind or _kind(cells),
        links,
        frozenset(headings),
    )


def _cell(name: str, value: Any) -> str:
    if not isinstance(value, str) and pd.isna(value):
        return ""
    if isinstance(value, str):
        return value
    if name == "p" or name.endswith(("p_holm", "_p")):
        return p_text(value)
    if name in _SIGNED:
        return f"{float(value):+.3f}"
    return str(value) if isinstance(value, bool) else f"{value:.4g}"


def _kind(cells: pd.DataFrame) -> str:
    """Numbers stand right, words left."""
    numbers = cells.iloc[:, 1:].apply(lambda column: column.str.contains("[0-9][.][0-9]"))
    return "numbers" if bool(numbers.any(axis=None)) else "words"
