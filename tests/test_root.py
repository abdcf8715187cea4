"""The root of the package: lazy names and subpackages, near matches, and what type checkers see of both."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import neuroalign


def test_subpackages_are_attributes():
    code = "import neuroalign; print(neuroalign.functional.rsa.__name__, neuroalign.study.verdict.__name__)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["rsa", "verdict"]
    assert {"functional", "plot", "study"} <= set(dir(neuroalign))


def test_a_misspelt_name_says_what_it_resembles():
    with pytest.raises(AttributeError, match="no attribute 'NeuralAlignmentLos'; did you mean NeuralAlignmentLoss"):
        _ = neuroalign.NeuralAlignmentLos
    with pytest.raises(ImportError, match=r"cannot import name 'NeuralAlignmentLos'.*did you mean NeuralAlignmentLoss"):
        from neuroalign import NeuralAlignmentLos  # noqa: F401
    with pytest.raises(AttributeError, match="did you mean functional"):
        _ = neuroalign.functonal
    assert not hasattr(neuroalign, "NeuralAlignmentLos")
    assert getattr(neuroalign, "NeuralAlignmentLos", None) is None


def test_type_checkers_see_what_is_loaded_lazily():
    tree = ast.parse(Path(neuroalign.__file__).read_text())
    block = next(n for n in tree.body if isinstance(n, ast.If) and ast.unparse(n.test) == "TYPE_CHECKING")
    seen = {(node.module, alias.name) for node in block.body for alias in node.names}
    assert all(alias.asname == alias.name for node in block.body for alias in node.names)  # as: exported
    names = {(f"neuroalign.{room}", name) for name, room in neuroalign._ROOM_OF.items()}
    assert seen == names | {("neuroalign", room) for room in neuroalign._ROOMS}


@pytest.mark.slow
def test_mypy_knows_the_types(tmp_path):
    pytest.importorskip("mypy")
    (tmp_path / "user.py").write_text("from neuroalign import list_heads\nreveal_type(list_heads())\n")
    command = [sys.executable, "-m", "mypy", "--follow-imports=silent", "--ignore-missing-imports"]
    command += [f"--cache-dir={tmp_path}", str(tmp_path / "user.py")]
    found = subprocess.run(command, capture_output=True, text=True, cwd=Path(neuroalign.__file__).parents[1])
    assert re.search(r"list\[(builtins\.)?str\]", found.stdout), found.stdout + found.stderr


def test_lists_are_sorted_and_filtered():
    assert neuroalign.list_heads("*linear") == ["linear", "pooled_linear"]
    for found in (neuroalign.list_measures(), neuroalign.list_heads(), neuroalign.list_attacks()):
        assert found == sorted(found) and len(found) > 5
    assert "SquareAttack" in neuroalign.list_attacks() and "Attack" not in neuroalign.list_attacks()
    assert neuroalign.list_measures("nothing*") == []


@pytest.mark.parametrize("name", ["Normalize", "Ramp", "RandomFourierFeatures", "untrained"])
def test_names_left_to_their_subpackages_still_work_and_warn(name):
    with pytest.warns(DeprecationWarning, match=rf"neuroalign\.\w+\.{name} now"):
        assert getattr(neuroalign, name).__name__ == name
    assert name not in neuroalign.__all__
