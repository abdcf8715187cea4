"""The pages of the documentation keep what they promise: every public name, every link, every quoted message."""

import ast
import importlib
import re
from pathlib import Path

import pytest

import neuroalign

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted([*DOCS.glob("*.md"), ROOT / "README.md", ROOT / ".github/CONTRIBUTING.md"])


def names_with_pages():
    text = "\n".join(path.read_text() for path in (DOCS / "api").glob("*.md"))
    listed = re.findall(r":toctree: generated\n\n((?:   \S+\n)+)", text)
    return {f"neuroalign.{line.strip()}" for block in listed for line in block.splitlines()}


def public_names():
    """The name under which users import each public name: from the root if it is there."""
    for room in neuroalign._ROOMS:
        module = importlib.import_module(f"neuroalign.{room}")
        for name in module.__all__:
            yield room, name, getattr(module, name)


def test_every_public_name_has_a_page_of_its_own():
    pages, last = names_with_pages(), {name.rpartition(".")[2] for name in names_with_pages()}
    for room, name, _ in public_names():
        at_root = neuroalign._ROOM_OF.get(name) == room
        there = f"neuroalign.{name}" if at_root else f"neuroalign.{room}.{name}"
        assert there in pages or (name.isupper() and name in last) or (room == "config" and name in last), (
            f"{there} has no page: add it to docs/api/{room}.md"
        )


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        path, _, anchor = target.partition("#")
        if "://" in path or path.startswith("mailto:"):
            continue
        file = page if not path else (page.parent / path)
        if page.name == "CONTRIBUTING.md" and path and not file.exists():
            file = ROOT / path
        assert file.exists(), f"{page.name} links to {target}"
        if anchor and file.suffix == ".md":
            heads = [
                re.sub(r"[^\w\- ]", "", h.lower()).strip().replace(" ", "-")
                for h in re.findall(r"^#+ (.*)$", file.read_text(), re.M)
            ]
            assert anchor in heads, f"{page.name} links to {target}, which {file.name} has no heading for"
    for name in re.findall(r"\{doc\}`(?:[^`<]*<)?([^`>]+)>?`", text):
        generated = name.startswith("gallery/")
        source = ROOT / "examples" / f"{name.removeprefix('gallery/')}.py" if generated else page.parent / f"{name}.md"
        assert source.exists() or name == "gallery/index", f"{page.name} links to the page {name}"


def test_messages_in_troubleshooting_exist():
    sources = " ".join(path.read_text() for path in (ROOT / "neuroalign").rglob("*.py"))
    sources = re.sub(r'"\s*\n\s*f?"', "", sources)
    table = (DOCS / "troubleshooting.md").read_text().split("## Errors")[1].split("## Slow")[0]
    told = [row.split("|")[1].strip() for row in table.splitlines() if row.startswith("| `")]
    assert len(told) > 5
    for message in told:
        for part in re.split(r"\.\.\.|'[^']*'|\d+", message.strip("`")):
            part = part.strip(" `;:")
            foreign = "Lightning" in message or "CUDA" in message
            if len(part) > 8 and not part.startswith("unknown ") and not foreign:
                assert part in sources, f"{part!r} of {message} stands in no message"


COLUMNS = 88
"""Columns of code that the pages show at a width of 1280 px without scrolling."""


def fenced(path):
    """Line numbers and lines of the code blocks of a Markdown page; directives such as notes are text."""
    inside = None
    for number, line in enumerate(path.read_text().splitlines(), 1):
        fence = re.match(r"\s*(`{3,}|:{3,})(.*)$", line)
        if fence:
            inside = (fence[2] or "text") if inside is None else None
        elif inside and (not inside.startswith("{") or "code" in inside):
            yield number, line


def in_docstrings(path):
    """Line numbers and lines of the examples in the docstrings of a module, without their indentation."""
    if ">>>" not in (source := path.read_text()):
        return
    for node in ast.walk(ast.parse(source)):
        documented = isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        text = ast.get_docstring(node, clean=False) if documented else None
        indent = None
        for number, line in enumerate(text.split("\n") if text else [], node.body[0].lineno if text else 0):
            if indent is None and (prompt := re.match(r"( *)>>> ", line)):
                indent = len(prompt[1])
            elif not line.strip():
                indent = None
            if indent is not None:
                yield number, line[indent:]


def whole(path):
    return enumerate(path.read_text().splitlines(), 1)


CODE = {
    "pages": (fenced, [*PAGES, *(DOCS / "api").glob("*.md")]),
    "examples": (whole, [path for kind in ("py", "yaml") for path in (ROOT / "examples").rglob(f"*.{kind}")]),
    "docstrings": (in_docstrings, (ROOT / "neuroalign").rglob("*.py")),
}


@pytest.mark.parametrize("kind", CODE)
def test_code_that_readers_see_fits_its_box(kind):
    read, paths = CODE[kind]
    lines = [(path.relative_to(ROOT), *found) for path in sorted(paths) for found in read(path)]
    assert len(lines) > 500
    wide = [f"{path}:{number}: {len(line)}: {line}" for path, number, line in lines if len(line) > COLUMNS]
    assert not wide, f"more than {COLUMNS} columns:\n" + "\n".join(wide)
