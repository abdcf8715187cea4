"""Building objects from descriptions, without importing or calling anything else."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from typing import Any

from neuroalign.config.classes import DescriptionError, check_arguments, check_names, find_class, registered
from neuroalign.config.descriptions import PLAIN, is_description
from neuroalign.config.markers import own_module, own_modules
from neuroalign.config.own_modules import again

__all__ = ["build", "refuse_if_described"]

_LONGEST = 500  # characters of a reason in a message
_building: ContextVar[str | None] = ContextVar("building", default=None)


def refuse_if_described(what: str) -> None:
    """Raise an error if a description is being built, for actions that it must not cause, such as reading a file.

    Raises:
        DescriptionError: If :func:`build` is running.

    Example:
        >>> refuse_if_described("reading a file")  # nothing is being built
    """
    path = _building.get()
    if path is not None:
        raise DescriptionError(f"the description of {path} asks for {what}, which no description may: build the module "
                               "yourself and pass it")  # fmt: skip


def build(value: Any, kind: type | None = None, *, own: Any = None, allow: Sequence[str] = ()) -> Any:
    """Build the object of a description; any other value is returned as it is.

    A description may come from a stranger's file. It can name public classes defined in neuroalign (modules, attacks,
    robust-training methods), and classes that were registered in this process: see :func:`register`. All names are checked
    before anything is imported, and all classes and the names of their arguments before anything is built.

    Args:
        value: A description, a list or dict that holds descriptions, or any other value.
        kind: The class that the object built from plain values must have; None allows any.
        own: The module of a class of your own that a file names without describing it; or the class, or a function, that
            makes it without arguments. Its weights are in the file. None means that there is none.
        allow: Python modules and packages of your own from which such classes may be imported, as ``["mylab.nets"]``.

    Raises:
        DescriptionError: A ``ValueError``, if the description names anything else, or a class of your own that is neither
            given, allowed nor registered, or an argument that the class doesn't have,
            is nested too deeply or too large, or asks for a file or a download; if the class refuses its arguments; or if the
            object is not of ``kind``.

    Example:
        >>> options = {"mean": [0.5], "std": [0.2]}
        >>> build({"class_path": "neuroalign.models.Normalize", "init_args": options})
        Normalize(mean=[0.5], std=[0.2])
        >>> foreign = {"class_path": "os.system", "init_args": {"command": "ls"}}
        >>> build(foreign)  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        neuroalign.config.classes.UnregisteredError: 'os.system' is no class of neuroalign's...
    """
    made = value
    if isinstance(value, (Mapping, list)):
        found = check_names(value)
        makers = {path: find_class(path) for path, _ in found}
        for path, names in found:
            check_arguments(makers[path], path, names)
        made = _made(value, makers, iter(again(list(own_modules(value)), own, allow)))
    if kind is not None and isinstance(value, (Mapping, list, *PLAIN)) and not isinstance(made, kind):
        got = f"a description of {value['class_path']}" if is_description(value) else f"{type(value).__name__}"
        raise DescriptionError(f"a {kind.__name__}, or the description of one, is needed; got {got}")
    return made


def _made(value: Any, makers: Mapping[str, Callable[..., Any]], own: Iterator[Any]) -> Any:
    """Build the object of a checked description, its arguments first; ``own`` are the modules for its markers, in order."""
    if isinstance(value, list):
        return [v if isinstance(v, PLAIN) else _made(v, makers, own) for v in value]
    if not isinstance(value, Mapping):
        return value
    if "class_path" not in value:
        return {k: _made(v, makers, own) for k, v in value.items()} if own_module(value) is None else next(own)
    path = value["class_path"]
    arguments = {k: _made(v, makers, own) for k, v in (value.get("init_args") or {}).items()}
    # A registered class may read files: its author knows what it does.
    token = _building.set(None if registered(path) is not None else path)
    try:
        return makers[path](**arguments)
    except (DescriptionError, ImportError):
        raise
    except Exception as error:
        reason = " ".join((str(error) or repr(error)).split())  # one line, shortened: it may quote values of the file
        shown = reason if len(reason) <= _LONGEST else f"{reason[:_LONGEST]}..."
        raise DescriptionError(f"{path} can't be built from its description: {shown}") from error
    finally:
        _building.reset(token)
