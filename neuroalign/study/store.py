"""Results behind a URL: a finished result is put there whole, and fetched by whoever needs it."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
from pathlib import Path
from typing import Any

from neuroalign.addresses import redacted
from neuroalign.study.records import NAME, check_files, read_record

__all__: list[str] = []


class Store:
    """Results of stages in any file system that fsspec knows.

    The files of a result lie in a folder of their own for each attempt, and its record, which names that folder, is put
    last: machines that make the same stage at once can't mix their files, and half a result has no record. Credentials are
    those of fsspec's configuration, or of the environment.

    Args:
        url: The study's folder, such as ``s3://bucket/study``.

    Example:
        >>> Store("memory://a-study").keys()
        set()
    """

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")

    @property
    def mirror(self) -> Path:
        """The folder on this machine that keeps what was made or fetched here: below ``NEUROALIGN_CACHE``, if it is set."""
        root = os.environ.get("NEUROALIGN_CACHE") or Path("~/.cache/neuroalign").expanduser()
        return Path(root) / "studies" / hashlib.sha256(self.url.encode()).hexdigest()[:16]

    def keys(self) -> set[str]:
        """Keys of all finished results, by one listing."""
        filesystem, root = self._open()
        filesystem.invalidate_cache()
        found = filesystem.find(f"{root}/stages", maxdepth=2)
        parts = [path.rsplit("/", 2) for path in found]
        return {part[-2] for part in parts if len(part) == 3 and part[-1] == NAME}

    def has(self, key: str) -> bool:
        """Whether the result of a stage is finished."""
        filesystem, root = self._open()
        filesystem.invalidate_cache()
        return bool(filesystem.exists(f"{root}/stages/{key}/{NAME}"))

    def put(self, folder: Path, key: str) -> None:
        """Put a finished result there, its record last."""
        filesystem, root = self._open()
        record = read_record(folder)
        token = secrets.token_hex(8)
        for place in record["files"]:
            target = f"{root}/stages/{key}/{token}/{place}"
            filesystem.makedirs(target.rpartition("/")[0], exist_ok=True)
            filesystem.put_file(str(folder / place), target)
        filesystem.pipe_file(f"{root}/stages/{key}/{NAME}", json.dumps({**record, "attempt": token}).encode())

    def get(self, key: str, folder: Path) -> None:
        """Fetch a finished result into a new folder.

        Raises:
            FileNotFoundError: If there is none.
            DamagedFileError: If what arrived is not what was put there.
        """
        filesystem, root = self._open()
        place = f"{root}/stages/{key}"
        partial = folder.with_name(f".{folder.name}-{secrets.token_hex(4)}.part")
        try:
            partial.mkdir(parents=True)
            (partial / NAME).write_bytes(filesystem.cat_file(f"{place}/{NAME}"))
            record = read_record(partial)
            for name in record["files"]:
                (partial / name).parent.mkdir(parents=True, exist_ok=True)
                filesystem.get_file(f"{place}/{record['attempt']}/{name}", str(partial / name))
            check_files(partial, record)
            (partial / NAME).write_text(json.dumps(record, indent=1) + "\n")
            if not folder.exists():
                partial.rename(folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)

    def put_file(self, path: Path) -> None:
        """Put a file, such as a table, beside the results."""
        filesystem, root = self._open()
        filesystem.makedirs(root, exist_ok=True)
        filesystem.pipe_file(f"{root}/{path.name}", path.read_bytes())

    def read_file(self, name: str) -> bytes | None:
        """The content of a file beside the results; None if there is none."""
        filesystem, root = self._open()
        filesystem.invalidate_cache()
        try:
            return bytes(filesystem.cat_file(f"{root}/{name}"))
        except FileNotFoundError:
            return None

    def _open(self) -> tuple[Any, str]:
        try:
            import fsspec

            filesystem, root = fsspec.core.url_to_fs(self.url)
        except (ImportError, ValueError) as error:
            raise ImportError(
                f"{redacted(self.url)} can't be opened: install fsspec and its package for this kind of URL, for s3 by "
                f"pip install 'neuroalign[cloud]' ({redacted(str(error))})"
            ) from error
        return filesystem, str(root).rstrip("/")
