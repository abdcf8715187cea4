"""Images of the stimulus set, resized once into a memory-mapped file, so that shuffled epochs read them fast."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import nullcontext
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Unpack

import numpy as np

from neuroalign.data.nsd.cached_images import BLOCK, CachedImages, crc32_of, num_blocks, sha256_of
from neuroalign.data.nsd.layout import NSDError
from neuroalign.data.nsd.opening import Access, open_nsd
from neuroalign.data.nsd.stimuli import NSDImages
from neuroalign.data.nsd.tree import Tree
from neuroalign.files import check_space, check_target, whole
from neuroalign.moved import former_keywords
from neuroalign.processes import deaf_to_interrupts, ended_by_interrupt, locked
from neuroalign.progress import track

__all__ = ["cache_nsd_stimuli"]

_log = logging.getLogger(__name__)
_NAMES = {"index.json", "rows.npy", "images.npy", "progress.json", ".lock"}


@former_keywords(cache="download_folder")
def cache_nsd_stimuli(
    root: str | os.PathLike[str] | Tree,
    path: str | os.PathLike[str],
    *,
    image_size: int | None = None,
    rows: Sequence[int] | np.ndarray | None = None,
    workers: int = 0,
    progress: bool = True,
    **access: Unpack[Access],
) -> CachedImages:
    """Resize images of NSD's stimulus set once, with antialiasing, into a memory-mapped file of uint8.

    After a run that was killed or interrupted, the next one continues; the cache can be used once it is complete. A complete
    cache of the same images and size is used again if its checksums are right; damaged blocks of images are made again.

    Args:
        root: A folder or URL.
        path: Folder of the cache; 224-pixel images of one subject take 1.5 GB, all 73,000 take 11 GB.
        image_size: Height and width in pixels; None means those of the stimulus set.
        rows: Rows of the stimulus set, 0-based (``Responses.stimulus``); None means all.
        workers: Number of processes that read and resize; 0 resizes in this one.
        progress: Whether to show a progress bar at a terminal, and in a log a line a minute.
        **access: ``accept_terms``, ``download_folder`` and others, for a URL, as in :func:`open_nsd`.

    Returns:
        The cache, indexed by rows of the stimulus set.

    Raises:
        FileNotFoundError: If the file of the stimulus set is missing.
        FileExistsError: If ``path`` holds other files, or a cache of other images, of another size, or of a stimulus set that
            has changed since (its size, or samples of its bytes).
        IndexError: If a row is not in the stimulus set.
        ValueError: If the size is not positive.
        OSError: If the disk is too full.

    Example:
        >>> import tempfile
        >>> from neuroalign.data import write_simulated_nsd
        >>> root = tempfile.mkdtemp()
        >>> images, labels = np.random.rand(500, 3, 8, 8), np.arange(500) % 10
        >>> subject = write_simulated_nsd(root, images, labels)
        >>> cache_nsd_stimuli(root, root + "/cache", image_size=4, rows=subject.stimulus).shape
        (500, 4, 4, 3)
    """
    path = Path(path)
    if image_size is not None and image_size < 1:
        raise ValueError(f"image_size must be at least 1; got {image_size}")
    tree = open_nsd(root, **access)
    images = NSDImages(tree)
    wanted = np.arange(len(images)) if rows is None else np.unique(np.asarray(rows, dtype=np.int64))
    if len(wanted) and not 0 <= wanted[0] <= wanted[-1] < len(images):
        raise IndexError(f"images are 0 to {len(images) - 1}; got {wanted[0]} to {wanted[-1]}")
    source = tree.state(images.path)
    if "samples" in source or "etag" in source:  # these decide, so the time is not recorded
        source.pop("modified", None)
    shape = tuple(images.shape[1:]) if image_size is None else (image_size, image_size, 3)
    settings = {
        "image_shape": list(shape),
        "rows": sha256_of(wanted),
        "resize": "bilinear, antialiased",
        "source": source,
    }
    path.mkdir(parents=True, exist_ok=True)
    with locked(path / ".lock", str(path), watch="*"):
        there = _usable(path, settings)
        if there is not None:
            return there
        _fill(images, path, wanted, shape, settings, workers, progress)
    return CachedImages(path)


def _usable(path: Path, settings: dict[str, Any]) -> CachedImages | None:
    """The existing cache; None if it must be made, or made again in part or completely."""
    index = path / "index.json"
    if not index.exists():
        return None
    strange = sorted({p.name for p in path.iterdir() if ".part." not in p.name} - _NAMES)
    try:
        there = CachedImages(path, verify=False)
    except (NSDError, FileNotFoundError) as error:
        if strange:
            raise FileExistsError(
                f"{path} holds other files, such as {strange[0]}: choose another folder ({error})"
            ) from error
        _log.warning("%s: making it again", error)
        index.unlink()
        return None
    different = [name for name in settings if there.index.get(name) != settings[name]]
    if different:
        raise FileExistsError(
            f"{path} is a cache of other images, of another size or of another stimulus set ({', '.join(different)} differ): "
            "remove it, or choose another folder"
        )
    damaged = set(there.damaged_blocks())
    if not damaged:
        return there
    _log.warning(
        "%s: %d of %d blocks of images are damaged: making them again", path, len(damaged), len(there.index["crc32"])
    )
    sums = {str(i): total for i, total in enumerate(there.index["crc32"]) if i not in damaged}
    _write_json(path / "progress.json", {"settings": settings, "crc32": sums})
    index.unlink()
    return None


def _fill(
    images: NSDImages,
    path: Path,
    rows: np.ndarray,
    shape: tuple[int, ...],
    settings: dict[str, Any],
    workers: int,
    progress: bool,
) -> None:
    file, journal = check_target(path / "images.npy"), path / "progress.json"
    sums = _done(file, journal, (len(rows), *shape), settings)
    if sums is None:
        check_space(path, int(len(rows) * np.prod(shape)))
        file.unlink(missing_ok=True)  # a process that has mapped the older file keeps it
        try:
            np.lib.format.open_memmap(file, "w+", np.uint8, (len(rows), *shape)).flush()
        except OSError as error:  # this error doesn't name the file
            raise OSError(error.errno, f"{file} can't be written: {error.strerror}") from error
        sums = {}
    with whole(path / "rows.npy") as temporary:
        np.save(temporary, rows)
    blocks = [i for i in range(num_blocks(rows)) if str(i) not in sums]
    # Processes are spawned: after a fork, open HDF5 files and pools of threads can't be used.
    pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn")) if workers else None
    with pool or nullcontext(), ended_by_interrupt():
        if pool is None:
            results: Any = ((i, _write_block(images, file, rows, i)) for i in blocks)
        else:
            with deaf_to_interrupts():  # the first task starts the processes
                tasks = {pool.submit(_write_block, images, file, rows, i): i for i in blocks}
            results = ((tasks[task], task.result()) for task in as_completed(tasks))
        for i, checksum in track(results, "resizing images", len(blocks), transient=True, show=progress):
            sums[str(i)] = checksum
            _write_json(journal, {"settings": settings, "crc32": sums})
    _write_json(path / "index.json", {**settings, "crc32": [sums[str(i)] for i in range(len(sums))]})
    journal.unlink(missing_ok=True)


def _done(file: Path, journal: Path, shape: tuple[int, ...], settings: dict[str, Any]) -> dict[str, int] | None:
    """Checksums of the intact blocks that an earlier run wrote; None if the file must be made from the beginning."""
    try:
        started = json.loads(journal.read_text())
        if started["settings"] != settings:
            return None
        images = np.load(file, mmap_mode="r")
        if images.shape != shape or images.dtype != np.uint8:
            return None
        return {
            name: total
            for name, total in started["crc32"].items()
            if crc32_of(images[int(name) * BLOCK : (int(name) + 1) * BLOCK]) == total
        }
    except (OSError, ValueError, EOFError, KeyError, TypeError, AttributeError):
        return None


def _write_block(images: NSDImages, file: Path, rows: np.ndarray, block: int) -> int:
    """Read, resize and write one block of images, and return its checksum."""
    import torch

    from neuroalign.data.images import resize

    out = np.lib.format.open_memmap(file, "r+")
    place = slice(block * BLOCK, (block + 1) * BLOCK)
    pixels = images[rows[place]]
    if pixels.shape[1:] != out.shape[1:]:
        small = resize(torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255, out.shape[1:3])
        pixels = (small * 255).round().byte().permute(0, 2, 3, 1).numpy()
    out[place] = pixels
    out.flush()
    return crc32_of(pixels)


def _write_json(path: Path, content: Any) -> None:
    with whole(path) as temporary:
        temporary.write_text(json.dumps(content))
