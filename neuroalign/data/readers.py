"""Readers of recordings that other installed packages publish, by their name or by the file's extension."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

from neuroalign import plugins
from neuroalign.types import unknown

__all__: list[str] = []

EXTENSIONS = (".npy", ".npz", ".mat", ".h5", ".hdf5", ".csv", ".tsv")
"""Of files that are read here."""


def reader_of(path: Path, name: str | None) -> str | None:
    """Name of the published reader for a file; None if the file is read here.

    Args:
        path: The file.
        name: Name of a reader; None means that of the file's extension, without the dot.

    Raises:
        ValueError: If there is no such reader, or a file of this kind is read neither here nor by a published reader.

    Warns:
        UserWarning: If a package publishes a reader for a kind of files that is read here.

    Example:
        >>> reader_of(Path("spikes.npy"), None) is None
        True
    """
    ours, published = [extension[1:] for extension in EXTENSIONS], plugins.installed("readers")
    plugins.warn_of_hidden("readers", [given for given in (path.suffix.lower()[1:], name) if given in ours])
    if name is not None:
        if name in ours:
            if path.suffix.lower() == f".{name}":
                return None
            raise ValueError(f"{path.name} is no .{name}: files are read by their extension")
        if name not in published:
            raise ValueError(unknown("reader", name, published) if published else f"unknown reader {name!r}; no installed "
                             "package publishes one")  # fmt: skip
        return name
    if path.suffix.lower() in EXTENSIONS:
        return None
    if path.suffix.lower()[1:] in published:
        return path.suffix.lower()[1:]
    more = f"; installed packages read {', '.join(published)} (reader=...)" if published else ""
    raise ValueError(f"{path.name}: recordings are read from {', '.join(EXTENSIONS[:-1])} and {EXTENSIONS[-1]}{more}")


def read_by(name: str, path: Path, key: str | None) -> Any:
    """What a published reader returns for a file: responses, or an array.

    Args:
        name: Name of the reader, from :func:`reader_of`.
        path: The file or folder.
        key: Name of the array within, for a reader that has a parameter ``key``.

    Raises:
        ImportError: If the package that publishes the reader can't be used, or two do.
        TypeError: If a key is given to a reader that takes none.
        ValueError: If the reader fails; the message names it and the file.
    """
    read: Callable[..., Any] = plugins.load("readers", name)
    if not callable(read):
        raise plugins.broken("readers", name, TypeError(f"it is no function, but {type(read).__name__}"))
    if key is not None and "key" not in inspect.signature(read).parameters:
        raise TypeError(f"the reader {name!r} takes no key")
    try:
        return read(path) if key is None else read(path, key=key)
    except Exception as error:  # a stranger's reader may raise anything
        raise ValueError(f"{path}: the reader {name!r} fails: {type(error).__name__}: {error}") from error
