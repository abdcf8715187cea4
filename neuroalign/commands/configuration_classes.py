"""Classes that a configuration names: where they are found, what they take, and near matches for a misspelt one."""

from __future__ import annotations

import importlib
import inspect
import pydoc
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from neuroalign.types import unknown

__all__: list[str] = []

_ROOMS = ("callbacks", "data", "guidance", "losses", "metrics", "models", "perturbations", "tasks")
_HOMES = {
    "model": ("neuroalign.tasks",),
    "data": ("neuroalign.data",),
    "callbacks": ("neuroalign.callbacks", "lightning.pytorch.callbacks"),
    "logger": ("lightning.pytorch.loggers",),
    "optimizer": ("torch.optim",),
    "scheduler": ("torch.optim.lr_scheduler",),
    "lr_scheduler": ("torch.optim.lr_scheduler",),
}
"""By the key of a configuration, the modules whose classes are usually given there; elsewhere those of all rooms."""
_KINDS = {
    "model": ("lightning", "LightningModule"),
    "data": ("lightning", "LightningDataModule"),
    "callbacks": ("lightning", "Callback"),
    "logger": ("lightning.pytorch.loggers", "Logger"),
}
"""By the key, the base class of all classes that may be given there."""

_SEVERAL = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def kind_of(key: str) -> type | None:
    """The class that everything given under a key must be derived from; None if it is not known."""
    if key not in _KINDS:
        return None
    module, name = _KINDS[key]
    return getattr(importlib.import_module(module), name)


def classes_of(key: str) -> dict[str, type]:
    """Classes that are usually given under a key, by their dotted names.

    Example:
        >>> [name for name in classes_of("model")]
        ['neuroalign.tasks.GuidedClassificationTask', 'neuroalign.tasks.NeuralPredictionTask']
    """
    kind, found = kind_of(key), {}
    for home in _HOMES.get(key, tuple(f"neuroalign.{room}" for room in _ROOMS)):
        module = importlib.import_module(home)
        for name in getattr(module, "__all__", None) or dir(module):
            value = getattr(module, name, None)
            if inspect.isclass(value) and not name.startswith("_") and (kind is None or issubclass(value, kind)):
                found[f"{home}.{name}"] = value
    return found


def why_not_found(path: str, key: str) -> str | None:
    """Why a ``class_path`` names no class that may be given under a key; None if it names one.

    Example:
        >>> why_not_found("lightning.pytorch.loggers.CSVLoger", "logger").split(" or ")[0]
        "unknown class 'CSVLoger' of lightning.pytorch.loggers; did you mean 'CSVLogger'"
    """
    usual = classes_of(key)
    short = {name.rpartition(".")[2]: value for name, value in usual.items()}
    if "." not in path:
        if path in short or _subclass_named(path, kind_of(key)):
            return None
        return unknown("class", path, short)
    try:
        found = pydoc.locate(path)
    except pydoc.ErrorDuringImport as error:
        return f"importing {path.rpartition('.')[0]} failed: {type(error.value).__name__}: {error.value}"
    if found is None:
        return _unknown_path(path, usual)
    kind = kind_of(key)
    if kind is not None and inspect.isclass(found) and not issubclass(found, kind):
        return f"{path} is no {kind.__name__}, as `{key}` needs; usual there: {', '.join(short)}"
    return None


def _subclass_named(name: str, kind: type | None) -> bool:
    """Whether a class of this kind that was imported already has the name."""
    rest = [kind] if kind is not None else []
    while rest:
        each = rest.pop()
        if each.__name__ == name:
            return True
        rest.extend(each.__subclasses__())
    return False


def _unknown_path(path: str, usual: dict[str, type]) -> str:
    module, _, name = path.rpartition(".")
    while module and pydoc.locate(module) is None:
        module, _, more = module.rpartition(".")
        name = f"{more}.{name}"
    if not module:
        first = path.split(".")[0]
        return (
            f"there is no module {first!r} for the class {path!r}: for a class of your own, {first}.py must be installed or "
            "lie in the folder where the command runs"
        )
    for whole in usual:  # the right name in a wrong module
        if whole.rpartition(".")[2] == name.rpartition(".")[2]:
            return f"there is no {path!r}; did you mean {whole!r}?"
    inside = pydoc.locate(module)
    names = {*dir(inside), *getattr(inside, "__all__", ())}  # a package that loads lazily lists more than it holds
    public = [n for n in names if n[:1].isupper() and inspect.isclass(getattr(inside, n, None))]
    return unknown_in("class", name, module, public)


def unknown_in(kind: str, name: str, whole: str, known: Iterable[str]) -> str:
    """An error message for a name that something doesn't have, with near matches.

    Example:
        >>> unknown_in("argument", "rio", "NSDDataModule", ["roi", "root"])
        "unknown argument 'rio' of NSDDataModule; did you mean 'roi' or 'root'?"
    """
    first, _, hint = unknown(kind, name, known).partition("; ")
    return f"{first} of {whole}; {hint}"


def class_named(path: str, key: str) -> Any:
    """The class that a ``class_path`` names, short or dotted; None if it is no class."""
    if "." in path:
        found = pydoc.locate(path)
        return found if callable(found) else None
    return {name.rpartition(".")[2]: value for name, value in classes_of(key).items()}.get(path)


@lru_cache(maxsize=64)
def arguments_of(cls: Any) -> tuple[str, ...] | None:
    """The arguments that a configuration may give to a class, also those that its ``**kwargs`` hand on.

    Returns:
        Their names; None if they can't be known.
    """
    from jsonargparse import ArgumentParser

    parameters = _parameters(cls)
    if parameters is None:
        return None
    own = [p.name for p in parameters if p.kind not in _SEVERAL]
    try:
        parser = ArgumentParser(exit_on_error=False)
        parser.add_class_arguments(cls, "x", as_group=False)
        handed_on = [key.split(".")[0] for key, _ in parser.get_defaults()["x"].items()]
    except Exception:  # a class that the parser can't read: its own signature must do
        handed_on = []
    if any(p.kind is p.VAR_KEYWORD for p in parameters) and set(handed_on) <= set(own):
        return None
    return tuple(dict.fromkeys([*own, *handed_on]))


def required_by(cls: Any) -> list[str]:
    """The arguments of a class that have no default, as far as they can be known."""
    return [p.name for p in _parameters(cls) or [] if p.default is p.empty and p.kind not in _SEVERAL]


def given_by_us(cls: Any) -> tuple[str, ...]:
    """Required arguments that a configuration leaves out, since they are known only when it is used."""
    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LRScheduler

    if inspect.isclass(cls) and issubclass(cls, Optimizer):
        return ("params",)
    return ("optimizer",) if inspect.isclass(cls) and issubclass(cls, LRScheduler) else ("num_voxels",)


def _parameters(cls: Any) -> list[inspect.Parameter] | None:
    try:
        return list(inspect.signature(cls).parameters.values())
    except (ValueError, TypeError):  # classes of C have none
        return None


def wrong_value(cls: Any, name: str, value: Any) -> str | None:
    """Why an argument of a class doesn't take a plain value, in the parser's words; None if it does."""
    from jsonargparse import ArgumentParser

    parser = ArgumentParser(exit_on_error=False)
    try:
        parser.add_class_arguments(cls, "x", as_group=False)
        parser.parse_object({"x": {name: value}})
    except Exception as error:
        text = str(error)
        return text if text.startswith(f'Parser key "x.{name}"') else None
    return None


def named(names: Iterable[str]) -> str:
    """Names in a sentence, each in quotes.

    Example:
        >>> named(["a", "b"])
        "'a', 'b'"
    """
    return ", ".join(map(repr, names))
