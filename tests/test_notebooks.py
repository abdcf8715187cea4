"""The notebooks of the gallery: the code of the scripts, and each runs alone where nothing of the checkout lies."""

import ast
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("sphinx_gallery", reason="the notebooks are made by sphinx-gallery (extra: docs)")

ROOT = Path(__file__).parents[1]
SCRIPTS = sorted((ROOT / "examples").glob("0*.py"))

# The build of the documentation runs every script whole. What a notebook needs of its surroundings shows in short runs.
SHORT = """
import lightning


def short(self, *arguments, _init=lightning.Trainer.__init__, **options):
    _init(self, *arguments, **{**options, "max_epochs": 1})


lightning.Trainer.__init__ = short
"""


@pytest.fixture(scope="module")
def convert():
    """From a script to its notebook, as the build of the documentation makes it."""
    from sphinx_gallery import notebook
    from sphinx_gallery.gen_gallery import DEFAULT_GALLERY_CONF
    from sphinx_gallery.py_source_parser import split_code_and_text_blocks

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", [*sys.path])
        patch.setattr(notebook, "rst2md", notebook.rst2md)  # which the extension replaces
        conf = runpy.run_path(str(ROOT / "docs/conf.py"))
        assert "notebooks" in conf["extensions"]
        conf["notebooks"].setup(None)
        settings = DEFAULT_GALLERY_CONF | conf["sphinx_gallery_conf"]

        def cells(script, kind):
            made = notebook.jupyter_notebook(split_code_and_text_blocks(script)[1], settings, ROOT / "docs/gallery")
            return ["".join(cell["source"]) for cell in made["cells"] if cell["cell_type"] == kind]

        yield cells


def test_a_figure_is_shown_once(tmp_path, convert):
    import matplotlib.pyplot as plt
    from matplotlib.figure import Figure
    from returned_figures import scrape  # docs/_extensions
    from sphinx_gallery.gen_gallery import DEFAULT_GALLERY_CONF
    from sphinx_gallery.scrapers import ImagePathIterator

    paths = ImagePathIterator(str(tmp_path / "figure_{0:03d}.png"))
    names = {"drawn": plt.figure(), "returned": Figure()}
    about = {"example_globals": names, "image_path_iterator": paths, "src_file": "01.py"}
    settings = DEFAULT_GALLERY_CONF | {"src_dir": str(tmp_path), "matplotlib_animations": (False, None)}
    texts = [scrape(("code", "", 1), about, settings) for _ in range(2)]  # two cells, the second of which draws nothing
    assert [text.count("image-sg::") for text in texts] == [2, 0]
    assert len(list(tmp_path.glob("*.png"))) == 2 and not plt.get_fignums()


def test_there_are_eight_numbered_in_order():
    assert [script.name[:2] for script in SCRIPTS] == [f"{number:02d}" for number in range(1, 9)]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_code_is_that_of_the_script(script, convert):
    first, *code = convert(script, "code")
    assert "pip install" in first and ast.unparse(ast.parse(first)).startswith("import neuroalign")
    whole = ast.parse(script.read_text())
    assert isinstance(whole.body[0], ast.Expr)  # the title
    assert ast.dump(ast.parse("\n".join(code))) == ast.dump(ast.Module(whole.body[1:], []))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_text_needs_no_other_page_to_be_read(script, convert):
    text = "\n".join(convert(script, "markdown"))
    assert re.findall(r":[a-z:]+:`[^`]*`", text) == []
    assert "Where to go next" in text
    for place in re.findall(r"\(`((?:docs|examples)/[^`]+)`\)", text.split("Where to go next")[1]):
        assert (ROOT / place).exists(), place


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_runs_alone_in_an_empty_folder(script, convert, tmp_path):
    here, elsewhere = tmp_path / "here", tmp_path / "elsewhere"
    here.mkdir()
    elsewhere.mkdir()
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-"], input="\n".join([SHORT, *convert(script, "code")]), cwd=here,
        env=os.environ | {"MPLBACKEND": "agg", "TMPDIR": str(elsewhere), "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True, text=True, timeout=500,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.startswith("neuroalign ")
    assert not list(here.iterdir()), "the notebook leaves files in its reader's folder"
