"""The public names: all there, documented, and their examples run."""

import ast
import doctest
import importlib
import inspect
import pkgutil
from types import ModuleType

import pytest
from example_imports import imports_for  # docs/_extensions

import neuroalign

MODULES = sorted(
    m.name for m in pkgutil.walk_packages(neuroalign.__path__, "neuroalign.") if not m.name.endswith("__main__")
)


@pytest.mark.parametrize("name", neuroalign.__all__)
def test_public_name(name):
    value = getattr(neuroalign, name)
    assert inspect.getdoc(value), f"{name} has no docstring"
    assert "Example" in inspect.getdoc(value), f"{name} shows no example"
    assert name in dir(neuroalign)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'NeuralLoss'"):
        _ = neuroalign.NeuralLoss


@pytest.mark.parametrize("name", MODULES)
def test_no_name_hides_a_module(name):
    """``package.module`` is the module for everyone, also where a function would like to be called the same."""
    package, _, module = name.rpartition(".")
    importlib.import_module(name)
    assert isinstance(getattr(importlib.import_module(package), module), ModuleType)
    assert module not in getattr(importlib.import_module(package), "__all__", ())


@pytest.mark.parametrize("name", MODULES)
def test_public_functions_are_typed_and_documented(name):
    module = importlib.import_module(name)
    for key, value in vars(module).items():
        if key.startswith("_") or getattr(value, "__module__", None) != name:
            continue
        if inspect.isfunction(value) or inspect.isclass(value):
            assert inspect.getdoc(value), f"{name}.{key} has no docstring"
        if inspect.isfunction(value):
            assert value.__annotations__.get("return") is not None or "return" in value.__annotations__


NEEDS = {"neuroalign.export.rdms": "rsatoolbox", "neuroalign.export.onnx_files": "onnxruntime"}
"""Modules whose examples take a package that the extra ``tests`` may lack."""


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings(name, tmp_path, monkeypatch):
    if name in NEEDS:
        pytest.importorskip(NEEDS[name])
    monkeypatch.chdir(tmp_path)
    module = importlib.import_module(name)
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    for found in doctest.DocTestFinder().find(module):
        found.globs = {}  # nothing but what the page shows above the example
        exec("\n".join(imports_for(found.docstring, module)), found.globs)
        runner.run(found)
    assert runner.failures == 0
    assert runner.tries == examples_in(module), "doctest doesn't reach an example: a decorator hides its function"


def examples_in(module):
    """Number of examples in a module's docstrings, counted in its text."""
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    nodes = [node for node in ast.walk(ast.parse(inspect.getsource(module))) if isinstance(node, documented)]
    return sum(len(doctest.DocTestParser().get_examples(ast.get_docstring(node) or "")) for node in nodes)
