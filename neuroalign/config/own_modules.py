"""Modules of a user's own classes, which a file names but doesn't describe: given again, or made of an allowed class."""

from __future__ import annotations

import importlib
import inspect
import sys
import textwrap
import warnings
from collections.abc import Callable, Sequence
from typing import Any, cast

from neuroalign.callers import outside
from neuroalign.config.classes import DescriptionError, UnregisteredError
from neuroalign.config.markers import OwnModule
from neuroalign.config.records import REGISTERED

__all__ = ["OwnModuleError"]


class OwnModuleError(DescriptionError):
    """A file names a class of the user's own, which was neither given, allowed nor registered."""

    def __init__(self, wanted: OwnModule) -> None:
        self.wanted = wanted
        super().__init__(
            f"the file names {wanted}, a class of your own or of another package, which is not made from a file unasked: "
            f"{ways(wanted)}"
        )


_MOST = 100
"""Largest number of modules that a file may ask for; saved networks have one."""


def again(wanted: Sequence[OwnModule], given: Any = None, allow: Sequence[str] = ()) -> list[Any]:
    """The modules that a file names: the given one, or one made of an allowed or registered class.

    Args:
        wanted: The classes that the file names, in the order in which they are needed.
        given: A module; or a class or function without arguments that makes one, called for every module that is needed.
        allow: Names of Python modules and packages from which classes may be imported, with those inside them.

    Raises:
        DescriptionError: If nothing was given and the class is neither allowed nor registered; if it can't be found or made;
            if one module is given in place of several; or if one is given and none is needed.
        TypeError: If ``given`` makes no module, or ``allow`` is no list of names.
    """
    check_allowed(allow)
    if len(wanted) > _MOST:
        raise DescriptionError(f"the file asks for {len(wanted)} modules of other classes; a network has one")
    if given is not None and not wanted:
        raise DescriptionError(
            "it describes all of its modules, and none is of a class of your own: leave out backbone="
        )
    if given is None:
        return [_made(_find(each, allow), each) for each in wanted]
    from torch import nn

    if not isinstance(given, nn.Module):
        return [_checked(_called(given, each), each) for each in wanted]
    if len(wanted) > 1:
        raise DescriptionError(
            f"the file names {len(wanted)} modules ({', '.join(map(str, wanted[:5]))}), and one was given for all: give the "
            "class, or a function that makes one"
        )
    return [_checked(given, each) for each in wanted]


def check_allowed(allow: Sequence[str]) -> None:
    """Refuse what is no list of names.

    Raises:
        TypeError: If it is one string, or holds anything but names.
    """
    if isinstance(allow, str) or not all(isinstance(name, str) and name for name in allow):
        raise TypeError(f"allow takes a list of names of Python modules, such as ['mylab.nets']; got {allow!r}")


def import_allowed(allow: Sequence[str]) -> None:
    """Import modules that the caller allows, so that the classes which they register are found.

    Raises:
        TypeError: If ``allow`` is no list of names.
        ValueError: If one of them is no name of a module, or can't be imported; the message says why.
    """
    check_allowed(allow)
    for name in allow:
        if name.endswith(".py") or not all(_is_name(part) or part == "__main__" for part in name.split(".")):
            short = name.removesuffix(".py").rpartition("/")[2]
            named = short if _is_name(short) else "mylab.nets"
            raise ValueError(f"a Python module is named as where it is imported, such as {named}; got {name!r}")
        try:
            importlib.import_module(name)
        except Exception as error:
            why = _shortened(str(error)) or type(error).__name__
            raise ValueError(f"the Python module {name} can't be imported: {why}") from error


def lacking(error: BaseException | None) -> OwnModule | None:
    """The class of the user's own for want of which a file was refused; None if it was refused for anything else.

    Of a class that was registered before its object was made only the name is known, which need not be where it is defined.
    """
    while error is not None:
        if isinstance(error, OwnModuleError):
            return error.wanted
        if isinstance(error, UnregisteredError) and "." in error.path:
            return OwnModule(*error.path.rsplit(".", 1))
        error = error.__cause__
    return None


def ways(wanted: OwnModule) -> str:
    """What to do about a class that a file names.

    Example:
        >>> print(ways(OwnModule("mylab.nets", "MyNet")))
        load it with backbone=MyNet() or allow=['mylab.nets'], or call
        neuroalign.register(MyNet) before
    """
    name, cls = wanted.name, _loaded(wanted)
    if cls is not None and _needed(cls):
        return f"load it with backbone={call_of(cls)}"
    return f"load it with backbone={name}() or allow=[{wanted.module!r}], or call neuroalign.register({name}) before"


def call_of(cls: type) -> str:
    """How a class is given with its arguments, as text: those that it needs, else the first that it takes.

    Example:
        >>> class MyNet(nn.Module):
        ...     def __init__(self, width=8): ...
        >>> call_of(MyNet)
        'lambda: MyNet(width=...)'
    """
    names = _needed(cls) or [p.name for p in _parameters(cls)][:1]
    return f"lambda: {cls.__name__}({', '.join(f'{name}=...' for name in names)})"


def _loaded(wanted: OwnModule) -> type | None:
    """The class that a marker names, if its module is imported already."""
    found: Any = sys.modules.get(wanted.module)
    for part in wanted.qualname.split("."):
        found = getattr(found, "__dict__", {}).get(part)
    return found if inspect.isclass(found) else None


def _shortened(text: str) -> str:
    """A text on one line, cut between words."""
    return textwrap.shorten(text, 400, placeholder=" ...")


def _find(wanted: OwnModule, allow: Sequence[str]) -> type:
    """The class of a marker, if it may be used: registered in this process, or defined in an allowed module."""
    for registered in REGISTERED.values():
        if (registered.__module__, registered.__qualname__) == wanted:
            return registered
    if not any(_is_in(wanted.module, name) for name in allow):
        raise OwnModuleError(wanted)
    return _imported(wanted, allow)


def _is_in(module: str, allowed: str) -> bool:
    """Whether a Python module is an allowed one or inside an allowed package."""
    return f"{module}.".startswith(f"{allowed}.")


def _imported(wanted: OwnModule, allow: Sequence[str]) -> type:
    """The class of a marker whose module is allowed; only modules defined there count, found without calling anything."""
    from torch import nn

    instead = f"load it with backbone={wanted.name}()"
    if wanted.module != "__main__" and not all(_is_name(part) for part in wanted.module.split(".")):
        raise DescriptionError(f"the file names {wanted}, and no Python module can have that name: {instead}")
    try:
        found: Any = sys.modules.get(wanted.module) or importlib.import_module(wanted.module)
    except Exception as error:
        why = _shortened(str(error))
        raise DescriptionError(
            f"the file names {wanted}, but {wanted.module} can't be imported: {why}; {instead}"
        ) from error
    for part in wanted.qualname.split("."):
        found = vars(found).get(part) if _is_name(part) else None
        if not inspect.isclass(found):
            raise DescriptionError(f"the file names {wanted}, but {wanted.module} has no such class: {instead}")
    # A name that an allowed module imported from elsewhere is not allowed by that.
    if not issubclass(found, nn.Module) or not any(_is_in(found.__module__, name) for name in allow):
        raise DescriptionError(f"{wanted} is no torch.nn.Module that was defined in {' or '.join(allow)}")
    return cast(type, found)


def _is_name(part: str) -> bool:
    """Whether a name can be one of the user's: no ``__dict__``, no ``<locals>``."""
    return part.isidentifier() and not part.startswith("__")


def _made(cls: type, wanted: OwnModule) -> Any:
    """An object of a class without arguments."""
    needed = _needed(cls)
    if needed:
        raise DescriptionError(
            f"{wanted} needs arguments ({', '.join(needed)}), which the file doesn't hold: load it in Python with "
            f"backbone={call_of(cls)}. The file holds the arguments of a class that neuroalign.register was called on before "
            "the network was made"
        )
    return _called(cls, wanted)


def _parameters(cls: type) -> list[inspect.Parameter]:
    """The arguments that a class takes by a name."""
    try:
        parameters = inspect.signature(cls).parameters.values()
    except (TypeError, ValueError):  # a class without a signature that Python could read
        return []
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return [p for p in parameters if p.kind in kinds]


def _needed(cls: type) -> list[str]:
    """Names of the arguments without which a class can't be called."""
    return [p.name for p in _parameters(cls) if p.default is p.empty]


def made_by_name(wanted: Sequence[OwnModule]) -> str:
    """What to say if weights don't fit modules that were made without arguments; empty if their classes take none."""
    for each in wanted:
        cls = _loaded(each)
        if cls is not None and _parameters(cls):
            return (
                f". {each.name} was made without arguments, which the file doesn't hold: if it had some, load it with "
                f"backbone={call_of(cls)}"
            )
    return ""


def _called(make: Callable[[], Any], wanted: OwnModule) -> Any:
    from torch import nn

    if not callable(make):
        raise TypeError(f"backbone takes a module, or a class or function that makes one; got {make!r}")
    try:
        made = make()
    except Exception as error:
        raise DescriptionError(f"{wanted} can't be made: {_shortened(str(error)) or repr(error)}") from error
    if not isinstance(made, nn.Module):
        raise TypeError(f"backbone must make a torch.nn.Module; it made {type(made).__name__}")
    return made


def _checked(module: Any, wanted: OwnModule) -> Any:
    """The module; a class of another name gives a warning, since weights of the same shapes fit other computations too."""
    module_class = type(getattr(module, "_orig_mod", module))
    if module_class.__qualname__ != wanted.qualname:
        warnings.warn(
            f"the file holds weights of a {wanted}; they are loaded into a {module_class.__qualname__}",
            stacklevel=outside(),
        )
    return module
