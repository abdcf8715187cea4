"""The pages of the documentation keep what they promise: every public name, every link, every quoted message."""

import ast
import importlib
import re
from pathlib import Path

import pytest
import yaml

import neuroalign
from tests.page_names import described_classes, shell_commands, wrong_argument, wrong_name, wrong_option
from tests.test_architecture import ROWS

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


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_names_in_backticks_exist(page):
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    wrong = {span: wrong_name(re.sub(r"\s+", " ", span)) for span in re.findall(r"(?<!`)`([^`]+)`(?!`)", text)}
    assert not (wrong := {span: why for span, why in wrong.items() if why}), wrong


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_and_benchmarks_that_pages_name_exist(page):
    text = page.read_text()
    named = re.findall(r"(?<![\w/.])((?:examples|tests|docs)/[\w/.-]+\.(?:py|yaml|md|json))", text)
    named += [f"{name.replace('.', '/')}.py" for name in re.findall(r"python -m (tests[\w.]+)", text)]
    assert not (absent := [name for name in named if not (ROOT / name).exists()]), absent


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_and_options_of_pages_exist(page):
    wrong = {" ".join(words): wrong_option(words) for words in shell_commands(page.read_text())}
    assert not (wrong := {line: why for line, why in wrong.items() if why}), wrong


@pytest.mark.parametrize(
    ("span", "why"),
    [
        ("neuroalign.losses.NoSuchLoss", "no such name"),
        ("neuroalign.nowhere", "no such name"),
        ("NeuralAlignmentLos", "no such public name"),
        ("evaluate_robustnes(network)", "no such public name"),
        ("GuidedNetwork.lod", "GuidedNetwork has no lod"),
        ("evaluate_robustness(network, loader, epz=[1])", "takes no epz"),
        ("GuidedNetwork.load(path, backbon=MyNet())", "takes no backbon"),
    ],
)
def test_wrong_names_are_found(span, why):
    assert why in wrong_name(span)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("neuroalign evaluat --ckpt x", "no command"),
        ("neuroalign evaluate --checkpoint x", "no option '--checkpoint'"),
        ("neuroalign nsd extract ROOT --subjects 1", "no option '--subjects'"),
        ("neuroalign fit --trainer.max_epoch 3", "no option '--trainer.max_epoch'"),
        ("neuroalign fit --data.rio V1", "no option '--data.rio'"),
        ("neuroalign test --out x", "no option '--out'"),
    ],
)
def test_wrong_options_are_found(line, why):
    (words,) = shell_commands(f"```bash\n{line}\n```")
    assert why in wrong_option(words)
    (words,) = shell_commands(f"text `{line}` text")
    assert why in wrong_option(words)


def ratios(page):
    """The numbers of a page's tables of benchmarks, by command."""
    found, command = {}, ""
    for row in page.read_text().splitlines():
        cells = [cell.strip() for cell in row.strip().strip("|").split(" | ")]
        if not row.startswith("|") or len(cells) < 3:
            continue
        named = [cell for cell in cells if "python -m tests.benchmarks" in cell]
        command = named[0] if named else command if "the same" in cells else ""
        if command:
            found.setdefault(command, set()).update(
                re.findall(r"(?<!\w)\d+(?:\.\d+)?", cells[1] if len(cells) == 3 else cells[2])
            )
    return found


def test_every_ratio_of_the_readme_is_among_the_benchmarks():
    in_table, in_readme = ratios(DOCS / "benchmarks.md"), ratios(ROOT / "README.md")
    assert len(in_readme) > 2
    for command, numbers in in_readme.items():
        assert numbers <= in_table[command], (
            f"{command}: {numbers - in_table[command]} of the README isn't in docs/benchmarks.md"
        )


def test_the_table_of_extras_is_complete():
    declared = re.search(
        r"\[project.optional-dependencies\]\n(.*?)\n\[", (ROOT / "pyproject.toml").read_text(), re.DOTALL
    )[1]
    listed = re.findall(r"^\| `(\w+)` \|", (DOCS / "install.md").read_text(), re.MULTILINE)
    assert sorted(re.findall(r"^(\w+) = ", declared, re.MULTILINE)) == sorted(listed)


def test_the_table_of_where_a_line_goes_names_every_subpackage():
    table = (ROOT / ".github/CONTRIBUTING.md").read_text().split("## Where does my line go?")[1].split("\n## ")[0]
    levels = {
        name.partition("/")[0].removesuffix(".py"): int(level)
        for level, names in re.findall(r"^\| (\d) \|.*\| ([^|]+) \|$", table, re.MULTILINE)
        for name in re.findall(r"`([\w/.]+)`", names)
    }
    packages = {path.parent.name for path in (ROOT / "neuroalign").glob("*/__init__.py")}
    assert packages <= set(levels)
    assert all(name in ROWS[level] for name, level in levels.items())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_configurations_on_pages_name_classes_and_arguments_that_exist(page):
    for block in re.findall(r"```yaml\n(.*?)```", page.read_text(), re.DOTALL):
        for path, arguments in described_classes(yaml.safe_load(block)):
            assert (wrong := wrong_argument(path, arguments)) is None, wrong


def test_wrong_arguments_are_found():
    assert wrong_argument("neuroalign.data.NSDDataModule", {"root": "nsd", "rio": "V1"}).endswith("takes no rio")
    assert wrong_argument("lightning.pytorch.callbacks.ModelCheckpont", {}).startswith("there is no")
    assert wrong_argument("torch.optim.AdamW", {"lr": 0.1}) is None


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
