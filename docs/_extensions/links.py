"""Links from a name to its page: ours at the name that users import, other libraries' through their inventories.

Annotations hold a class under the module that defines it (``neuroalign.losses.alignment.NeuralAlignmentLoss``,
``torch.nn.modules.module.Module``); pages exist under the public name. Docstrings also use the bare name.
"""

import importlib
import inspect
import re
import sys
import zlib
from pathlib import Path

import lightning as L
from sphinx.application import Sphinx
from sphinx.pycode import ModuleAnalyzer
from sphinx.util.docstrings import prepare_docstring

import neuroalign

TABLE = Path(__file__).with_name("other_libraries.txt")

# A shape ('stimulus voxel') or a bound (ge=1) that stands in an annotation is text, not a name.
NOT_A_NAME = re.compile(r"""^['"].*|.*[='"*\s].*|^[\d.,]+$|^\W*$""")

# fmt: off
ALIASES = {
    "Access", "AllowInfNan", "AttackLoss", "Basis", "Budget", "Budgets", "Deviations", "Dissimilarity",
    "Engine", "Executor", "FieldInfo", "FormerAccess", "Ge", "HeadBuilder", "HostValue", "Le", "Logits",
    "LossLike", "MeasureFunction", "MinLen", "Norm", "Number", "OptimizerFactory", "OwnBackbone", "OwnModule",
    "PerChannel", "Perturbations", "Reduction", "SchedulerFactory", "Similarity", "SmoothnessLoss", "Style",
    "Tables", "TapError", "_T_co", "_collate_fn_t", "_worker_init_fn_t",
}
# fmt: on
"""Names of types that stand for others in annotations; they have no page."""

AXES = {"height", "in", "orientation", "triplet", "width"}
"""Words of a shape that stands before a colon, which napoleon reads as a type."""

HOOKS = {"extra_repr"}.union(*map(dir, (L.LightningModule, L.LightningDataModule, L.Callback))) - {"forward"}
"""Methods that Lightning and torch call by themselves."""

METADATA = ("annotated_types", "pydantic", "types")
"""Modules whose objects describe a field of a study's file; its text says the same."""


def public_names() -> dict[str, str]:
    """The public name by every other name that an object of ours goes by: its defining module's, its room's, its own."""
    found: dict[str, str] = {}
    bare: dict[str, set[str]] = {}
    for room in neuroalign._ROOMS:
        module = importlib.import_module(f"neuroalign.{room}")
        for name in getattr(module, "__all__", []):
            thing = getattr(module, name)
            at_root = neuroalign._ROOM_OF.get(name) == room
            public = f"neuroalign.{name}" if at_root else f"neuroalign.{room}.{name}"
            defined = getattr(thing, "__module__", None) if inspect.isclass(thing) or inspect.isroutine(thing) else None
            for other in (f"neuroalign.{room}.{name}", f"neuroalign.{name}", f"{defined}.{name}"):
                if other != public:
                    found.setdefault(other, public)
            bare.setdefault(name, set()).add(public)
    return found | {name: pages.pop() for name, pages in bare.items() if len(pages) == 1}


def other_libraries() -> tuple[dict[str, str], dict[str, list[tuple[str, str, str]]], dict[str, str]]:
    """Documented names by the names in annotations; entries (name, role, page) by library; addresses by library."""
    documented: dict[str, str] = {}
    entries: dict[str, list[tuple[str, str, str]]] = {}
    addresses: dict[str, str] = {}
    library = ""
    for line in TABLE.read_text().splitlines():
        if line.startswith("["):
            library, address = line.strip("[]").split(maxsplit=1)
            addresses[library], entries[library] = address, []
        elif line and not line.startswith("#"):
            name, role, page, *others = line.split()
            entries[library].append((name, role, page.replace("$", name)))
            documented |= dict.fromkeys(others, name)
    return documented, entries, addresses


def write_inventories(folder: Path) -> dict[str, tuple[str, tuple[None, str]]]:
    """A value for ``intersphinx_mapping``: each library's own inventory, and without the internet the one written here."""
    folder.mkdir(parents=True, exist_ok=True)
    _, entries, addresses = other_libraries()
    mapping = {}
    for library, address in addresses.items():
        head = f"# Sphinx inventory version 2\n# Project: {library}\n# Version: \n# The rest is compressed with zlib.\n"
        rows = "".join(f"{name} py:{role} 1 {page}#{name} -\n" for name, role, page in entries[library])
        path = folder / f"{library}.inv"
        path.write_bytes(head.encode() + zlib.compress(rows.encode()))
        mapping[library] = (address, (None, str(path)))
    return mapping


def resolve(app: Sphinx, env, node, contnode):
    """Point a reference without a target at its page; text that is no name loses its link."""
    target = node.get("reftarget", "").strip()
    if node.get("refdomain") != "py":
        return None
    if NOT_A_NAME.match(target):
        return contnode
    public = _ours().get(target)
    if public is None and "." in target:  # a method or attribute of a class that has a page
        owner, _, member = target.rpartition(".")
        public = f"{_ours()[owner]}.{member}" if owner in _ours() else None
    if public is not None:
        return env.get_domain("py").resolve_xref(env, node["refdoc"], app.builder, "obj", public, node, contnode)
    if _is_internal(target):
        return contnode
    documented = _others().get(target)
    if documented is not None:
        node["reftarget"] = documented  # intersphinx comes next
    return None


def _is_internal(target: str) -> bool:
    """Whether a name is one of ours that exists and has no page: a base class, or an alias in an annotation."""
    module, _, name = target.rpartition(".")
    if not module:
        return target in ALIASES or target in AXES
    if module.split(".")[0] != "neuroalign":
        return module.startswith(METADATA)
    try:
        return hasattr(importlib.import_module(module), name)
    except ImportError:
        return False


_cache: dict[str, dict[str, str]] = {}


def _ours() -> dict[str, str]:
    return _cache.setdefault("ours", public_names())


def _others() -> dict[str, str]:
    return _cache.setdefault("others", other_libraries()[0])


def keep_colons(app: Sphinx, what: str, name: str, thing, options, lines: list[str]) -> None:
    """Napoleon takes what stands before a colon in an attribute's docstring for its type; a dash is only text."""
    if what in ("attribute", "property", "data") and lines:
        lines[0] = lines[0].replace(": ", " - ", 1)


def describe_constant(app: Sphinx, what: str, name: str, thing, options, lines: list[str]) -> None:
    """In place of what Python says of every int or tuple, the docstring below the assignment in the defining module."""
    if what != "data" or lines != prepare_docstring(type(thing).__doc__ or ""):
        return
    constant = name.rpartition(".")[2]
    for module in [m for n, m in sys.modules.items() if n.startswith("neuroalign.") and constant in vars(m)]:
        found = ModuleAnalyzer.for_module(module.__name__).find_attr_docs().get(("", constant))
        if found:
            lines[:] = found
            return
    lines.clear()


def skip_hooks(app: Sphinx, what: str, name: str, thing, skip: bool, options) -> bool | None:
    """Leave out what another library calls by itself, unless we say something about it."""
    return True if name in HOOKS and not getattr(thing, "__doc__", None) else None


def setup(app: Sphinx) -> dict[str, bool]:
    """Connect the handlers, before those of intersphinx and napoleon."""
    app.connect("autodoc-skip-member", skip_hooks)
    app.connect("missing-reference", resolve, priority=400)
    app.connect("autodoc-process-docstring", describe_constant, priority=300)
    app.connect("autodoc-process-docstring", keep_colons, priority=400)
    return {"parallel_read_safe": True}
