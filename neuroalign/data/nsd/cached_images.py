"""Images of the stimulus set in a memory-mapped file, compared with checksums when it is opened."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from neuroalign.checksums import crc32
from neuroalign.data.nsd.layout import NSDError

__all__ = ["CachedImages"]

BLOCK = 256  # images per checksum
_AGAIN = "Call cache_nsd_stimuli (neuroalign nsd stimuli) again, which makes it again"


class CachedImages:
    """Images in a memory-mapped file: ``images[rows]`` is uint8 (stimulus, height, width, channel), as from NSDImages.

    The file is mapped once in each process, and all workers share one copy in memory. When the cache is opened it is read
    once and compared with its checksums; copies for other processes are not compared again.

    Args:
        path: The folder that :func:`cache_nsd_stimuli` made.
        verify: Whether to compare all images with their checksums.

    Attributes:
        rows: (image,) rows of the stimulus set that are cached, increasing.
        shape: (image, height, width, channel).

    Raises:
        FileNotFoundError: If there is no cache, or it isn't complete.
        NSDError: If it is damaged.

    Example:
        >>> import tempfile
        >>> from neuroalign.data import cache_nsd_stimuli, write_simulated_nsd
        >>> root = tempfile.mkdtemp()
        >>> images, labels = np.random.rand(500, 3, 8, 8), np.arange(500) % 10
        >>> subject = write_simulated_nsd(root, images, labels)
        >>> rows = subject.stimulus
        >>> images = cache_nsd_stimuli(root, root + "/cache", image_size=4, rows=rows)
        >>> images[subject.stimulus[:7]].shape
        (7, 4, 4, 3)
    """

    def __init__(self, path: str | os.PathLike[str], *, verify: bool = True) -> None:
        self.path = Path(path)
        index, rows = self.path / "index.json", self.path / "rows.npy"
        if not index.is_file():  # a pipe is refused as well: reading from it would wait
            raise FileNotFoundError(f"no complete cache of stimuli at {self.path}: make it with cache_nsd_stimuli")
        with _undamaged(index):
            self.index: dict[str, Any] = json.loads(index.read_text())
            image_shape, sums = [int(n) for n in self.index["image_shape"]], list(self.index[self._kind])
        with _undamaged(rows):
            self.rows = np.load(rows)
            if self.rows.dtype != np.int64 or self.rows.ndim != 1 or sha256_of(self.rows) != self.index["rows"]:
                raise ValueError("it holds other rows than the index says")
        self.shape = (len(self.rows), *image_shape)
        if len(sums) != num_blocks(self.rows):
            raise NSDError(f"{index} is damaged: {len(sums)} checksums of {num_blocks(self.rows)} blocks. {_AGAIN}")
        self._mapped: np.ndarray | None = None
        self._images()
        if verify:
            self.verify()

    @property
    def _kind(self) -> str:
        """The kind of checksums in the cache; an older version wrote SHA-256."""
        return "sha256" if "sha256" in self.index else "crc32"

    def __len__(self) -> int:
        return len(self.rows)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_mapped": None}

    def _images(self) -> np.ndarray:
        if self._mapped is None:  # a memory map stays valid after a fork, because it has no file position
            path = self.path / "images.npy"
            with _undamaged(path):
                images = np.load(path, mmap_mode="r")
                if images.shape != self.shape or images.dtype != np.uint8:
                    raise ValueError(f"it holds {images.dtype} {images.shape}, not uint8 {self.shape}")
            self._mapped = images
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
        """Read all images and compare their checksums.

        Raises:
            NSDError: If a block of images is not what was written; the message names it.
        """
        for i in self.damaged_blocks():
            raise NSDError(f"{self.path}: images {i * BLOCK} to {(i + 1) * BLOCK - 1} are damaged. {_AGAIN}")

    def damaged_blocks(self) -> Iterator[int]:
        """Numbers of the blocks of 256 images that are not what was written."""
        images, checksum = self._images(), sha256_of if self._kind == "sha256" else crc32_of
        for i, expected in enumerate(self.index[self._kind]):
            if checksum(images[i * BLOCK : (i + 1) * BLOCK]) != expected:
                yield i


def crc32_of(pixels: np.ndarray) -> int:
    """CRC-32 of an array's values."""
    return crc32(np.ascontiguousarray(pixels))


def sha256_of(values: np.ndarray) -> str:
    """SHA-256 of an array's values."""
    return hashlib.sha256(np.ascontiguousarray(values).data).hexdigest()


def num_blocks(rows: np.ndarray) -> int:
    """Number of blocks of images."""
    return -(-len(rows) // BLOCK)


@contextmanager
def _undamaged(path: Path) -> Iterator[None]:
    """A context in which every error of a file becomes an NSDError that names it."""
    try:
        yield
    except Exception as error:  # on a damaged header NumPy raises errors of many kinds
        said = f"it has no {error}" if isinstance(error, KeyError) else error
        raise NSDError(f"{path} is missing, cut short or damaged ({said}). {_AGAIN}") from error
