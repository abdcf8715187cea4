"""Texts of users, files and tables as plain text in Markdown, without secrets or places on this machine."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from neuroalign.addresses import redacted

__all__: list[str] = []

# What makes Markdown of a text wherever it stands: also a colon before a word, which links addresses and makes emoji.
_MARKUP = re.compile(r"([!#$&*<>@\[\\\]^_`{|}~]|:(?=\S))")
_AT_START = re.compile(r"^(\d*)([-+=.)])(?=\s|$|\2)")  # what makes a list, a rule or a heading of a line

# The folders in front of a name: /home/me/, file:///home/me/, ~/, C:\\lab\\. Not those of a URL, nor relative ones.
_NAME = r"[^\s/\\:;,'\"<>|()]+"
_PATH = re.compile(rf"(?<![\w.:/\\~-])(?:(?:file://)?/(?:{_NAME}/)+|~/(?:{_NAME}/)*|[A-Za-z]:[\\/](?:{_NAME}[\\/])*)")


def shown(value: Any) -> str:
    r"""A value as one line of text: no control characters, secrets, or folders of this machine.

    Example:
        >>> shown("/home/me/lab/responses.h5\nof https://me:pw@host/nsd")
        'responses.h5 of https://***@host/nsd'
    """
    text = " ".join(str(value).split())
    text = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
    return _PATH.sub("", redacted(text))


def escaped(value: Any) -> str:
    r"""The same as Markdown that shows exactly this text, whatever stands in it.

    Example:
        >>> print(escaped("V4](http://host) | <b>"))
        V4\](http\://host) \| \<b\>
    """
    return _AT_START.sub(r"\1\\\2", _MARKUP.sub(r"\\\1", shown(value)))


def published(value: Any) -> Any:
    """Plain values as they may be published: texts as :func:`shown`, numbers that JSON lacks as None.

    Example:
        >>> published({"root": "/data/nsd/subj01", "r": float("nan")})
        {'root': 'subj01', 'r': None}
    """
    if isinstance(value, Mapping):
        return {shown(name): published(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [published(each) for each in value]
    if isinstance(value, str):
        return shown(value)
    number = getattr(value, "item", lambda: value)()  # of NumPy
    if isinstance(number, float) and number - number != 0:
        return None
    return number if number is None or isinstance(number, bool | int | float) else shown(number)


def redacted_bibtex(text: str) -> str:
    r"""BibTeX line by line, without secrets, folders of this machine or control characters.

    Example:
        >>> redacted_bibtex("@misc{me,\n  url = {https://me:pw@host}\n}")
        '@misc{me,\n  url = {https://***@host}\n}'
    """
    lines = ("".join(c for c in line if c.isprintable()) for line in text.strip().splitlines())
    return _PATH.sub("", redacted("\n".join(line.rstrip() for line in lines)))
