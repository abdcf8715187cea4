"""What of the package is public: which names, and how they are called.

``python -m tests.api_surface --write`` writes ``__all__`` into every module and ``tests/api_surface.json`` anew, after a
deliberate change of a face.
"""

from __future__ import annotations

import ast
import functools
import importlib
import inspect
import json
import re
import sys
from pathlib import Path

import neuroalign

PACKAGE = Path(neuroalign.__file__).parent
FROZEN = Path(__file__).with_name("api_surface.json")
# A face says in its own ``__all__``, by hand, what is public. The first face that lists a name is the one that describes it.
FACES = (
    "neuroalign.losses",
    "neuroalign.metrics",
    "neuroalign.functional",
    "neuroalign.models",
    "neuroalign.guidance",
    "neuroalign.perturbations",
    "neuroalign.perturbations.corruptions",
    "neuroalign.evaluation",
    "neuroalign.export",
    "neuroalign.data",
    "neuroalign.data.nsd",
    "neuroalign.tasks",
    "neuroalign.callbacks",
    "neuroalign.config",
    "neuroalign.sharing",
    "neuroalign.plot",
    "neuroalign.study",
    "neuroalign.types",
    "neuroalign.files",
    "neuroalign.checksums",
    "neuroalign.citations",
    "neuroalign.tensor_files",
    "neuroalign.hdf5",
    "neuroalign.state",
    "neuroalign",
    "neuroalign.study.settings",
)


def module_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {module_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}


@functools.cache
def tree_of(module: str) -> ast.Module:
    return ast.parse(FILES[module].read_text())


def statements(body: list[ast.stmt]) -> list[ast.stmt]:
    """Those of a module's top level, also within ``if`` and ``try``."""
    found = []
    for node in body:
        found.append(node)
        if isinstance(node, (ast.If, ast.Try)):
            found += statements(node.body + node.orelse)
    return found


def defined(module: str) -> set[str]:
    """Names that a module itself defines."""
    names = set()
    for node in statements(tree_of(module).body):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            names.add(node.name)
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        names |= {name.id for target in targets if target for name in ast.walk(target) if isinstance(name, ast.Name)}
    return names


def imported(module: str) -> dict[str, tuple[str, str]]:
    """Names that a module imports from another one of the package, and which name of which module each is."""
    nodes = [n for n in statements(tree_of(module).body) if isinstance(n, ast.ImportFrom) and n.module in FILES]
    return {alias.asname or alias.name: (n.module, alias.name) for n in nodes for alias in n.names}


def origin(module: str, name: str) -> tuple[str, str]:
    """The module that defines what ``module.name`` is, and its name there."""
    if name in defined(module):
        return module, name
    return origin(*imported(module)[name])


@functools.cache
def written_all(module: str) -> tuple[str, ...] | None:
    """A module's ``__all__``, as it stands in the file; None if there is none."""
    if module == "neuroalign":
        return tuple(neuroalign.__all__)
    node = all_statement(module)
    return None if node is None or node.value is None else tuple(ast.literal_eval(node.value))


def all_statement(module: str) -> ast.Assign | ast.AnnAssign | None:
    for node in tree_of(module).body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if any(isinstance(target, ast.Name) and target.id == "__all__" for target in targets):
            return node
    return None


@functools.cache
def public_names() -> dict[str, set[str]]:
    """By module, the names that it defines and that a face lists."""
    found: dict[str, set[str]] = {module: set() for module in FILES}
    for face in FACES:
        for name in written_all(face) or ():
            module, original = origin(face, name)
            found[module].add(original)
    return found


def is_by_hand(module: str) -> bool:
    """Whether somebody decides what this module's ``__all__`` holds; elsewhere it follows from the faces."""
    return module in FACES or (FILES[module].name == "__init__.py" and bool(written_all(module)))


# ---------------------------------------------------------------------------------------------------------- how it is called


def value_text(value: object) -> str:
    """A default, the same in every version of Python."""
    if isinstance(value, (tuple, list)):
        inner = ", ".join(map(value_text, value)) + ("," if isinstance(value, tuple) and len(value) == 1 else "")
        return f"({inner})" if isinstance(value, tuple) else f"[{inner}]"
    if value is None or isinstance(value, (bool, int, float, str)):
        return repr(value)
    return getattr(value, "__qualname__", None) or re.sub(r" at 0x\w+", "", str(value))


def signature_text(function: object, *, bound: bool = False) -> str:
    """Names, kinds and defaults of the arguments; ``bound`` leaves ``self`` out. Annotations are left to the type checker."""
    parameters = [
        p.replace(annotation=p.empty, default=p.empty if p.default is p.empty else _Shown(value_text(p.default)))
        for p in inspect.signature(function).parameters.values()
    ]
    return str(inspect.Signature(parameters[bound:]))


class _Shown(str):
    """Text whose repr is itself."""

    def __repr__(self) -> str:
        return str(self)


def own(cls: type) -> list[type]:
    return [base for base in cls.__mro__ if base.__module__.split(".")[0] == "neuroalign"]


def constructor_text(cls: type) -> str:
    if typed_keys := getattr(cls, "__required_keys__", None) is not None and cls.__annotations__:
        return "keys " + ", ".join(typed_keys)
    for base in cls.__mro__:
        found = vars(base).get("__init__") or vars(base).get("__new__")
        if found is not None:
            return f"class {signature_text(found, bound=True)}" if base in own(cls) else "class"
    return "class"


def members(cls: type) -> dict[str, str]:
    """Public methods and properties that a class has from us, its bases' included."""
    found: dict[str, str] = {}
    for base in own(cls):
        for name, value in vars(base).items():
            if name.startswith("_") or name in found:
                continue
            if isinstance(value, (property, functools.cached_property)):
                found[name] = "property"
            elif isinstance(value, (staticmethod, classmethod)):
                text = signature_text(value.__func__, bound=isinstance(value, classmethod))
                found[name] = f"{type(value).__name__} {text}"
            elif inspect.isfunction(value):
                found[name] = signature_text(value, bound=True)
    return found


def surface() -> dict[str, str]:
    """Every public name with its signature, and those of the public methods of classes."""
    found: dict[str, str] = {}
    described: dict[tuple[str, str], str] = {}
    for face in FACES:
        for name in written_all(face) or ():
            place = f"{face}.{name}"
            first = described.setdefault(origin(face, name), place)
            value = getattr(importlib.import_module(face), name)
            if first != place:
                found[place] = f"= {first}"
            elif inspect.isclass(value):
                found[place] = constructor_text(value)
                found |= {f"{place}.{member}": text for member, text in members(value).items()}
            else:
                found[place] = signature_text(value) if inspect.isfunction(value) else "value"
    return dict(sorted(found.items()))


def difference(before: dict[str, str], now: dict[str, str]) -> list[str]:
    """One line for each name that is gone, new, or called in another way."""
    lines = [f"gone:    {name} {before[name]}" for name in before.keys() - now.keys()]
    lines += [f"new:     {name} {now[name]}" for name in now.keys() - before.keys()]
    both = before.keys() & now.keys()
    lines += [
        f"changed: {name}\n    was {before[name]}\n    is  {now[name]}" for name in both if before[name] != now[name]
    ]
    return sorted(lines)


# ------------------------------------------------------------------------------------------------------------------ writing


def all_text(names: set[str]) -> str:
    if not names:
        return "__all__: list[str] = []"
    listed = [f'"{name}"' for name in sorted(names)]
    line = f"__all__ = [{', '.join(listed)}]"
    return line if len(line) <= 120 else "__all__ = [\n" + "".join(f"    {name},\n" for name in listed) + "]"


def end_of_imports(module: str) -> int:
    """The last line of the docstring and the imports at the top of a module."""
    end = 0
    for index, node in enumerate(tree_of(module).body):
        doc = index == 0 and isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        typing = isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        if not (doc or typing or isinstance(node, (ast.Import, ast.ImportFrom))):
            break
        end = node.end_lineno or 0
    return end


def with_all(module: str) -> str:
    """The text of a module with the ``__all__`` that follows from the faces."""
    lines, block = FILES[module].read_text().splitlines(), all_text(public_names()[module])
    node = all_statement(module)
    if node is not None:
        lines[node.lineno - 1 : node.end_lineno] = [block]
    else:
        end = end_of_imports(module)
        lines[end:end] = ["", block] if any(lines[end:]) and not lines[end] else ["", block, ""][: 2 + any(lines[end:])]
    return "\n".join(lines) + "\n"


def write() -> None:
    texts = {module: with_all(module) for module in FILES if not is_by_hand(module)}
    for module, text in texts.items():
        if text != FILES[module].read_text():
            FILES[module].write_text(text)
    FROZEN.write_text(json.dumps(surface(), indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    if sys.argv[1:] != ["--write"]:
        sys.exit(__doc__)
    write()
