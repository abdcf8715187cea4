"""The border of the package: what is public is listed, documented and frozen; the rest is free to change."""

import ast
import json
import re
from pathlib import Path

import pytest

from neuroalign.moved import former_keywords
from tests.api_surface import (
    FACES,
    FILES,
    FROZEN,
    all_text,
    difference,
    is_by_hand,
    origin,
    public_names,
    signature_text,
    surface,
    with_all,
    written_all,
)

ROOT = Path(__file__).parents[1]
HOW = (
    "if this is meant, run `python -m tests.api_surface --write`, read the diff of git, and tell users in CHANGELOG.md"
)


def test_names_and_signatures_are_those_of_before():
    changes = difference(json.loads(FROZEN.read_text()), surface())
    assert not changes, "\n".join([f"the public surface has changed; {HOW}:", *changes])


@pytest.mark.parametrize("module", [m for m in FILES if m != "neuroalign"])
def test_every_module_lists_what_it_has_that_is_public(module):
    listed, public = written_all(module), public_names()[module]
    assert listed is not None, f"{module} has no __all__; {HOW}"
    assert len(set(listed)) == len(listed)
    if not is_by_hand(module):
        assert set(listed) == public, f"__all__ of {module} isn't what the faces list; {HOW}"
        assert FILES[module].read_text() == with_all(module), f"__all__ of {module} isn't in its place; {HOW}"
    for name in listed:
        place, original = origin(module, name)
        assert original in public_names()[place], f"{module}.{name} is on no face"
        assert original in written_all(place), f"{name} isn't in __all__ of {place}, which defines it; {HOW}"


def test_a_change_reads_as_one_line():
    before = {"a.f": "(x)", "a.g": "(x)", "a.h": "(x)"}
    assert difference(before, {"a.f": "(x)", "a.g": "(x, y=1)", "a.k": "()"}) == [
        "changed: a.g\n    was (x)\n    is  (x, y=1)",
        "gone:    a.h (x)",
        "new:     a.k ()",
    ]


def test_signatures_show_present_names_and_no_annotations():
    @former_keywords(penalty="C")
    def fit(x: int, *, C: float = 1.0, kind: type = dict, names: tuple = ("a",)) -> None: ...

    assert signature_text(fit) == "(x, *, C=1.0, kind=dict, names=('a',))"


def test_long_lists_stand_on_lines_of_their_own():
    assert all_text({"b", "A"}) == '__all__ = ["A", "b"]'
    assert all_text({f"name_{i:03}" for i in range(20)}).startswith('__all__ = [\n    "name_000",\n')


# ----------------------------------------------------------------------------------------------------------------- for users


def user_texts():
    """Python that users read: the blocks of README and docs, and the examples."""
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        yield page, "\n".join(re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL))
    for script in sorted((ROOT / "examples").glob("*.py")):
        yield script, script.read_text()


def names_used(text):
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "neuroalign":
            yield from ((node.module, alias.name) for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from ((alias.name, None) for alias in node.names if alias.name.split(".")[0] == "neuroalign")


def is_public(module, name):
    return module in FACES and (name is None or name in written_all(module) or f"{module}.{name}" in FACES)


@pytest.mark.parametrize(
    ("path", "text"), user_texts(), ids=lambda value: value.name if isinstance(value, Path) else ""
)
def test_users_are_shown_public_names_only(path, text):
    hidden = [f"{module}.{name}" for module, name in names_used(text) if not is_public(module, name)]
    assert not hidden, f"{path.name} shows {', '.join(hidden)}, which no face lists"


def test_a_hidden_name_would_be_seen():
    assert list(names_used("from neuroalign.data.images import collate")) == [("neuroalign.data.images", "collate")]
    assert not is_public("neuroalign.data.images", "collate")
    assert is_public("neuroalign.data", "collate") and is_public("neuroalign", "functional")


PAGES = "".join(page.read_text() for page in sorted((ROOT / "docs/api").glob("*.md")))
ON_PAGES = re.findall(r"automodule:: (\S+)", PAGES)


@pytest.mark.parametrize("module", [m for m, names in public_names().items() if names])
def test_public_names_are_on_an_api_page(module):
    assert module in ON_PAGES, (  # tests/test_pages.py looks for each name's own page
        f"no page of docs/api shows {module}, which has {', '.join(public_names()[module])}"
    )


@pytest.mark.parametrize("module", [m for m in ON_PAGES if m != "neuroalign.config"])  # whose text alone is shown
def test_api_pages_show_no_empty_module(module):
    assert public_names().get(module), f"docs/api shows {module}, which has nothing public"
