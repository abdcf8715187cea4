"""Settings from a file: no key that isn't known, and errors that name the key and the nearest right one."""

from __future__ import annotations

import difflib
import os
import pathlib
from collections.abc import Iterable, Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from neuroalign.budgets import as_number

__all__: list[str] = []


class Settings(BaseModel):
    """Settings of one part of a study; plain values in, plain values out, and nothing can be changed afterwards."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)

    @model_validator(mode="before")
    @classmethod
    def _known_keys(cls, values: Any) -> Any:
        if isinstance(values, Mapping):
            for key in values:
                if key not in cls.model_fields:
                    near, known = near_match(str(key), cls.model_fields), ", ".join(cls.model_fields)
                    raise PydanticCustomError(
                        "unknown_key",
                        "there is no key '{key}' here{near}; the keys are: {known}",
                        {"key": str(key), "near": near, "known": known},
                    )
        return values


def near_match(name: str, known: Iterable[str]) -> str:
    """A question whether a known name was meant, or nothing.

    Example:
        >>> near_match("wieght", ["weight", "loss"])
        "; did you mean 'weight'?"
        >>> near_match("x", ["weight"])
        ''
    """
    found = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"; did you mean {found[0]!r}?" if found else ""


def _fraction(value: Any) -> Any:
    try:
        return as_number(value) if isinstance(value, str) else value
    except ValueError:
        raise PydanticCustomError(
            "fraction", "should be a number, or a fraction such as 2/255; got '{value}'", {"value": value}
        ) from None


def _eps(value: float) -> float:
    if value > 1:
        raise PydanticCustomError(
            "eps", "eps is in pixel units of [0, 1]; got {value}: divide by 255?", {"value": f"{value:g}"}
        )
    return value


SOURCES = ("simulated", "nsd", "recording", "rdms")

Eps = Annotated[float, BeforeValidator(_fraction), Field(ge=0, allow_inf_nan=False)]
"""A budget; of an L2 norm it may be above 1."""

PixelEps = Annotated[float, BeforeValidator(_fraction), AfterValidator(_eps), Field(ge=0, allow_inf_nan=False)]
"""A budget of the Linf norm."""

Path = Annotated[str, Field(min_length=1)]
"""A file, a folder or a URL; ``$NAME`` stands for an environment variable, and a relative path starts at the study's file."""

Description = dict[str, Any]
"""A class and its arguments: ``{class_path: ..., init_args: {...}}``."""


def resolved_path(path: str, folder: pathlib.Path, *, keep_unset: bool = False) -> str:
    """A path of a study's file with its environment variables, from the folder of that file.

    Args:
        path: The path.
        folder: The folder.
        keep_unset: Whether a path with an environment variable that is not set stays as it is, in place of an error.

    Raises:
        ValueError: If an environment variable is not set.

    Example:
        >>> resolved_path("data/v4.npy", pathlib.Path("/lab")).replace(os.sep, "/")
        '/lab/data/v4.npy'
    """
    expanded = os.path.expandvars(path)
    if "$" in expanded and keep_unset:
        return path
    if "$" in expanded:
        name = expanded[expanded.index("$") :].split("/")[0]
        raise ValueError(f"{path}: the environment variable {name} is not set")
    return expanded if "://" in expanded else str(folder / pathlib.Path(expanded).expanduser())


_PLAIN = {
    "greater_than_equal": "at least ", "greater_than": "above ", "less_than_equal": "at most ", "less_than": "below ",
    "int_type": "a whole number", "int_parsing": "a whole number", "int_from_float": "a whole number",
    "float_type": "a number", "float_parsing": "a number", "finite_number": "a finite number",
    "bool_type": "true or false", "bool_parsing": "true or false", "string_type": "text", "list_type": "a list",
    "tuple_type": "a list", "dict_type": "a mapping", "mapping_type": "a mapping", "model_type": "a mapping",
    "model_attributes_type": "a mapping",
}  # fmt: skip
"""What a value must be, by pydantic's name of the error; a bound follows."""


def _shown(value: Any) -> str:
    text = "nothing" if value is None else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def first_errors(error: ValidationError, limit: int = 8) -> list[str]:
    """The errors of a validation, a line each: the key's path, and what is wrong with its value."""
    lines = []
    for each in error.errors(include_url=False):
        place = each["loc"]
        if place[:1] == ("responses",) and len(place) > 2:  # the source, by which pydantic has chosen the class
            place = place[:2] + place[3:] if isinstance(place[2], str) and place[2] in SOURCES else place
        path = ".".join(str(part) for part in place if not _inner(part))
        message = each["msg"].removeprefix("Value error, ")
        context = each.get("ctx", {})
        expected = context.get("expected") or context.get("expected_tags")
        if each["type"] in ("literal_error", "union_tag_invalid", "enum") and isinstance(expected, str):
            known = [part.strip("' ") for part in expected.replace(" or ", ", ").split(",")]
            got = context.get("tag", each["input"])
            message = f"{got!r} is none of {', '.join(known)}{near_match(str(got), known)}"
        elif each["type"] in _PLAIN:
            bound = next((f"{context[name]:g}" for name in ("ge", "gt", "le", "lt") if name in context), "")
            message = f"must be {_PLAIN[each['type']]}{bound}; got {_shown(each['input'])}"
        elif each["type"] == "missing":
            message = "this key is missing"
        lines.append(f"{path}: {message}" if path else message)
    more = len(lines) - limit
    return lines[:limit] + ([f"and {more} more"] if more > 0 else [])


def _inner(part: Any) -> bool:
    """Whether a part of an error's place is pydantic's own: a validator or the tag of a union."""
    return isinstance(part, str) and (part.endswith("]") or "(" in part)
