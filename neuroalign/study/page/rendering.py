"""A study's page as HTML: one file that needs no other, runs no script and asks for nothing over a network."""

from __future__ import annotations

from importlib.resources import files

from neuroalign.study.page.parts import Page

__all__: list[str] = []

MOST_ROWS = 24
"""Tables and lists that are longer than that are folded, so that sections can be found by scrolling."""


def html_of(page: Page) -> str:
    """The page; whatever comes from a study's file, from errors or from tables is text, never markup.

    Args:
        page: What stands on it.
    """
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    folder = files("neuroalign.study.page")
    environment = Environment(autoescape=True, undefined=StrictUndefined, keep_trailing_newline=True)
    template = environment.from_string((folder / "report.html.j2").read_text(encoding="utf-8"))
    style = Markup((folder / "report.css").read_text(encoding="utf-8").strip())
    return template.render(page=page, style=style, most_rows=MOST_ROWS)
