"""Fingerprints of the files that a study reads: other content is another fingerprint, and so makes its stages stale."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from neuroalign.addresses import redacted
from neuroalign.checksums import crc32_of_samples
from neuroalign.files import whole

__all__: list[str] = []

ABSENT = "absent"
WHOLE = 256 * 10**6
"""Bytes up to which a file is read whole."""
_SETTLED = 2.0  # seconds after a change in which another one may leave the same time


def fingerprint(path: str | os.PathLike[str], *, cache: Path | None = None) -> str:
    """The fingerprint of a file, a folder, or a URL; "absent" if there is none.

    Of a file up to 256 MB every byte counts. Of a larger one the size, the time of its last change and blocks spread over it
    count: a change between the blocks that keeps size and time is not seen. Of a folder the names and the files in it
    count, except those whose name begins with a dot. Of a URL the size counts, and the tag or time that its server gives.

    Args:
        path: What to look at.
        cache: A JSON file that keeps fingerprints by path, size, time and inode: a file whose bytes were changed with
            all four kept is then not read again.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "responses.csv"
        >>> fingerprint(path)
        'absent'
        >>> _ = path.write_text("0.5")
        >>> before = fingerprint(path)
        >>> _ = path.write_text("0.6")
        >>> fingerprint(path) == before
        False
    """
    return fingerprints([path], cache=cache)[os.fspath(path)]


def fingerprints(paths: Iterable[str | os.PathLike[str]], *, cache: Path | None = None) -> dict[str, str]:
    """The fingerprint of each of several files, folders or URLs; see :func:`fingerprint`.

    Example:
        >>> fingerprints(["no/such/file.h5"])
        {'no/such/file.h5': 'absent'}
    """
    known = _read(cache)
    before = dict(known)
    found = {os.fspath(path): _of(os.fspath(path), known) for path in paths}
    if cache is not None and known != before:
        with whole(cache) as temporary:
            temporary.write_text(json.dumps(known))
    return found


def _of(path: str, known: dict[str, Any]) -> str:
    if "://" in path:
        return _of_url(path)
    if Path(path).is_dir():
        parts = [f"{name} {_of_file(file, known)}" for name, file in _files(Path(path))]
        return "folder-" + hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]
    return _of_file(Path(path), known)


def _files(folder: Path) -> Iterator[tuple[str, Path]]:
    """Files of a folder, by the path in it, in an order that is the same everywhere."""
    found = []
    for top, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(top, name) for name in names if not name.startswith(".")]
    return iter(sorted((path.relative_to(folder).as_posix(), path) for path in found))


def _of_file(path: Path, known: dict[str, Any]) -> str:
    try:
        stat = path.stat()
    except OSError:
        return ABSENT
    place, state = os.path.abspath(path), [stat.st_size, stat.st_mtime_ns, stat.st_ino]  # noqa: PTH100
    if place in known and known[place][:3] == state:
        return str(known[place][3])
    found = _of_content(path, stat)
    known.pop(place, None)
    if time.time() - stat.st_mtime > _SETTLED:
        known[place] = [*state, found]
    return found


def _of_content(path: Path, stat: os.stat_result) -> str:
    if stat.st_size > WHOLE:
        return f"samples-{stat.st_size}-{crc32_of_samples(path):08x}-{stat.st_mtime_ns}"
    with path.open("rb") as file:
        return f"sha256-{hashlib.file_digest(file, 'sha256').hexdigest()[:32]}"


def _of_url(url: str) -> str:
    try:
        import fsspec

        filesystem, place = fsspec.core.url_to_fs(url)
        filesystem.invalidate_cache()
        info = filesystem.info(place)
    except FileNotFoundError:
        return ABSENT
    except (ImportError, ValueError) as error:
        raise ImportError(
            f"{redacted(url)} can't be opened: install fsspec and its package for this kind of URL, for s3 by pip install "
            f"'neuroalign[cloud]' ({redacted(str(error))})"
        ) from error
    tags = [str(info[name]) for name in ("ETag", "etag", "md5Hash", "LastModified", "last_modified", "created", "mtime")
            if info.get(name) is not None]  # fmt: skip
    text = " ".join([str(info.get("size")), *tags[:1]])
    return "url-" + hashlib.sha256(text.encode()).hexdigest()[:32]


def _read(cache: Path | None) -> dict[str, Any]:
    """What is remembered; nothing if the file is missing or isn't ours."""
    try:
        known = json.loads(cache.read_text()) if cache is not None else {}
    except (OSError, ValueError):
        return {}
    right = isinstance(known, dict) and all(isinstance(entry, list) and len(entry) == 4 for entry in known.values())
    return known if right else {}
