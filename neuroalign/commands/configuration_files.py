"""The files that ``--config`` names, read and looked at as a whole before the parser sees them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from neuroalign.yaml_files import UniqueKeys

__all__: list[str] = []

_OF_A_STUDY = ("name", "images", "conditions")


def read_configurations(argv: Sequence[str]) -> list[tuple[str, Any]]:
    """The configurations that ``--config`` names, by file name, before the parser sees them.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If one is no YAML, empty, a study, or has a key twice.
    """
    found = []
    for name in _files(argv):
        if "://" in name:
            continue
        if not Path(name).exists():
            raise FileNotFoundError(f"there is no configuration {name}")
        try:
            content = yaml.load(Path(name).read_text("utf-8"), UniqueKeys)
        except UnicodeDecodeError as error:
            raise ValueError(f"a configuration is damaged, or no UTF-8 text ({error}): {name}") from error
        except yaml.YAMLError as error:
            raise ValueError(f"{name} {_yaml_mistake(error)}") from error
        if content is None:
            raise ValueError(f"{name} is empty: a configuration is a mapping with model, data and trainer")
        if isinstance(content, Mapping) and all(key in content for key in _OF_A_STUDY) and "trainer" not in content:
            raise ValueError(f"{name} is a study: neuroalign study run {name} --out DIR")
        check_trainer(content, f"{name}: ")
        found.append((name, content))
    return found


def check_trainer(content: Any, place: str = "") -> None:
    """Refuse a trainer that is no mapping, which the parser lets pass; a text may name a file.

    Example:
        >>> check_trainer({"trainer": [1, 2]})
        Traceback (most recent call last):
        ValueError: trainer must be a mapping of Lightning's Trainer's arguments, such as
        {max_epochs: 5}; got [1, 2]
    """
    if isinstance(content, Mapping) and "trainer" in content:
        trainer = content["trainer"]
        if not isinstance(trainer, (Mapping, str)):
            given = "nothing" if trainer is None else repr(trainer)[:60]
            raise ValueError(
                f"{place}trainer must be a mapping of Lightning's Trainer's arguments, such as {{max_epochs: 5}}; got "
                f"{given}"
            )


def _files(argv: Sequence[str]) -> Iterator[str]:
    following = [*argv[1:], ""]
    for each, after in zip(argv, following):
        if each in ("-c", "--config") and after:
            yield after
        elif each.startswith("--config="):
            yield each.removeprefix("--config=")


def _yaml_mistake(error: yaml.YAMLError) -> str:
    mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None) or str(error)
    place = f", line {mark.line + 1}, column {mark.column + 1}" if mark is not None else ""
    if "stands there twice" in problem:
        return f"{place.removeprefix(', ')}: {problem}"
    return f"is no YAML: {place.removeprefix(', ')}{': ' if place else ''}{problem}"
