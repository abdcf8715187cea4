"""Random numbers that belong to an image, whatever its batch: seeds computed from the identity of the image.

There are three hashes, because published and seeded numbers depend on them:

- :func:`image_generator` serves attacks: their starts, targets and random searches.
- :func:`image_seed` serves corruptions, whose draws are identified by words as well as numbers.
- :func:`splitmix64` serves samples of images and classes. It hashes a whole tensor at once, on its device.

New code takes :func:`image_seed`, or :func:`splitmix64` where there are too many images for a loop.
"""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor

__all__: list[str] = []


def image_generator(seed: int, index: int, stream: int) -> torch.Generator:
    """Random generator of one image, seeded by its identity, so that batch size, order and process don't matter.

    Args:
        seed: Seed of all draws.
        index: Identity of the image.
        stream: Number of the draw, where an image has several.

    Example:
        >>> one, again = (torch.rand((), generator=image_generator(0, 17, 2)) for _ in range(2))
        >>> bool(one == again)
        True
    """
    # Mixed into one 64-bit seed; a plain sum would give image 1 of stream 2 the numbers of image 2 of stream 1.
    return torch.Generator().manual_seed(((seed * 1_000_003 + index) * 1_000_003 + stream) % 2**63)


def image_seed(*identity: object) -> int:
    """A 63-bit seed computed from everything that identifies a draw, the same in every process.

    Hashed, because a sum or a product gives neighbouring images and severities related seeds.

    Example:
        >>> image_seed(0, 17, "fog", 3) == image_seed(0, 17, "fog", 3) != image_seed(0, 3, "fog", 17)
        True
    """
    digest = hashlib.blake2b(repr(identity).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") % 2**63


def splitmix64(index: Tensor, seed: int) -> Tensor:
    """A reproducible pseudo-random number for each index: the SplitMix64 hash of index and seed.

    Args:
        index: int64 of any shape.
        seed: Number of the sequence.

    Returns:
        int64 of the shape of ``index``, over the whole range of int64.

    Example:
        >>> splitmix64(torch.tensor([0, 1]), seed=0)
        tensor([-2152535657050944081, -7995527694508729151])

    Source:
        Steele, Lea & Flood 2014, "Fast splittable pseudorandom number generators" (OOPSLA).
    """
    x = index.long() + _signed((0x9E3779B97F4A7C15 * (seed + 1)) % (1 << 64))
    x = (x ^ _shift(x, 30)) * _signed(0xBF58476D1CE4E5B9)
    x = (x ^ _shift(x, 27)) * _signed(0x94D049BB133111EB)
    return x ^ _shift(x, 31)


def _signed(value: int) -> int:
    """An unsigned 64-bit number as the int64 of the same bits."""
    return value - (1 << 64) if value >= 1 << 63 else value


def _shift(x: Tensor, bits: int) -> Tensor:
    """Logical right shift of int64."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)
