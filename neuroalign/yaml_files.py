"""YAML in which a key that stands there twice is an error."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import yaml

__all__: list[str] = []


class UniqueKeys(yaml.SafeLoader):
    r"""A loader that refuses a mapping with the same key twice, of which YAML would silently take the second.

    Example:
        >>> yaml.load("lr: 1\nlr: 2", UniqueKeys)
        Traceback (most recent call last):
        yaml.constructor.ConstructorError: the key 'lr' stands there twice
          in "<unicode string>", line 2, column 1:
            lr: 2
            ^
    """

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """The mapping of a node, whose keys differ."""
        seen = set()
        for key, _ in node.value:
            if key.tag == "tag:yaml.org,2002:merge":  # `<<: *anchor`, which is expanded below
                continue
            name = self.construct_object(key, deep=True)
            if isinstance(name, Hashable) and name in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {name!r} stands there twice", key.start_mark
                )
            seen.add(name)
        return super().construct_mapping(node, deep)


def mistake_of(error: yaml.YAMLError) -> str:
    r"""What is wrong in a text that is no YAML, and where, to stand after the file's name.

    Example:
        >>> try:
        ...     yaml.load("lr: 1\nlr: 2", UniqueKeys)
        ... except yaml.YAMLError as error:
        ...     mistake_of(error)
        "line 2, column 1: the key 'lr' stands there twice"
    """
    mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
    problem = " ".join((problem or str(error)).split())
    if mark is None:
        return f"is no YAML: {problem}"
    if "\\t" in problem:
        problem = "a tab stands where YAML wants blanks"
    place = f"line {mark.line + 1}, column {mark.column + 1}: {problem}"
    return place if "stands there twice" in problem else f"is no YAML: {place}"
