"""What is wrong in a configuration that the parser refused: the innermost mistake, in one sentence with near matches."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

import yaml

from neuroalign.commands.configuration_classes import (
    arguments_of,
    class_named,
    given_by_us,
    named,
    required_by,
    unknown_in,
    why_not_found,
    wrong_value,
)
from neuroalign.commands.lightning_links import placeholders
from neuroalign.types import unknown

__all__: list[str] = []

_CLASS_KEYS = ("class_path", "init_args", "dict_kwargs")
_NO_KEYS = ("help", "print_config", "config")
"""Options of the command line that no file holds."""
_BY_CLASS = ("model", "data", "optimizer", "lr_scheduler", "callbacks", "logger")
"""Keys under which a text alone is the name of a class."""
_TYPES = {"NoneType": "null", "str": "text", "int": "a whole number", "float": "a number", "bool": "true or false",
          "dict": "a mapping", "Mapping": "a mapping", "list": "a list", "Sequence": "a list"}  # fmt: skip


def mistake(argv: Sequence[str], configurations: Sequence[tuple[str, Any]], options: Sequence[str], told: str) -> str:
    """The first mistake in configurations and command line; else the parser's own message, made short.

    Args:
        argv: The command and its arguments.
        configurations: Those that ``--config`` names, by file name.
        options: The keys that the command takes at the top and one level below, such as "trainer.max_epochs".
        told: What the parser said.
    """
    tops = list(dict.fromkeys(option.split(".")[0] for option in options))
    keys = [top for top in tops if top not in _NO_KEYS]
    for file, content in configurations:
        content = copy.deepcopy(content)
        if isinstance(content, Mapping):  # numbers of voxels may be left out
            placeholders(content.get("model"))
        for found in _in_command(content, keys):
            return f"{file}: {found}"
    whole = merged([content for _, content in configurations], argv)
    placeholders(whole.get("model"))
    for found in _in_options(argv, options, tops):
        return found
    missing = [key for key in ("model", "data") if re.search(rf"required:.*\b\w+\.{key}\b(?!\.)", told)]
    if missing:
        return (
            f"{' and '.join(missing)} missing: give {' and '.join(f'--{m} CLASS' for m in missing)}, or --config FILE"
        )
    for found in _in_command(whole, keys):
        return found
    return _unexpected(told) or short(told)


def _unexpected(told: str) -> str | None:
    """What to tell about a word of the command line that belongs to no option; None if there is none."""
    if not told.startswith("unrecognized arguments: "):
        return None
    word = told.removeprefix("unrecognized arguments: ").split()[0]
    if word.startswith("-"):
        return f"there is no option {word}; options of the configuration are written --KEY VALUE"
    hint = "; a configuration is given by --config FILE" if word.endswith((".yaml", ".yml")) else ""
    return f"unexpected argument {word!r}{hint}"


def _in_command(content: Any, tops: Sequence[str]) -> Iterator[str]:
    if not isinstance(content, Mapping):
        yield f"a configuration is a mapping with model, data and trainer; this is {_shown(content)}"
        return
    for key, value in content.items():
        if key not in tops:
            yield unknown("key", key, tops)
        elif key == "trainer" and isinstance(value, Mapping):
            from lightning import Trainer

            yield from _in_arguments(value, Trainer, "trainer", "trainer")
        elif key != "seed_everything":
            yield from _in_value(value, key, key)


def _in_value(value: Any, key: str, where: str) -> Iterator[str]:
    """Mistakes in a value given under a key."""
    if isinstance(value, (list, tuple)):
        for number, each in enumerate(value):
            yield from _in_value(each, key, f"{where}[{number}]")
    elif isinstance(value, str) and key in _BY_CLASS and where.count(".") < 2:
        if not value.endswith((".yaml", ".yml", ".json")):
            yield from _in_value({"class_path": value}, key, where)
    elif isinstance(value, Mapping):
        path = value.get("class_path")
        if not isinstance(path, str):
            for name in value:
                if name not in _CLASS_KEYS and get_close_matches(str(name), _CLASS_KEYS, cutoff=0.8):
                    yield f"{where}: {unknown('key', name, _CLASS_KEYS)}"
            for name, each in value.items():
                yield from _in_value(each, str(name), f"{where}.{name}")
            return
        if why := why_not_found(path, key):
            yield f"{where}: {why}"
            return
        for name in value:
            if name not in _CLASS_KEYS:
                yield f"{where}: {unknown('key', name, _CLASS_KEYS)}"
        cls = class_named(path, key)
        arguments = value.get("init_args") or {}
        if cls is not None and isinstance(arguments, Mapping):
            yield from _in_arguments(arguments, cls, where, f"{where}.init_args", value.get("dict_kwargs") or {})


def _in_arguments(
    arguments: Mapping[str, Any], cls: Any, where: str, place: str, further: Mapping[str, Any] | None = None
) -> Iterator[str]:
    known = arguments_of(cls)
    for name in arguments:
        if known is not None and name not in known:
            yield f"{where}: {unknown_in('argument', str(name), cls.__name__, known)}"
    for name, value in arguments.items():
        yield from _in_value(value, str(name), f"{place}.{name}")
        if (known is None or name in known) and (why := wrong_value(cls, name, value)):
            yield f"{place}.{name}: {short(why)}"
    needed = [
        name
        for name in required_by(cls)
        if name not in arguments and name not in (further or {}) and name not in given_by_us(cls)
    ]
    if cls.__name__ != "Trainer" and needed:
        yield f"{where}: {cls.__name__} needs {named(needed)}"


def merged(contents: Sequence[Any], argv: Sequence[str]) -> dict[str, Any]:
    """Configurations and command line as one, as far as it can be said without the parser."""
    out: dict[str, Any] = {}
    for content in contents:
        out = _over(out, copy.deepcopy(content)) if isinstance(content, Mapping) else out
    for name, text in _given(argv):
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError:
            value = text
        if name.endswith("+"):
            name, value = name[:-1], [*_list_at(out, name[:-1].split(".")), value]
        if name not in (*_NO_KEYS, "c"):
            _put(out, name.split("."), value)
    return out


def _over(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    out = dict(below)
    for key, value in above.items():
        both = isinstance(value, Mapping) and isinstance(out.get(key), Mapping)
        out[key] = _over(out[key], value) if both else value
    return out


def _put(tree: dict[str, Any], parts: Sequence[str], value: Any) -> None:
    """Set a value as the command line does: a class's argument may be named without ``init_args``."""
    for part in parts[:-1]:
        if isinstance(tree.get("class_path"), str) and part not in _CLASS_KEYS:
            tree = tree.setdefault("init_args", {})
        inner = tree.get(part)
        if isinstance(inner, str):
            inner = {"class_path": inner}
        if not isinstance(inner, dict):
            inner = {}
        tree[part] = inner
        tree = inner
    if isinstance(tree.get("class_path"), str) and parts[-1] not in _CLASS_KEYS:
        tree = tree.setdefault("init_args", {})
    tree[parts[-1]] = value


def _list_at(tree: Any, parts: Sequence[str]) -> list[Any]:
    """The list that stands at a place already, to which the command line adds; empty if none does."""
    for part in parts:
        tree = tree.get(part) if isinstance(tree, Mapping) else None
    return tree if isinstance(tree, list) else []


def _given(argv: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Options of the command line with their values."""
    rest = list(argv[1:])
    for number, each in enumerate(rest):
        if each.startswith("--"):
            name, equals, value = each[2:].partition("=")
            after = rest[number + 1] if number + 1 < len(rest) else ""
            yield name, value if equals else ("" if after.startswith("--") else after)


def _in_options(argv: Sequence[str], options: Sequence[str], tops: Sequence[str]) -> Iterator[str]:
    for name, _ in _given(argv):
        parts = name.rstrip("+").split(".")
        if parts[0] not in tops:
            if not any(option.startswith(name) for option in [*options, "help", "print_config"]):
                yield unknown("option", f"--{name}", [f"--{top}" for top in tops])
        elif parts[0] == "trainer" and len(parts) > 1:
            from lightning import Trainer

            known = arguments_of(Trainer) or ()
            if not any(each.startswith(parts[1]) for each in known):
                yield f"--{name}: {unknown_in('argument', parts[1], 'Trainer', known)}"


def short(told: str) -> str:
    r"""The one useful reason in the parser's message, which lists a reason for every type that it tried.

    Example:
        >>> short("Parser key \"x.lr\":\n  Expected a <class 'float'>. Got value: high")
        "must be a number; got 'high'"
        >>> short('Parser key "fit.x":\n  reason')
        'reason'
    """
    wanted = [found.rpartition(".")[2] for found in re.findall(r"Expected an? <class '([\w.]+)'>", told)]
    value = re.search(r"(?:Got value|Given value): (.*)", told)
    key = re.search(r'Parser key "([\w.]+)"', told)
    place = key[1].split(".", 1)[-1] + ": " if key and not key[1].startswith("x.") else ""
    choices = re.search(r"Expected a typing\.Literal\[(.*?)\]", told)
    if choices and value:
        return f"{place}must be one of {choices[1]}; got {_shown(value[1])}"
    lines = [line.strip().removeprefix("- ") for line in told.splitlines() if line.strip()]
    of_types = ("Does not validate", "Expected a", "Not a valid", "a class path", "a dict ", "Parser key", "Given value",
                "Subtypes", "Errors:", "Subclass types", "Problem with given class_path")  # fmt: skip
    own = [line for line in lines if not line.startswith(of_types)]
    if wanted and value and not own:
        names = [_TYPES.get(name, name) for name in dict.fromkeys(wanted)]
        return f"{place}must be {' or '.join(names)}; got {_shown(value[1])}"
    return own[0] if own else re.sub(r'^Parser key "([\w.]+)": ', r"\1: ", lines[0])


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
