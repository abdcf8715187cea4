"""Opening a tree of NSD, the same way whether it is a folder here or lies behind a URL."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, TypedDict

from neuroalign.data.nsd.remote import RemoteTree
from neuroalign.data.nsd.tree import Confirm, Tree


class Access(TypedDict, total=False):
    """How files behind a URL are reached: the options of :func:`open_nsd`, all of which have a default."""

    cache: str | os.PathLike[str] | None
    accept_terms: bool
    confirm: Confirm
    transfer: str
    retries: int
    storage_options: Mapping[str, Any] | None


def open_nsd(
    root: str | os.PathLike[str] | Tree,
    *,
    cache: str | os.PathLike[str] | None = None,
    accept_terms: bool = False,
    confirm: Confirm = None,
    transfer: str = "voxels",
    retries: int = 5,
    storage_options: Mapping[str, Any] | None = None,
) -> Tree:
    """The tree at a folder or URL; whatever reads NSD takes it in place of the folder or URL, and opens nothing again.

    Args:
        root: A folder, a tree that was opened already, or a URL:
            ``s3://natural-scenes-dataset``, ``https://...``, or any that fsspec knows.
        cache: For a URL, the folder that fetched files are kept in; default one in the user's cache folder.
        accept_terms: For a URL, that you have filled in, and keep to, NSD's Data Access Agreement.
        confirm: For a URL, None asks at the terminal before anything large is fetched, True doesn't ask, a function gets
            the question and answers it.
        transfer: For a URL, how betas in HDF5 are read: "voxels" (only the wanted ones, each time) or "files" (whole
            files, kept in the cache).
        retries: For a URL, how often a failed request is tried again, after 0.5, 1, 2, ... seconds.
        storage_options: For a URL, options of its fsspec file system.

    Raises:
        FileNotFoundError: If there is no such folder, or it is no NSD tree.
        PermissionError: If a URL is given without ``accept_terms``.
        ImportError: If a URL is given without the packages of the extra ``cloud``.

    Example:
        >>> import tempfile, pathlib
        >>> root = pathlib.Path(tempfile.mkdtemp())
        >>> (root / "nsddata").mkdir()
        >>> open_nsd(root).root == root
        True
        >>> open_nsd("s3://natural-scenes-dataset")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        PermissionError: s3://natural-scenes-dataset: NSD is used under its Data Access Agreement ...
    """
    if isinstance(root, Tree):
        return root
    if "://" in os.fspath(root):
        return RemoteTree(
            os.fspath(root),
            cache=cache,
            accept_terms=accept_terms,
            confirm=confirm,
            transfer=transfer,
            retries=retries,
            storage_options=storage_options,
        )
    return Tree(root)
