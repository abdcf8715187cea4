"""NSD from a bucket or server: only the needed data is downloaded, after its size was shown and confirmed."""

from __future__ import annotations

import functools
import glob
import hashlib
import logging
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from neuroalign.addresses import HIDDEN, redacted
from neuroalign.checksums import crc32_of_file
from neuroalign.data.nsd.columns import read_columns
from neuroalign.data.nsd.layout import FACTS, TRIALS_PER_SESSION, NSDError, NSDPaths
from neuroalign.data.nsd.server import Server
from neuroalign.data.nsd.transfers import add_transfer, read_transfers
from neuroalign.data.nsd.tree import Check, Confirm, Tree, dataset_of
from neuroalign.files import check_space, readable_size
from neuroalign.moved import former_keywords
from neuroalign.processes import locked
from neuroalign.progress import in_lines, wanted
from neuroalign.types import unknown

__all__: list[str] = []

_log = logging.getLogger(__name__)
_T = TypeVar("_T")

TERMS = (
    "NSD is used under its Data Access Agreement (naturalscenesdataset.org: research and education only, no passing on, "
    "cite Allen et al. 2022). Fill in its form, then say so with accept_terms=True (--accept-terms)"
)
BLOCK = 8 * 2**20  # bytes per request


class RemoteTree(Tree):
    """An NSD folder behind a URL, with a local folder of the files that were downloaded as a whole.

    A failed request is repeated with growing waits, and an incomplete file is continued, also in a later run. A file is
    complete if its size, and its MD5 if the server's ETag is one, are right; ``transfers.json`` in the download folder
    records size, ETag and SHA-256 of each file.

    A password or token in the URL or in the storage options is used for requests alone; names, messages, downloaded files and
    stored descriptions of the source have ``***`` in its place.

    Args:
        url: Such as ``s3://natural-scenes-dataset``.
        download_folder: Folder of downloaded files, in NSD's layout; None means one in the user's cache folder.
        accept_terms: Whether you accept NSD's Data Access Agreement.
        confirm: None asks at the terminal, True doesn't ask, and a function receives the question and returns whether to go
            on.
        transfer: "voxels" reads betas in HDF5 voxel by voxel, "files" downloads whole files.
        storage_options: Options of the fsspec file system; for s3 None means ``{"anon": True}``.
        retries: How often a failed request is repeated.
        wait: Seconds before the first repetition; each further one waits twice as long.

    Raises:
        PermissionError: If the terms are not accepted.
        ImportError: If the packages of the extra ``cloud`` are missing.
        FileNotFoundError: If a local part of the URL doesn't exist.
    """

    is_remote = True

    @former_keywords(cache="download_folder")
    def __init__(
        self,
        url: str,
        *,
        download_folder: str | os.PathLike[str] | None = None,
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
        self.server = Server(url, storage_options=storage_options, retries=retries, wait=wait)
        self.url = self.server.url
        self.confirm, self.transfer = confirm, transfer
        self.root = Path(download_folder).expanduser() if download_folder is not None else _default_folder(self.url)
        self._info: dict[Path, dict[str, Any] | None] = {}
        self._names: dict[Path, list[str]] = {}
        self.transferred = 0  # bytes, so far

    def __str__(self) -> str:
        return self.url

    def _remote(self, path: Path) -> str:
        return self.server.address(path.relative_to(self.root).as_posix())

    def _try(self, action: Callable[[], _T], path: Path) -> _T:
        return self.server.attempt(action, path.relative_to(self.root).as_posix())

    def _stat(self, path: Path) -> dict[str, Any] | None:
        if path not in self._info:
            try:
                info = self._try(lambda: self.server.filesystem().info(self._remote(path)), path)
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
        """Values that differ once a file has changed: its size, and its ETag and time of change if the server names them."""
        if whole and self._is_here(path):
            return {"bytes": self.size(path), "crc32": crc32_of_file(path)}
        size, stat = self.size(path), self._stat(path) or {}
        return {"bytes": size, **{name: stat[name] for name in ("etag", "modified") if stat.get(name)}}

    def names(self, folder: Path) -> list[str]:
        """Names in a folder; an empty list if the server doesn't list folders."""
        if folder not in self._names:
            try:
                listed = self._try(lambda: self.server.filesystem().ls(self._remote(folder), detail=False), folder)
                self._names[folder] = sorted({name.rstrip("/").partition("?")[0].rpartition("/")[2] for name in listed})
            except (FileNotFoundError, PermissionError, NotADirectoryError):
                self._names[folder] = []
        return self._names[folder]

    def sessions(self, paths: NSDPaths) -> list[int]:
        found = super().sessions(paths)
        if found:
            return found
        # A server that doesn't list folders is asked for each session.
        return [n for n in range(1, FACTS[paths.subject].sessions + 1) if self.session_files(paths, n)]

    def fetch(self, paths: Iterable[Path], what: str = "files") -> None:
        """Download whole files that are not in the download folder yet."""
        missing = [path for path in dict.fromkeys(paths) if not self._is_here(path)]
        if not missing:
            return
        total = sum(self.size(path) for path in missing)
        check_space(self.root, total)
        count = f"{len(missing)} {what}" if len(missing) > 1 else missing[0].name
        self._ask(f"Fetch {count}, {readable_size(total)}, from {self.url} to {self.root}?")
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
        bar = Progress(*columns, transient=True, disable=not (wanted() and sys.stderr.isatty()))
        with bar, in_lines(f"fetching {what}", total, show=not sys.stderr.isatty()) as share:
            task = bar.add_task(what, total=total)

            def advance(num_bytes: int) -> None:
                share.advance(num_bytes)
                bar.update(task, advance=num_bytes)

            for path in missing:
                bar.update(task, description=path.name)
                self._download(path, advance)

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
        record = read_transfers(self.root).get(path.relative_to(self.root).as_posix())
        if record is None or not path.is_file() or path.stat().st_size != record["size"]:
            return False
        stat = self._stat(path)
        return stat is None or (stat["size"], stat["etag"]) == (record["size"], record["etag"])

    def _download(self, path: Path, advance: Callable[[int], None]) -> None:
        import pooch

        stat = self._stat(path)
        if stat is None:
            self.size(path)  # raises
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        pooch.get_logger().setLevel("WARNING")
        # With the lock, two processes download a file once.
        with locked(path.with_name(f".{path.name}.lock"), str(path), watch=f".{glob.escape(path.name)}.*"):
            if self._is_here(path):
                return
            path.unlink(missing_ok=True)
            is_md5 = re.fullmatch(r"[0-9a-f]{32}", stat["etag"])
            try:
                pooch.retrieve(
                    self.name(path),
                    known_hash=f"md5:{stat['etag']}" if is_md5 and self.server.protocol == "s3" else None,
                    fname=path.name,
                    path=path.parent,
                    downloader=lambda url, out, _: self._resume(path, stat, Path(out), advance),
                )
            except ValueError as error:  # pooch raises this for a wrong hash
                if isinstance(error, NSDError):
                    raise
                raise NSDError(f"{path.name} arrived damaged: {error}") from error
            # Incomplete files of versions that the server no longer has.
            for partial in path.parent.glob(f".{glob.escape(path.name)}.*.part"):
                partial.unlink(missing_ok=True)
            digest = pooch.file_hash(str(path), alg="sha256")
            add_transfer(self.root, path, {**stat, "sha256": digest, "url": self.url})

    def _resume(self, path: Path, stat: Mapping[str, Any], out: Path, advance: Callable[[int], None]) -> None:
        """Download a file block by block to a partial file, which a later run can continue."""
        tag = hashlib.sha256(f"{stat['etag']}{stat['size']}".encode()).hexdigest()[:12]
        partial = path.with_name(f".{path.name}.{tag}.part")  # named after this version of the file
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
        block = self.server.filesystem().cat_file(remote, start=start, end=end)
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
            raise type(error)(self.server.without_secrets(str(error))) from None
        except OSError as error:
            raise NSDError(f"{self.url}: {path.name} can't be read: damaged, or the connection failed "
                           f"({self.server.told(error)})") from None  # fmt: skip

    def open(self, path: Path) -> Any:
        """A file on the server as a binary file that is read in parts."""
        # Small blocks, because reads are scattered: chunks of 1.5 kB and nodes of the file's index.
        options = {"cache_type": "blockcache", "block_size": 2**15, "cache_options": {"maxblocks": 512}}
        return self._try(lambda: self.server.filesystem().open(self._remote(path), **options), path)

    def columns(self, path: Path, dataset: str, places: np.ndarray, *, check: Check) -> np.ndarray:
        """Read columns of an HDF5 dataset on the server: only blocks of the file that hold these columns or their index."""
        if self.transfer == "files" or self._is_here(path):
            self.fetch([path])
            return super().columns(path, dataset, places, check=check)
        import h5py

        def read() -> np.ndarray:
            with self.open(path) as remote, h5py.File(remote) as file:
                data = dataset_of(file, dataset, path)
                check(data.shape, data.dtype)
                out = read_columns(data, places)  # in the order of the file, so that neighbours come in one block
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


def _default_folder(url: str) -> Path:
    import pooch

    address = redacted(url.partition("?")[0]).replace(f"{HIDDEN}@", "").rstrip("/")
    return Path(pooch.os_cache("neuroalign")) / re.sub(r"[^A-Za-z0-9.-]+", "_", address)
