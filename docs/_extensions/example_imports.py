"""The imports that an example of a docstring needs, above it on its page, so that it runs as it is copied.

In the source they are left out: ``torch``, ``nn``, ``np`` and ``pd`` are in all of them, and the documented name is known.
"""

from __future__ import annotations

import builtins
import doctest
import importlib
import inspect
import symtable
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import TYPE_CHECKING, Any

import neuroalign

if TYPE_CHECKING:
    from sphinx.application import Sphinx

USUAL = {
    "torch": "import torch",
    "nn": "from torch import nn",
    "np": "import numpy as np",
    "pd": "import pandas as pd",
}
COLUMNS = 88 - len(">>> ")


def imports_for(docstring: str, module: ModuleType) -> list[str]:
    """Import statements for all names that the examples of a docstring use without making or importing them.

    Args:
        docstring: The docstring, with all of its examples.
        module: Where it stands.

    Raises:
        NameError: If a name is neither usual nor known in the module.
    """
    source = "".join(example.source for example in doctest.DocTestParser().get_examples(docstring))
    plain, members = set(), {}
    for name in unknown_names(source):
        if name in USUAL:
            plain.add(USUAL[name])
        elif not hasattr(module, name):
            raise NameError(f"an example in {module.__name__} uses {name!r}, which it doesn't import")
        elif isinstance(value := getattr(module, name), ModuleType):
            parent, _, last = value.__name__.rpartition(".")
            plain.add(f"from {parent} import {last}" if parent and last == name else f"import {value.__name__}")
        else:
            members.setdefault(home(name, value, module), set()).add(name)
    for package, names in members.items():
        together = f"from {package} import {', '.join(sorted(names))}"
        apart = (f"from {package} import {name}" for name in names)
        plain.update([together] if len(together) <= COLUMNS else apart)
    return sorted(plain, key=_place)


def unknown_names(source: str) -> list[str]:
    """Names that a piece of code takes from its surroundings."""

    def used(table: symtable.SymbolTable) -> Iterator[str]:
        top = table.get_type() == "module"
        for symbol in table.get_symbols():
            if symbol.is_referenced() and (top or symbol.is_global()):
                yield symbol.get_name()
        for inner in table.get_children():
            yield from used(inner)

    table = symtable.symtable(source, "example", "exec")
    made = {s.get_name() for s in table.get_symbols() if s.is_assigned() or s.is_imported() or s.is_namespace()}
    return [name for name in dict.fromkeys(used(table)) if name not in made and not hasattr(builtins, name)]


def home(name: str, value: Any, module: ModuleType) -> str:
    """The package to import a name from: the root, the public subpackage, or else where it is defined."""
    if name in neuroalign.__all__ and getattr(neuroalign, name) is value:
        return "neuroalign"
    for room in neuroalign._ROOMS:
        package = importlib.import_module(f"neuroalign.{room}")
        if name in getattr(package, "__all__", ()) and getattr(package, name) is value:
            return package.__name__
    defined = str(getattr(value, "__module__", module.__name__)).split(".")
    for length in range(1, len(defined) + 1):  # the shortest, as in pathlib instead of pathlib._local
        package = ".".join(defined[:length])
        if defined[0] != "neuroalign" and getattr(sys.modules.get(package), name, None) is value:
            return package
    return ".".join(defined) if getattr(sys.modules.get(".".join(defined)), name, None) is value else module.__name__


def _place(statement: str) -> tuple[int, bool, str]:
    """The usual order: standard library, others, ours; ``import`` before ``from``."""
    package = statement.split()[1].partition(".")[0]
    group = 0 if package in sys.stdlib_module_names else 2 if package == "neuroalign" else 1
    return group, statement.startswith("from"), statement


def show(app: Sphinx, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """Put the imports above the first example of a docstring."""
    first = next((at for at, line in enumerate(lines) if line.lstrip().startswith(">>> ")), None)
    if first is None:
        return
    thing = thing.fget if isinstance(thing, property) else thing
    module = thing if inspect.ismodule(thing) else sys.modules[inspect.unwrap(thing).__module__]
    indent = lines[first][: -len(lines[first].lstrip())]
    lines[first:first] = [f"{indent}>>> {each}" for each in imports_for("\n".join(lines), module)]


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("autodoc-process-docstring", show)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
