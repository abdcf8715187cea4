"""``--model.help CLASS``: a class and its arguments, as its documentation says it."""

from __future__ import annotations

import inspect
import re
from collections.abc import Sequence
from typing import Any

from neuroalign.commands.configuration_classes import class_named, classes_of, why_not_found

__all__: list[str] = []


def asked_for(argv: Sequence[str]) -> tuple[str, str] | None:
    """The key and the class of the first ``--KEY.help CLASS`` among the arguments; None if there is none.

    Example:
        >>> asked_for(["fit", "--model.help", "NeuralPredictionTask"])
        ('model', 'NeuralPredictionTask')
    """
    for each, after in zip(argv, [*argv[1:], ""]):
        name, equals, value = each.partition("=")
        if name.startswith("--") and name.endswith(".help"):
            return name[2:].removesuffix(".help").rpartition(".")[2], value if equals else after
    return None


def help_of(key: str, name: str) -> str:
    """The documentation of a class that may be given under a key.

    Raises:
        ValueError: If there is no such class; the message lists near matches.
    """
    if not name or name.startswith("-"):
        usual = [whole.rpartition(".")[2] for whole in classes_of(key)]
        raise ValueError(f"--{key}.help needs a class: {', '.join(usual)}")
    if why := why_not_found(name, key):
        raise ValueError(why)
    cls: Any = class_named(name, key)
    text = re.sub(r":\w+:`~?([^`]+)`|``([^`]+)``", lambda found: found[1] or found[2], inspect.getdoc(cls) or "")
    arguments = [str(p.replace(annotation=p.empty)) for p in inspect.signature(cls).parameters.values()]
    return f"{cls.__module__}.{cls.__qualname__}({', '.join(arguments)})\n\n{text}"
