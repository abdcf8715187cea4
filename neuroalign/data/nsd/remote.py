"""NSD from a bucket or server: only what is asked for is transferred, after its size was shown and confirmed."""

from __future__ import annotations

import functools
import glob
import hashlib
import json
import logging
import os
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from neuroalign.addresses import HIDDEN, redacted, secrets_of
from neuroalign.checksums import crc32_of_file
from neuroalign.data.nsd.layout import FACTS, TRIALS_PER_SESSION, NSDError, NSDPaths
from neuroalign.data.nsd.tree import Check, Confirm, Tree, dataset_of, read_columns
from neuroalign.files import check_space, readable_size, whole
from neuroalign.processes import locked
from neuroalign.types import unknown

_log = logging.getLogger(__name__)
_T = TypeVar("_T")

TERMS = (
    "NSD is used under its Data Access Agreement (naturalscenesdataset.org: research and education only, no passing on, "
    "cite Allen et al. 2022). Fill in its form, then say so with accept_terms=True (--accept-terms)"
)
BLOCK = 8 * 2**20  # bytes a request


class RemoteTree(Tree):
    """A tree behind a URL, with a local cache of the files that were fetched whole.

    A transfer that breaks off is tried again, waiting longer each time, and goes on where it stopped, in a later run too.
    A file is kept once its size, and its MD5 where the server's ETag is one, are right; ``transfers.json`` in the cache
    records size, ETag and SHA-256 of each.

    A password or token in the URL, or among the storage options, is used for the transfer alone: names, messages, the cache
    and what is stored of the source have ``***`` in its place.

    Args:
        url: Such as ``s3://natural-scenes-dataset``.
        cache: Folder of fetched files, in NSD's layout; default one in the user's cache folder.
        accept_terms: That NSD's Data Access Agreement is accepted.
        confirm: None asks at the terminal, True doesn't ask, a function gets the question and answers it.
        transfer: "voxels" reads betas in HDF5 voxel by voxel, "files" fetches whole files.
        storage_options: Of the fsspec file system; for s3 default ``{"anon": True}``.
        retries: How often a request is tried again.
        wait: Seconds before the first new try; doubles with each.

    Raises:
        PermissionError: If the terms are not accepted.
        ImportError: If the packages of the extra ``cloud`` are missing.
        FileNotFoundError: If a local part of the URL doesn't exist.
    """

    is_remote = True

    def __init__(
        self,
        url: str,
        *,
        cache: str | os.PathLike[str] | None = None,
        accept_terms: bool = False,
        confirm: Confirm = None,
        transfer: str = "voxels",
        storage_options: Mapping[str, Any] | None = None,
        retries: int = 5,
        wait: float = 0.5,
    ) -> None:
        if not accept_terms:
            raise PermissionError(f"{redacted(url)}: {TERMS}")
        if transfer not in ("voxels", "files"):
            raise ValueError(unknown("transfer", transfer, ("voxels", "files")))
        address, _, query = url.partition("?")
        address, self._query = address.rstrip("/"), f"?{query}" if query else ""
        self._secrets = secrets_of(url, storage_options)
        self.url = redacted(address)
        self.confirm, self.transfer, self.retries, self.wait = confirm, transfer, retries, wait
        protocol = address.partition("://")[0]
        _check_packages(self.url)
        self._options = dict(storage_options or ({"anon": True} if protocol == "s3" else {}))
        if protocol == "s3":  # tries are counted here, not twice
            self._options.setdefault("config_kwargs", {"retries": {"max_attempts": 1}, "connect_timeout": 10})
        self._protocol, self._base = protocol, address if protocol.startswith("http") else address.split("://", 1)[1]
        self.root = Path(cache).expanduser() if cache is not None else _default_cache(self.url)
        self._filesystem: tuple[int, Any] | None = None
        self._info: dict[Path, dict[str, Any] | None] = {}
        self._names: dict[Path, list[str]] = {}
        self.transferred = 0  # bytes, so far

    def __str__(self) -> str:
        return self.url

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_filesystem": None}

    def _fs(self) -> Any:
        """The file system of this process: connections don't survive a fork."""
        import fsspec

        if self._filesystem is None or self._filesystem[0] != os.getpid():
            self._filesystem = (os.getpid(), fsspec.filesystem(self._protocol, **self._options))
        return self._filesystem[1]

    def _remote(self, path: Path) -> str:
        return f"{self._base}/{path.relative_to(self.root).as_posix()}{self._query}"

    def _told(self, error: BaseException) -> str:
        """An error in words, without the credentials that file systems quote."""
        return redacted(repr(error), self._secrets)

    def _try(self, action: Callable[[], _T], path: Path) -> _T:
        """Do a request; again, after a wait, where the connection failed."""
        for attempt in range(self.retries + 1):
            try:
                return action()
            except NSDError:
                raise
            except Exception as error:
                # Without the cause, here and below: it names the whole URL.
                if isinstance(error, FileNotFoundError) and not _is_connection(error.__cause__):
                    raise FileNotFoundError(f"no file {self.name(path)}") from None
                if getattr(error, "status", None) == 403 or isinstance(error, PermissionError):
                    raise PermissionError(
                        f"{self.name(path)}: access denied (403). The file may be withheld, or not exist in a bucket that "
                        "doesn't list its files; check subject, session and space"
                    ) from None
                if attempt == self.retries:
                    raise NSDError(f"{self.url}: {path.name} can't be fetched after {attempt + 1} tries "
                                   f"({self._told(error)}). What arrived is kept; run again to go on") from None  # fmt: skip
                delay = self.wait * 2**attempt
                _log.warning("%s: %s; trying again in %.3g s", path.name, self._told(error), delay)
                time.sleep(delay)
        raise AssertionError

    def _stat(self, path: Path) -> dict[str, Any] | None:
        if path not in self._info:
            try:
                info = self._try(lambda: self._fs().info(self._remote(path)), path)
                tag = str(info.get("ETag") or info.get("etag") or "").strip('"')
                modified = info.get("LastModified") or info.get("mtime") or info.get("updated") or ""
                self._info[path] = (
                    {"size": int(info["size"]), "etag": tag, "modified": str(modified)}
                    if info.get("type", "file") == "file"
                    else None
                )
            except FileNotFoundError:
                self._info[path] = None
        return self._info[path]

    def name(self, path: Path) -> str:
        return f"{self.url}/{path.relative_to(self.root).as_posix()}"

    def exists(self, path: Path) -> bool:
        return self._stat(path) is not None

    def size(self, path: Path) -> int:
        stat = self._stat(path)
        if stat is None:
            raise FileNotFoundError(f"no file {self.name(path)}")
        return stat["size"]

    def state(self, path: Path, *, whole: bool = False) -> dict[str, Any]:
        """What tells a file from a changed one: its size, and its ETag or when it changed, as far as the server tells."""
        if whole and self._is_here(path):
            return {"bytes": self.size(path), "crc32": crc32_of_file(path)}
        size, stat = self.size(path), self._stat(path) or {}
        return {"bytes": size, **{name: stat[name] for name in ("etag", "modified") if stat.get(name)}}

    def names(self, folder: Path) -> list[str]:
        """Names in a folder; none where the server doesn't list."""
        if folder not in self._names:
            try:
                listed = self._try(lambda: self._fs().ls(self._remote(folder), detail=False), folder)
                self._names[folder] = sorted({name.rstrip("/").partition("?")[0].rpartition("/")[2] for name in listed})
            except (FileNotFoundError, PermissionError, NotADirectoryError):
                self._names[folder] = []
        return self._names[folder]

    def sessions(self, paths: NSDPaths) -> list[int]:
        found = super().sessions(paths)
        if found:
            return found
        # A server without listings is asked for each session.
        return [n for n in range(1, FACTS[paths.subject].sessions + 1) if self.session_files(paths, n)]

    def fetch(self, paths: Iterable[Path], what: str = "files") -> None:
        """Bring whole files into the cache, those that are not there yet."""
        missing = [path for path in dict.fromkeys(paths) if not self._is_here(path)]
        if not missing:
            return
        total = sum(self.size(path) for path in missing)
        check_space(self.root, total)
        count = f"{len(missing)} {what}" if len(missing) > 1 else missing[0].name
        self._ask(f"Fetch {count}, {readable_size(total)}, from {self.url} to {self.root}?")
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
        with Progress(*columns, transient=True, disable=not sys.stderr.isatty()) as progress:
            task = progress.add_task(what, total=total)
            for path in missing:
                progress.update(task, description=path.name)
                self._download(path, lambda n: progress.update(task, advance=n))

    def _ask(self, question: str) -> None:
        if self.confirm is True:
            _log.info("%s yes", question)
            return
        if callable(self.confirm):
            agreed = self.confirm(question)
        elif self.confirm is None and sys.stdin is not None and sys.stdin.isatty():
            agreed = input(f"{question} [y/N] ").strip().lower() in ("y", "yes")
        else:
            raise NSDError(f"{question} Nothing was transferred: confirm with confirm=True (--yes)")
        if not agreed:
            raise NSDError(f"{question} Declined; nothing was transferred")

    def _is_here(self, path: Path) -> bool:
        record = self._records().get(path.relative_to(self.root).as_posix())
        if record is None or not path.is_file() or path.stat().st_size != record["size"]:
            return False
        stat = self._stat(path)
        return stat is None or (stat["size"], stat["etag"]) == (record["size"], record["etag"])

    def _records(self) -> dict[str, Any]:
        path = self.root / "transfers.json"
        if not path.is_file():
            return {}
        try:
            records = json.loads(path.read_text())
            if all({"size", "etag"} <= set(record) for record in records.values()):
                return records
        except (ValueError, AttributeError, TypeError):
            pass
        raise NSDError(f"{path} is damaged: remove it, and what was fetched is fetched again")

    def _record(self, path: Path, entry: Mapping[str, Any]) -> None:
        with locked(self.root / ".transfers.lock", "transfers.json", watch="*transfers.json"):
            records = self._records()
            records[path.relative_to(self.root).as_posix()] = dict(entry)
            with whole(self.root / "transfers.json") as temporary:
                temporary.write_text(json.dumps(records, indent=1, sort_keys=True))

    def _download(self, path: Path, advance: Callable[[int], None]) -> None:
        import pooch

        stat = self._stat(path)
        if stat is None:
            self.size(path)  # raises
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        pooch.get_logger().setLevel("WARNING")
        # Two processes fetch a file once.
        with locked(path.with_name(f".{path.name}.lock"), str(path), watch=f".{glob.escape(path.name)}.*"):
            if self._is_here(path):
                return
            path.unlink(missing_ok=True)
            is_md5 = re.fullmatch(r"[0-9a-f]{32}", stat["etag"])
            try:
                pooch.retrieve(
                    self.name(path),
                    known_hash=f"md5:{stat['etag']}" if is_md5 and self._protocol == "s3" else None,
                    fname=path.name,
                    path=path.parent,
                    downloader=lambda url, out, _: self._resume(path, stat, Path(out), advance),
                )
            except ValueError as error:  # pooch's word for a wrong hash
                if isinstance(error, NSDError):
                    raise
                raise NSDError(f"{path.name} arrived damaged: {error}") from error
            for partial in path.parent.glob(
                f".{glob.escape(path.name)}.*.part"
            ):  # of versions that the server no longer has
                partial.unlink(missing_ok=True)
            self._record(path, {**stat, "sha256": _sha256(path), "url": self.url})

    def _resume(self, path: Path, stat: Mapping[str, Any], out: Path, advance: Callable[[int], None]) -> None:
        """Fetch a file block by block to a partial file that a later run goes on with."""
        tag = hashlib.sha256(f"{stat['etag']}{stat['size']}".encode()).hexdigest()[:12]
        partial = path.with_name(f".{path.name}.{tag}.part")  # of this version of the file
        done = partial.stat().st_size if partial.exists() else 0
        advance(done)
        remote = self._remote(path)
        with partial.open("ab") as file:
            while done < stat["size"]:
                end = min(done + BLOCK, stat["size"])
                block = self._try(functools.partial(self._block, remote, done, end), path)
                file.write(block)
                file.flush()
                done += len(block)
                self.transferred += len(block)
                advance(len(block))
        self._info.pop(path, None)
        if self._stat(path) != stat:
            partial.unlink()
            raise NSDError(f"{path.name} was replaced on the server while it was fetched; run again")
        partial.replace(out)

    def _block(self, remote: str, start: int, end: int) -> bytes:
        block = self._fs().cat_file(remote, start=start, end=end)
        if len(block) != end - start:
            raise ConnectionError(f"{len(block)} bytes arrived of {end - start}")
        return block

    @contextmanager
    def reading(self, path: Path) -> Iterator[None]:
        try:
            yield
        except NSDError:
            raise
        except (FileNotFoundError, PermissionError) as error:
            raise type(error)(redacted(str(error), self._secrets)) from None
        except OSError as error:
            raise NSDError(f"{self.url}: {path.name} can't be read: damaged, or the connection failed "
                           f"({self._told(error)})") from None  # fmt: skip

    def open(self, path: Path) -> Any:
        """A file on the server as a binary file that is read in parts."""
        # Small blocks: what is read lies scattered, a chunk of 1.5 kB here and a node of the file's index there.
        options = {"cache_type": "blockcache", "block_size": 2**15, "cache_options": {"maxblocks": 512}}
        return self._try(lambda: self._fs().open(self._remote(path), **options), path)

    def columns(self, path: Path, dataset: str, places: np.ndarray, *, check: Check) -> np.ndarray:
        """Columns of an HDF5 dataset on the server: only the blocks of the file that hold them, or their index."""
        if self.transfer == "files" or self._is_here(path):
            self.fetch([path])
            return super().columns(path, dataset, places, check=check)
        import h5py

        order = np.lexsort(places.T[::-1])  # as they lie in the file, so that neighbours come in one block

        def read() -> np.ndarray:
            with self.open(path) as remote, h5py.File(remote) as file:
                data = dataset_of(file, dataset, path)
                check(data.shape, data.dtype)
                out = np.empty((data.shape[0], len(places)), dtype=data.dtype)
                out[:, order] = read_columns(data, places[order])
                self.transferred += getattr(remote.cache, "total_requested_bytes", 0)
            return out

        return self._try(read, path)

    def prepare(self, paths: Sequence[Path], num_voxels: int) -> None:
        in_parts = [p for p in paths if self.transfer == "voxels" and p.suffix == ".hdf5"]
        self.fetch(p for p in paths if p not in in_parts)
        if in_parts:
            size = readable_size(num_voxels * TRIALS_PER_SESSION * 2 * len(in_parts))
            self._ask(
                f"Read {num_voxels} voxels from {len(in_parts)} files, {size} and the files' indices, at {self.url}?"
            )


def _is_connection(error: BaseException | None) -> bool:
    """Whether fsspec's "no such file" hides a server that couldn't be reached."""
    return isinstance(error, (ConnectionError, TimeoutError)) or "Connect" in type(error).__name__


def _check_packages(url: str) -> None:
    try:
        import fsspec
        import pooch  # noqa: F401

        fsspec.get_filesystem_class(url.partition("://")[0])
    except ImportError as error:
        raise ImportError(f"{redacted(url)} needs the extra 'cloud': pip install 'neuroalign[cloud]' (protocols other than "
                          f"s3 and https need fsspec's package for them, too): {error}") from error  # fmt: skip


def _sha256(path: Path) -> str:
    import pooch

    return pooch.file_hash(str(path), alg="sha256")


def _default_cache(url: str) -> Path:
    import pooch

    address = redacted(url.partition("?")[0]).replace(f"{HIDDEN}@", "").rstrip("/")
    return Path(pooch.os_cache("neuroalign")) / re.sub(r"[^A-Za-z0-9.-]+", "_", address)
