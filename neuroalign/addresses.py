"""URLs in a form that may be shown and stored: without passwords, tokens or signatures."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import unquote

__all__: list[str] = []

_USER = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*://)([^/\s?#'\"]*)@")
_QUERY = re.compile(r"([?&;][A-Za-z0-9_.~%+\[\]-]+=)([^&;#\s'\"<>)]+)")
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://\S+")
_SECRET_NAME = re.compile(r"key|secret|token|passw|auth|credential|signature|cookie", re.IGNORECASE)
HIDDEN = "***"


def redacted(text: str, secrets: Iterable[str] = ()) -> str:
    """Hide user, password and query values of all URLs in a text, and known secrets anywhere in it.

    Args:
        text: A URL, or a message that contains URLs.
        secrets: The secrets that :func:`secrets_of` found.

    Example:
        >>> redacted("can't open https://me:pw@host/nsd?token=abc&page=2")
        "can't open https://***@host/nsd?token=***&page=***"
    """
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    text = _USER.sub(rf"\1{HIDDEN}@", text)
    return _URL.sub(lambda url: _QUERY.sub(rf"\1{HIDDEN}", url[0]), text)


def redacted_texts(value: Any) -> Any:
    """Hide passwords and keys in the URLs of all texts of plain values, whatever the names beside them.

    Example:
        >>> redacted_texts({"root of monkey 1": ["https://me:pw@host/nsd"]})
        {'root of monkey 1': ['https://***@host/nsd']}
    """
    if isinstance(value, Mapping):
        return {redacted_texts(name): redacted_texts(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [redacted_texts(each) for each in value]
    return redacted(value) if isinstance(value, str) else value


def without_secrets(value: Any) -> Any:
    """Hide passwords and keys in settings (dicts and lists of plain values), in URLs too.

    Example:
        >>> without_secrets(
        ...     {
        ...         "root": "https://me:pw@host/nsd",
        ...         "storage_options": {"secret": "abc", "anon": False},
        ...     }
        ... )
        {'root': 'https://***@host/nsd', 'storage_options': {'secret': '***', 'anon': False}}
    """
    if isinstance(value, str):
        return redacted(value)
    if isinstance(value, Mapping):
        return {k: HIDDEN if _is_secret(k, v) else without_secrets(v) for k, v in value.items()}
    return type(value)(map(without_secrets, value)) if type(value) in (list, tuple) else value


def _is_secret(name: Any, value: Any) -> bool:
    return isinstance(value, str) and bool(value) and bool(_SECRET_NAME.search(str(name)))


def secrets_of(url: str, options: Mapping[str, Any] | None = None) -> frozenset[str]:
    """The secrets in a URL and in the options of its file system, each as it is written and decoded.

    Example:
        >>> sorted(secrets_of("https://me:p%40w@host/nsd?token=abcd", {"secret": "efgh"}))
        ['abcd', 'efgh', 'me:p%40w', 'me:p@w', 'p%40w', 'p@w']
    """
    found = [match[2] for match in _USER.finditer(url)]
    found += [user.partition(":")[2] for user in found]
    found += [match[2] for match in _QUERY.finditer(url)]
    found += _secret_values(options or {})
    return frozenset(s for value in found for s in (value, unquote(value)) if len(s) > 1)


def _secret_values(options: Mapping[str, Any]) -> Iterator[str]:
    for name, value in options.items():
        if isinstance(value, Mapping):
            yield from _secret_values(value)
        elif _is_secret(name, value):
            yield value
