"""The images that are needed, resized once into a memory-mapped file: random reads for shuffled epochs at full speed."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import nullcontext
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from neuroalign.data.nsd.layout import NSDError
from neuroalign.data.nsd.stimuli import NSDImages
from neuroalign.data.nsd.tree import Tree, open_tree
from neuroalign.files import check_space, whole
from neuroalign.processes import locked

_BLOCK = 256  # images a task, and a checksum


class CachedImages:
    """Images in a memory-mapped file: ``images[rows]`` gives uint8 (stimulus, height, width, channel), as the brick does.

    The file is mapped once in each process, and read by the page: many workers share one copy.

    Args:
        path: The folder that :func:`cache_stimuli` made.

    Attributes:
        rows: (image,) rows of the brick that are cached, increasing.
        shape: (image, height, width, channel).

    Raises:
        FileNotFoundError: If there is no cache, or it isn't complete.
        NSDError: If it is damaged.

    Example:
        >>> import tempfile
        >>> from neuroalign.data import write_simulated_nsd
        >>> root = tempfile.mkdtemp()
        >>> subject = write_simulated_nsd(root, np.random.rand(500, 3, 8, 8), np.arange(500) % 10)
        >>> images = cache_stimuli(root, root + "/cache", image_size=4, rows=subject.stimulus)
        >>> images[subject.stimulus[:7]].shape
        (7, 4, 4, 3)
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        if not (self.path / "index.json").exists():
            raise FileNotFoundError(f"no complete cache of stimuli at {self.path}: make it with cache_stimuli")
        self.index: dict[str, Any] = json.loads((self.path / "index.json").read_text())
        self.rows = np.load(self.path / "rows.npy")
        self.shape = (len(self.rows), *self.index["image_shape"])
        file = self.path / "images.npy"
        if not file.exists() or file.stat().st_size < np.prod(self.shape):
            raise NSDError(f"{file} is missing or cut short: remove {self.path} and make it again")
        self._mapped: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_mapped": None}

    def _images(self) -> np.ndarray:
        if self._mapped is None:  # a map stays valid across a fork: nothing in it is a handle with a position
            self._mapped = np.load(self.path / "images.npy", mmap_mode="r")
        return self._mapped

    def __getitem__(self, rows: Sequence[int] | np.ndarray) -> np.ndarray:
        rows = np.asarray(rows, dtype=np.int64)
        places = np.searchsorted(self.rows, rows).clip(max=len(self.rows) - 1)
        missing = self.rows[places] != rows
        if missing.any():
            raise IndexError(
                f"image {rows[missing][0]} (and {missing.sum() - 1} more) is not among the {len(self)} cached"
            )
        return self._images()[places]

    def verify(self) -> None:
        """Read everything and compare checksums.

        Raises:
            NSDError: If a block of images is not what was written; the message names it.
        """
        images = self._images()
        for i, expected in enumerate(self.index["sha256"]):
            if _checksum(images[i * _BLOCK : (i + 1) * _BLOCK]) != expected:
                raise NSDError(f"{self.path}: images {i * _BLOCK} to {(i + 1) * _BLOCK - 1} are damaged: make it again")


def cache_stimuli(
    root: str | os.PathLike[str] | Tree,
    path: str | os.PathLike[str],
    *,
    image_size: int | None = None,
    rows: Sequence[int] | np.ndarray | None = None,
    workers: int = 0,
    progress: bool = True,
    **access: Any,
) -> CachedImages:
    """Resize images of the brick once, with antialiasing, into a memory-mapped file of uint8.

    A run that was killed is taken up where it was; the cache is usable once it is complete. A complete cache of the same
    images and size is used as it is.

    Args:
        root: A folder or URL.
        path: Folder of the cache; 224-pixel images of one subject take 1.5 GB, all 73,000 take 11 GB.
        image_size: Height and width; default that of the brick.
        rows: Rows of the brick, 0-based (``Responses.stimulus``); default all.
        workers: Processes that read and resize; 0 works in this one.
        progress: Show a progress bar at a terminal.
        **access: ``accept_terms``, ``cache`` and others, for a URL, as in :func:`open_tree`.

    Returns:
        The cache, to be indexed by rows of the brick.

    Raises:
        FileNotFoundError: If the brick is not there.
        FileExistsError: If ``path`` holds a cache of other images or of another size.
        IndexError: If a row is not in the brick.
        ValueError: If the size is not positive.
        OSError: If the disk is too full.

    Example:
        >>> import tempfile
        >>> from neuroalign.data import write_simulated_nsd
        >>> root = tempfile.mkdtemp()
        >>> subject = write_simulated_nsd(root, np.random.rand(500, 3, 8, 8), np.arange(500) % 10)
        >>> cache_stimuli(root, root + "/cache", image_size=4, rows=subject.stimulus).shape
        (500, 4, 4, 3)
    """
    path = Path(path)
    if image_size is not None and image_size < 1:
        raise ValueError(f"image_size must be at least 1; got {image_size}")
    tree = open_tree(root, **access)
    images = NSDImages(tree)
    wanted = np.arange(len(images)) if rows is None else np.unique(np.asarray(rows, dtype=np.int64))
    if len(wanted) and not 0 <= wanted[0] <= wanted[-1] < len(images):
        raise IndexError(f"images are 0 to {len(images) - 1}; got {wanted[0]} to {wanted[-1]}")
    shape = tuple(images.shape[1:]) if image_size is None else (image_size, image_size, 3)
    settings = {
        "image_shape": list(shape),
        "rows": hashlib.sha256(wanted.tobytes()).hexdigest(),
        "resize": "bilinear, antialiased",
        "source_bytes": tree.size(images.path),
    }
    path.mkdir(parents=True, exist_ok=True)
    with locked(path / ".lock", str(path), watch="*"):
        if (path / "index.json").exists():
            there = CachedImages(path)
            if any(there.index.get(k) != v for k, v in settings.items()):
                raise FileExistsError(f"{path} is a cache of other images, of another size or from another brick: remove it, "
                                      "or choose another folder")  # fmt: skip
            return there
        _fill(images, path, wanted, shape, settings, workers, progress)
    return CachedImages(path)


def _fill(
    images: NSDImages,
    path: Path,
    rows: np.ndarray,
    shape: tuple[int, ...],
    settings: dict[str, Any],
    workers: int,
    progress: bool,
) -> None:
    from rich.progress import track

    file, journal = path / "images.npy", path / "progress.json"
    started = json.loads(journal.read_text()) if journal.exists() else {}
    if started.get("settings") != settings or not file.exists():
        check_space(path, int(len(rows) * np.prod(shape)))
        with whole(path / "rows.npy") as temporary:
            np.save(temporary, rows)
        np.lib.format.open_memmap(file, "w+", np.uint8, (len(rows), *shape)).flush()
        started = {"settings": settings, "sha256": {}}
    sums: dict[str, str] = started["sha256"]
    blocks = [i for i in range(-(-len(rows) // _BLOCK)) if str(i) not in sums]
    # Spawned: a forked copy of an open HDF5 file, or of a pool of threads, can't be used.
    pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn")) if workers else None
    with pool or nullcontext():
        if pool is None:
            results: Any = ((i, _write_block(images, file, rows, i)) for i in blocks)
        else:
            tasks = {pool.submit(_write_block, images, file, rows, i): i for i in blocks}
            results = ((tasks[task], task.result()) for task in as_completed(tasks))
        shown = track(results, "resizing images", len(blocks), transient=True,
                      disable=not (progress and sys.stderr.isatty()))  # fmt: skip
        for i, checksum in shown:
            sums[str(i)] = checksum
            with whole(journal) as temporary:
                temporary.write_text(json.dumps(started))
    index = {**settings, "sha256": [sums[str(i)] for i in range(len(sums))]}
    with whole(path / "index.json") as temporary:
        temporary.write_text(json.dumps(index))
    journal.unlink(missing_ok=True)


def _write_block(images: NSDImages, file: Path, rows: np.ndarray, block: int) -> str:
    """Read, resize and write one block of images; returns its checksum."""
    import torch

    from neuroalign.data.images import resize

    out = np.lib.format.open_memmap(file, "r+")
    place = slice(block * _BLOCK, (block + 1) * _BLOCK)
    pixels = images[rows[place]]
    if pixels.shape[1:] != out.shape[1:]:
        small = resize(torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255, out.shape[1:3])
        pixels = (small * 255).round().byte().permute(0, 2, 3, 1).numpy()
    out[place] = pixels
    out.flush()
    return _checksum(pixels)


def _checksum(pixels: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(pixels)).hexdigest()
