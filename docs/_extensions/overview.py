"""All public names on one page, ways back from the source, and a description of every page for search engines.

``.. names:: losses`` stands for a table of what ``docs/api/losses.md`` lists: each name and its first sentence.
"""

import re
from pathlib import Path

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

API = Path(__file__).parents[1] / "api"
LIST = re.compile(r":toctree: generated\n\n((?:   \S+\n)+)")
BACK = re.compile(r"(?<=api/generated/)(?P<page>[\w.]+)\.html#(?P<anchor>[\w.]+)")


def names_on(page: Path) -> list[str]:
    """The names that a page of the reference lists, in its order."""
    blocks = LIST.findall(page.read_text())
    return [line.strip() for block in blocks for line in block.splitlines()]


class Names(SphinxDirective):
    """A table of the names of a page of the reference, with links to their pages."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        page = API / f"{self.arguments[0]}.md"
        self.env.note_dependency(str(page))
        lines = [".. currentmodule:: neuroalign", "", ".. autosummary::"]
        lines += ["   :nosignatures:", "", *(f"   {name}" for name in names_on(page))]
        box = nodes.container(classes=["overview"])
        self.state.nested_parse(StringList(lines, str(page)), self.content_offset, box)
        return [box]


def describe(app: Sphinx, pagename: str, templatename: str, context: dict, doctree) -> None:
    """Give a page its first paragraph as description."""
    if doctree is None or 'name="description"' in context.get("metatags", ""):
        return
    paragraph = next(iter(doctree.findall(nodes.paragraph)), None)
    text = " ".join(paragraph.astext().split()) if paragraph is not None else ""
    if len(text) > 160:
        text = text[:157].rsplit(" ", 1)[0] + " …"
    if text:
        tag = f'<meta name="description" content="{app.builder.templates.environment.filters["e"](text)}" />'
        context["metatags"] = context.get("metatags", "") + tag


def lead_back(app: Sphinx, pagename: str, templatename: str, context: dict, doctree) -> None:
    """Let the links of a source page meet the name under which a page documents it, which viewcode takes from another."""
    if pagename.startswith("_modules/"):
        context["body"] = BACK.sub(_at_its_name, context["body"])


def _at_its_name(link: re.Match[str]) -> str:
    name = link["page"].rpartition(".")[2]
    after = re.search(rf"\.{name}((?:\.\w+)*)$", link["anchor"])
    return f"{link['page']}.html#{link['page']}{after[1]}" if after else link[0]


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("names", Names)
    app.connect("html-page-context", describe)
    app.connect("html-page-context", lead_back)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
