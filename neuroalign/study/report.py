"""Output of a study: tables, figures, an HTML page with both, and tables for the terminal."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from rich.table import Table

from neuroalign.evaluation.comparison import Comparison
from neuroalign.files import whole
from neuroalign.study.verdicts import interval_meaning

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__: list[str] = []


def accuracy_by_condition(images: pd.DataFrame) -> pd.DataFrame:
    """Accuracy from per-image outcomes: one row per condition, replication and budget."""
    keys = ["condition", "replication", "perturbation", "eps"]
    table = images.groupby(keys, sort=False)["correct"].agg(["mean", "size"]).reset_index()
    return table.rename(columns={"mean": "accuracy", "size": "num_images"})


def summary_table(accuracy: pd.DataFrame, spread: Sequence[str] | None = None) -> pd.DataFrame:
    """Mean and standard deviation over replications, one row per condition: clean, each budget, and the mean over budgets.

    Args:
        accuracy: From :func:`accuracy_by_condition`.
        spread: Columns that show the standard deviation; None means all.
    """
    attacked = accuracy[accuracy["eps"] > 0].groupby(["condition", "replication"], sort=False)["accuracy"].mean()
    wide = accuracy.pivot_table(index=["condition", "replication"], columns="eps", values="accuracy", sort=False)
    wide["mean"] = attacked
    wide.columns = ["clean" if c == 0 else c if c == "mean" else f"ε {c:g}" for c in wide.columns]
    stats = wide.groupby("condition", sort=False).agg(["mean", "std"])
    return pd.DataFrame({
        column: [
            f"{mean:.3f}" + (f" ± {std:.3f}" if pd.notna(std) and (spread is None or column in spread) else "")
            for mean, std in stats[column].itertuples(index=False)
        ]
        for column in dict.fromkeys(stats.columns.get_level_values(0))
    }, index=stats.index)  # fmt: skip


def rich_table(table: pd.DataFrame, title: str) -> Table:
    """A table for the terminal."""
    result = Table(title=title, title_justify="left", title_style="bold")
    result.add_column(str(table.index.name or ""))
    for column in table.columns:
        result.add_column(str(column), justify="right")
    for name, row in table.iterrows():
        result.add_row(str(name), *map(str, row))
    return result


def _listed(sentences: Iterable[str]) -> str:
    return "<ul>" + "".join(f"<li>{html.escape(each)}</li>" for each in sentences) + "</ul>"


def _embedded(figure: Figure | bytes) -> str:
    if isinstance(figure, bytes):
        return base64.b64encode(figure).decode()
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=120, format="png")
    return base64.b64encode(buffer.getvalue()).decode()


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 60em; margin: 2em auto; padding: 0 1em; color: #222 }}
table {{ border-collapse: collapse; font-size: 14px }} td, th {{ padding: .25em .7em; text-align: right }}
th:first-child, td:first-child {{ text-align: left }} tr:nth-child(even) {{ background: #f4f4f4 }}
figure {{ margin: 2em 0 }} img {{ max-width: 100% }} figcaption {{ color: #555; font-size: 14px }}
.wide {{ overflow-x: auto }}
.words td, .words th {{ text-align: left; vertical-align: top }}
.settings td {{ text-align: left; vertical-align: top; white-space: pre-wrap; overflow-wrap: anywhere }}
.verdict {{ border-left: 4px solid #0072B2; padding: .2em 1em; background: #f4f8fb }}
</style></head><body>
<h1>{title}</h1>
<div class="verdict">{verdict}</div>
{sections}
</body></html>
"""


def _kind(table: pd.DataFrame) -> str:
    """The style of a table: words stand left, numbers right."""
    numbers = table.astype(str).apply(lambda column: column.str.contains(r"[0-9]\.[0-9]"))
    return "numbers" if bool(numbers.any(axis=None)) else "words"


def write_html(
    path: Path,
    *,
    title: str,
    verdict: Sequence[str],
    methods: str,
    tables: Mapping[str, pd.DataFrame],
    figures: Mapping[str, tuple[Figure | bytes, str]],
    comparisons: Sequence[Comparison],
    settings: Mapping[str, Any],
    meaning: str = "",
    notes: Mapping[str, Sequence[str]] | None = None,
) -> None:
    """Write one HTML page that needs no other file.

    Args:
        path: File to write.
        title: Heading.
        verdict: Sentences at the top.
        methods: What was done; an empty line begins a new paragraph.
        tables: Tables by heading.
        figures: Figures (or their PNG files' bytes) by heading, each with its caption.
        comparisons: Paired differences.
        settings: Plain values by name.
        meaning: What the intervals are over; empty takes it from the first comparison.
        notes: Lists of sentences by heading; empty lists are left out.
    """
    paragraphs = "".join(f"<p>{html.escape(each)}</p>" for each in methods.split("\n\n"))
    parts = [f"<h2>What was done</h2>{paragraphs}"]
    parts += [
        f"<h2>{html.escape(name)}</h2><div class='wide'>{table.to_html(border=0, classes=_kind(table))}</div>"
        for name, table in tables.items()
    ]
    if comparisons:
        parts.append(
            "<h2>Paired differences</h2><p>Accuracy averaged over the attack budgets, treatment minus control, with a "
            f"{comparisons[0].confidence * 100:g} % interval, and the number of replications in which the treatment was "
            "higher. "
            f"{html.escape(meaning or interval_meaning(comparisons[0]))}</p>{_listed(map(str, comparisons))}"
        )
    for name, sentences in (notes or {}).items():
        if sentences:
            parts.append(f"<h2>{html.escape(name)}</h2>{_listed(sentences)}")
    for name, (figure, caption) in figures.items():
        image = f'<img alt="{html.escape(caption)}" src="data:image/png;base64,{_embedded(figure)}">'
        parts.append(
            f"<figure><h2>{html.escape(name)}</h2>{image}<figcaption>{html.escape(caption)}</figcaption></figure>"
        )
    rows = "".join(f"<tr><td>{html.escape(k)}</td><td>{html.escape(str(v))}</td></tr>" for k, v in settings.items())
    parts.append(f'<h2>Settings</h2><table class="settings">{rows}</table>')
    page = _PAGE.format(
        title=html.escape(title),
        verdict="".join(f"<p>{html.escape(sentence)}</p>" for sentence in verdict),
        sections="\n".join(parts),
    )
    with whole(path) as temporary:
        temporary.write_text(page, encoding="utf-8")
