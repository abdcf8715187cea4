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
    {"callers", "moved", "names", "version", "yaml_files"},
    {"types", "addresses", "array_headers", "budgets", "checksums", "files", "hdf5", "plugins", "processes",
     "progress", "state"},
    {"config", "functional", "tensor_files"},
    {"citations"},
    {"sharing"},
    {"losses", "metrics", "models", "perturbations", "data", "plot"},
    {"guidance", "evaluation"},
    {"tasks", "callbacks", "export"},
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


def module_of(path, package):
    parts = path.relative_to(package.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported_modules(path, modules):
    """Modules of the package that a file imports: at once, within a function, or for type checkers only."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in modules else node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def circle_in(package):
    """Modules of a package that import one another, its root apart, which all may name; None if there are none."""
    files = {module_of(path, package): path for path in package.rglob("*.py") if path != package / "__init__.py"}
    graph = {name: set(imported_modules(path, files)) & set(files) for name, path in files.items()}
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return error.args[1]
    return None


def test_no_module_imports_one_that_imports_it():
    assert circle_in(PACKAGE) is None


@pytest.mark.parametrize(
    "back", ["from p import a", "def f():\n    import p.a", "if TYPE_CHECKING:\n    from p.a import x"]
)
def test_a_circle_would_be_seen(tmp_path, back):
    package = tmp_path / "p"
    package.mkdir()
    for name, text in {"__init__": "", "a": "from p.b import y", "b": "from p.c import z", "c": ""}.items():
        (package / f"{name}.py").write_text(text)
    assert circle_in(package) is None
    (package / "c.py").write_text(back)
    assert set(circle_in(package)) == {"p.a", "p.b", "p.c"}


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


@pytest.mark.slow
def test_optional_packages_are_not_loaded():
    loaded = _loaded_after("import neuroalign.models, neuroalign.study, neuroalign.tasks, neuroalign.export")
    assert not loaded & {
        "timm",
        "ray",
        "xarray",
        "s3fs",
        "pooch",
        "nilearn",
        "onnx",
        "onnxscript",
        "onnxruntime",
        "rsatoolbox",
    }
