"""Notebooks of the gallery for a reader who has only the notebook: what to install, and which page a reference means."""

import re
from pathlib import Path

from sphinx.application import Sphinx
from sphinx_gallery import notebook

DOCS = Path(__file__).parents[1]

FIRST_CELL = """\
# This notebook needs neuroalign, which is not on a package index yet. Install it from a
# checkout (a folder with its pyproject.toml), or from a wheel, which is built in the
# checkout by `pip wheel --no-deps .`:
#     %pip install PATH/TO/CHECKOUT
#     %pip install PATH/TO/neuroalign-VERSION-py3-none-any.whl
import neuroalign

print("neuroalign", neuroalign.__version__)
"""

REFERENCE = re.compile(r":doc:`(?:([^`<]*?)\s*<)?/([^`>]+)>?`")


def spell_out(text: str) -> str:
    """Say the title and the file of each page that a text refers to, since a notebook has no links to pages.

    Raises:
        FileNotFoundError: If there is no such page.
    """
    return REFERENCE.sub(lambda found: f"*{found[1] or _title(found[2])}* (`{_source(found[2])}`)", text)


def _source(page: str) -> str:
    """The file of a page in the checkout."""
    folder, _, name = page.rpartition("/")
    return f"examples/{name}.py" if folder == "gallery" else f"docs/{page}.md"


def _title(page: str) -> str:
    text = (DOCS.parent / _source(page)).read_text()
    return text.strip('" \n').splitlines()[0].lstrip("# ")


def setup(app: Sphinx) -> dict[str, bool]:
    """Spell references out in the Markdown of notebooks; the pages themselves keep their links."""
    convert = notebook.rst2md
    notebook.rst2md = lambda text, *others, **options: convert(spell_out(text), *others, **options)
    return {"parallel_read_safe": True}
