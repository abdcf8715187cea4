"""Where in a configuration the object was described that could not be built."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NoReturn

from lightning import Trainer

from neuroalign.commands.configuration_classes import class_named
from neuroalign.commands.lightning_mistakes import in_plain_words
from neuroalign.commands.mistakes import chain_of, sentence_of

__all__: list[str] = []


def raise_with_place(error: Exception, config: Any, configurations: Sequence[tuple[str, Any]]) -> NoReturn:
    """Raise an error again, with the object of the configuration in which it arose: see :func:`place_of`."""
    place = place_of(error, config, configurations)
    if place is None or in_plain_words(error) is not None:
        raise error
    raise ValueError(f"{place}: {sentence_of(error)}") from error


def place_of(error: BaseException, config: Any, configurations: Sequence[tuple[str, Any]]) -> str | None:
    """The innermost described object in which an error arose, such as ``"a.yaml: data"``; None if it isn't known.

    An error of the Trainer itself, such as about its strategy, arose in "trainer".

    Args:
        error: What was raised while the objects were built.
        config: The whole configuration of the command, plain values.
        configurations: The files by name, of which the last that describes the object is named.
    """
    places = [(place, class_named(path, place.split(".")[-1].split("[")[0])) for place, path in _described(config)]
    found: str | None = None
    in_trainer = False
    for each in chain_of(error):  # from what the parser says to what was raised in the object
        frame = each.__traceback__
        while frame is not None:
            builder = frame.tb_frame.f_locals.get("self")
            here = [place for place, cls in places if builder is not None and cls is type(builder)]
            found = here[0] if len(here) == 1 else found
            in_trainer |= frame.tb_frame.f_code.co_name == "__init__" and isinstance(builder, Trainer)
            frame = frame.tb_next
    if found is None and in_trainer:
        files = [name for name, content in configurations if isinstance(content, Mapping) and "trainer" in content]
        found = "trainer"
    elif found is not None:
        files = [name for name, content in configurations if found in dict(_described(content))]
    else:
        return None
    return f"{files[-1]}: {found}" if files else found


def _described(value: Any, place: str = "") -> Iterator[tuple[str, str]]:
    """The places of a configuration that describe an object, each with its class."""
    if isinstance(value, Mapping):
        if isinstance(value.get("class_path"), str):
            yield place, value["class_path"]
        for name, each in value.items():
            yield from _described(each, f"{place}.{name}" if place else str(name))
    elif isinstance(value, (list, tuple)):
        for number, each in enumerate(value):
            yield from _described(each, f"{place}[{number}]")
