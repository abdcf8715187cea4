"""The files that ``--config`` names, read and looked at as a whole before the parser sees them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from neuroalign.yaml_files import UniqueKeys, mistake_of

__all__: list[str] = []

_OF_A_STUDY = ("name", "images", "conditions")
_AT_LEAST_ONE = ("accumulate_grad_batches", "check_val_every_n_epoch")
"""Arguments of the Trainer that count, and by which it would divide only when it trains."""


def with_whole_names(argv: Sequence[str]) -> list[str]:
    """The arguments of a command, with ``--config`` for its abbreviations, which the parser takes, too.

    Example:
        >>> with_whole_names(["fit", "--conf=a.yaml", "--con", "b.yaml"])
        ['fit', '--config=a.yaml', '--config', 'b.yaml']
    """
    out = []
    for each in argv:
        name, equals, value = each.partition("=")
        abbreviates = len(name) > len("--c") and "--config".startswith(name)
        out.append(f"--config{equals}{value}" if abbreviates else each)
    return out


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
            raise ValueError(f"{name} is no text in UTF-8, or damaged: a configuration is a YAML file") from error
        except yaml.YAMLError as error:
            raise ValueError(f"{name} {mistake_of(error)}") from error
        if content is None:
            raise ValueError(f"{name} is empty: a configuration is a mapping with model, data and trainer")
        if isinstance(content, Mapping) and all(key in content for key in _OF_A_STUDY) and "trainer" not in content:
            raise ValueError(f"{name} is a study: neuroalign study run {name} --out DIR")
        check_trainer(content, f"{name}: ")
        found.append((name, content))
    return found


def check_trainer(content: Any, place: str = "") -> None:
    """Refuse a trainer that is no mapping, which the parser lets pass, or divides by 0; a text may name a file.

    Example:
        >>> check_trainer({"trainer": [1, 2]})
        Traceback (most recent call last):
        ValueError: trainer must be a mapping of Lightning's Trainer's arguments, such as
        {max_epochs: 5}; got [1, 2]
    """
    if isinstance(content, Mapping) and "trainer" in content:
        trainer = content["trainer"]
        for name in _AT_LEAST_ONE:
            number = trainer.get(name) if isinstance(trainer, Mapping) else None
            if isinstance(number, int) and number < 1:
                raise ValueError(f"{place}trainer.{name} must be at least 1; got {number}")
        if isinstance(trainer, Mapping) and trainer.get("val_check_interval") == 0:
            raise ValueError(
                f"{place}trainer.val_check_interval must be above 0, a number of batches or a share of an epoch; got 0"
            )
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
