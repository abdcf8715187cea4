"""Opening an NSD folder in one way, whether it is on this machine or behind a URL."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from typing import Any, TypedDict, cast

from neuroalign.data.nsd.remote import RemoteTree
from neuroalign.data.nsd.tree import Confirm, Tree
from neuroalign.moved import former_keywords

__all__ = ["open_nsd"]


class Access(TypedDict, total=False):
    """How files behind a URL are read: the options of :func:`open_nsd`, which all have a default."""

    download_folder: str | os.PathLike[str] | None
    accept_terms: bool
    confirm: Confirm
    transfer: str
    retries: int
    storage_options: Mapping[str, Any] | None


class FormerAccess(Access, total=False):
    """The same options with ``cache``, the former name of ``download_folder``."""

    cache: str | os.PathLike[str] | None


def with_present_names(access: Access | FormerAccess, *, stacklevel: int = 3) -> Access:
    """Options with ``download_folder`` in place of its former name ``cache``, which warns.

    Raises:
        TypeError: If both are given.

    Example:
        >>> with_present_names({"download_folder": "nsd-files"})
        {'download_folder': 'nsd-files'}
    """
    if "cache" not in access:
        return access
    if "download_folder" in access:
        raise TypeError("access has 'download_folder' and its former name 'cache'")
    warnings.warn("'cache' of access is 'download_folder' now", DeprecationWarning, stacklevel=stacklevel)
    present: dict[str, Any] = dict(access)
    present["download_folder"] = present.pop("cache")
    return cast(Access, present)


@former_keywords(cache="download_folder")
def open_nsd(
    root: str | os.PathLike[str] | Tree,
    *,
    download_folder: str | os.PathLike[str] | None = None,
    accept_terms: bool = False,
    confirm: Confirm = None,
    transfer: str = "voxels",
    retries: int = 5,
    storage_options: Mapping[str, Any] | None = None,
) -> Tree:
    """Open an NSD folder or URL once; every function that reads NSD takes the result in place of the folder or URL.

    Args:
        root: A folder, a URL (``s3://natural-scenes-dataset``, ``https://...``, or any that fsspec supports), or an NSD
            folder that is open already.
        download_folder: For a URL, the folder that downloaded files are kept in; None means one in the user's cache folder.
        accept_terms: For a URL, whether you have filled in, and keep to, NSD's Data Access Agreement.
        confirm: For a URL, None asks at the terminal before anything large is downloaded, True doesn't ask, and a function
            receives the question and returns whether to go on.
        transfer: For a URL, how betas in HDF5 are read: "voxels" (only the wanted voxels, each time) or "files" (whole
            files, kept in ``download_folder``).
        retries: For a URL, how often a failed request is repeated, after 0.5, 1, 2, ... seconds.
        storage_options: For a URL, options of its fsspec file system.

    Raises:
        FileNotFoundError: If there is no such folder, or it is no NSD folder.
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
        PermissionError: s3://natural-scenes-dataset: NSD is used under its Data Access ...
    """
    if isinstance(root, Tree):
        return root
    if "://" in os.fspath(root):
        return RemoteTree(
            os.fspath(root),
            download_folder=download_folder,
            accept_terms=accept_terms,
            confirm=confirm,
            transfer=transfer,
            retries=retries,
            storage_options=storage_options,
        )
    return Tree(root)
