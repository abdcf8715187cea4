"""The rooms of the package, and that imports between them point down only."""

import ast
import graphlib
import subprocess
import sys
from pathlib import Path

import pytest

import neuroalign

PACKAGE = Path(neuroalign.__file__).parent
# fmt: off
ROWS = [
    {"moved", "version"},
    {"types", "addresses", "array_headers", "checksums", "files", "hdf5", "processes", "state"},
    {"config", "functional", "tensor_files"},
    {"losses", "metrics", "models", "perturbations", "data", "plot"},
    {"guidance", "evaluation"},
    {"tasks", "callbacks"},
    {"study"},
    {"commands"},
    {"__main__"},
]
# fmt: on
ROW_OF = {room: row for row, rooms in enumerate(ROWS) for room in rooms}
FILES = sorted(p for p in PACKAGE.rglob("*.py") if p != PACKAGE / "__init__.py")


def room_of(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_rooms(path):
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names = [f"{node.module}.{a.name}" if node.module == "neuroalign" else node.module for a in node.names]
        elif isinstance(node, ast.Import):
            names = [a.name for a in node.names]
        for name in names:
            parts = name.split(".")
            if parts[0] == "neuroalign" and len(parts) > 1 and parts[1] in ROW_OF:
                yield parts[1]


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_down(path):
    room = room_of(path)
    assert room in ROW_OF, f"{path.name} is in no room of the plan"
    for other in imported_rooms(path):
        assert other == room or ROW_OF[other] < ROW_OF[room], f"{room} imports {other}, which is not below it"


def test_an_upward_import_would_be_seen(tmp_path):
    bad = tmp_path / "losses.py"
    bad.write_text("from neuroalign.tasks import GuidedClassificationTask\n")
    assert list(imported_rooms(bad)) == ["tasks"]


def module_of(path):
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported_modules(path, modules):
    """Modules of the package that a file imports, at once or within a function; imports for type checkers apart."""
    tree = ast.parse(path.read_text())
    typing = [n for n in ast.walk(tree) if isinstance(n, ast.If) and ast.unparse(n.test) == "TYPE_CHECKING"]
    skipped = {id(inner) for n in typing for body in n.body for inner in ast.walk(body)}
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in modules else node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def import_graph(package=PACKAGE):
    """What each module imports. A package's ``__init__`` stands for the face that others import."""
    files = {module_of(path): path for path in package.rglob("*.py") if path != package / "__init__.py"}
    return {name: set(imported_modules(path, files)) & set(files) for name, path in files.items()}


def test_no_module_imports_one_that_imports_it():
    graphlib.TopologicalSorter(import_graph()).prepare()


def test_a_circle_would_be_seen():
    with pytest.raises(graphlib.CycleError):
        graphlib.TopologicalSorter({"a": {"b"}, "b": {"c"}, "c": {"a"}}).prepare()


def test_every_room_exists():
    rooms = {room_of(p) for p in FILES}
    assert rooms == set(ROW_OF)


def _loaded_after(statement):
    code = f"import sys; {statement}; print(' '.join(sys.modules))"
    return set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())


def test_importing_the_package_loads_nothing_heavy():
    loaded = _loaded_after("import neuroalign")
    assert not loaded & {"torch", "numpy", "lightning", "pandas", "torchvision"}


@pytest.mark.parametrize("room", ["functional", "losses", "models", "guidance"])
def test_rooms_that_know_no_trainer(room):
    assert "lightning" not in _loaded_after(f"import neuroalign.{room}")


def test_optional_packages_are_not_loaded():
    loaded = _loaded_after("import neuroalign.models, neuroalign.study, neuroalign.tasks")
    assert not loaded & {"timm", "ray", "xarray", "s3fs", "pooch", "nilearn"}
