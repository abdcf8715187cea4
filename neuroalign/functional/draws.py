"""Random numbers that belong to an image, whatever its batch: computed from the identity of the image.

Two hashes identify a draw: :func:`image_seed` takes words as well as numbers, :func:`splitmix64` hashes a whole tensor of
identities at once, on its device.

The numbers of a draw come from a counter: number p of an image is the hash of the image's key (:func:`image_keys`) and p. So
all numbers of all images are computed in one call, on the images' device, and an image has the same ones in any batch and on
any device. Integers and uniform numbers are equal to the last bit; normal numbers differ in rounding between devices.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor

__all__: list[str] = []

_GOLDEN = 0x9E3779B97F4A7C15
_BLOCK = 1 << 15  # int64 numbers that stay in a CPU's cache while they are hashed


def image_seed(*identity: object) -> int:
    """A 63-bit seed computed from everything that identifies a draw, the same in every process.

    Hashed, because a sum or a product gives neighbouring images and severities related seeds.

    Example:
        >>> image_seed(0, 17, "fog", 3) == image_seed(0, 17, "fog", 3)
        True
        >>> image_seed(0, 17, "fog", 3) == image_seed(0, 3, "fog", 17)
        False
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
    x = index.long() + _signed((_GOLDEN * (seed + 1)) % (1 << 64))
    return _mix_(x, torch.empty_like(x))


def image_keys(index: Tensor, seed: int, stream: int = 0) -> Tensor:
    """The key of each image's random numbers: (stimulus,) int64, on the device of ``index``.

    Args:
        index: (stimulus,) int64 identity of each image.
        seed: Seed of all draws.
        stream: Number of the draw, where an image has several.

    Example:
        >>> keys = image_keys(torch.tensor([17, 4]), seed=0, stream=2)
        >>> keys[1] == image_keys(torch.tensor([4]), seed=0, stream=2)[0]
        tensor(True)
    """
    return splitmix64(splitmix64(index, seed), stream)


def random_bits(keys: Tensor, num: int) -> Tensor:
    """``num`` random 32-bit integers for each key: (stimulus, num) int32, over the whole range of int32.

    They are the halves of the numbers of the SplitMix64 generator whose state is the key.

    Args:
        keys: (stimulus,) int64; see :func:`image_keys`.
        num: How many for each key.

    Example:
        >>> both, second = (
        ...     random_bits(image_keys(torch.tensor(i), seed=0), 5) for i in ([3, 8], [8])
        ... )
        >>> both.shape, torch.equal(both[1:], second)
        (torch.Size([2, 5]), True)
    """
    pairs = (num + 1) // 2
    numbers = torch.empty(len(keys), pairs, dtype=torch.int64, device=keys.device)
    for rows, places, hashes in _hashes(keys, pairs):
        numbers[rows, places] = hashes
    return numbers.view(torch.int32)[:, :num]


def uniform(keys: Tensor, *shape: int, low: float = 0.0, high: float = 1.0, bits: Literal[16, 24] = 24) -> Tensor:
    """Uniform numbers in [low, high) on a grid of 2^bits values: (stimulus, *shape) float32.

    Args:
        keys: (stimulus,) int64; see :func:`image_keys`.
        shape: Shape of the numbers of one image.
        low: Smallest value.
        high: Bound above all values.
        bits: 24, the resolution of float32, or 16, which takes half the time.

    Example:
        >>> numbers = uniform(image_keys(torch.arange(2), seed=0), 3, 8, 8, low=-1.0)
        >>> numbers.shape, bool((numbers >= -1).all() and (numbers < 1).all())
        (torch.Size([2, 3, 8, 8]), True)
    """
    num, each = math.prod(shape), 4 if bits == 16 else 2
    numbers = torch.empty(len(keys), -(-num // each), each, device=keys.device, dtype=torch.float32)
    for rows, places, hashes in _hashes(keys, numbers.shape[1]):
        signed = hashes.view(torch.int16) if bits == 16 else hashes.view(torch.int32).bitwise_right_shift_(8)
        some = numbers[rows, places].flatten(1).copy_(signed)
        some.mul_((high - low) * 2.0**-bits).add_((low + high) / 2)
    return numbers.flatten(1)[:, :num].view(len(keys), *shape)


def normal(keys: Tensor, *shape: int) -> Tensor:
    """Standard normal numbers, up to 6.7 standard deviations: (stimulus, *shape) float32.

    Args:
        keys: (stimulus,) int64; see :func:`image_keys`.
        shape: Shape of the numbers of one image.

    Example:
        >>> (normal(image_keys(torch.arange(2), seed=0), 3, 64, 64).std() - 1).abs() < 0.02
        tensor(True)

    Source:
        Box & Muller 1958, Annals of Mathematical Statistics 29(2).
    """
    num = math.prod(shape)
    numbers = torch.empty(len(keys), 2, (num + 1) // 2, device=keys.device, dtype=torch.float32)
    for rows, places, hashes in _hashes(keys, numbers.shape[2]):
        turn = (hashes >> 32).float().mul_(math.pi * 2.0**-31)
        # In (0, 1], fine near 0, where the tails come from.
        share = hashes.bitwise_and_(0x7FFFFFFF).float().add_(0.5).mul_(2.0**-31)
        length = share.log_().mul_(-2).sqrt_()
        torch.mul(length, turn.cos(), out=numbers[rows, 0, places])
        torch.mul(length, turn.sin_(), out=numbers[rows, 1, places])
    return numbers.flatten(1)[:, :num].view(len(keys), *shape)


def _hashes(keys: Tensor, num: int) -> Iterator[tuple[slice, slice, Tensor]]:
    """The first ``num`` hashes of each key, part by part: which keys, which hashes, and their int64 values.

    A part on a CPU is small enough for its cache; on other devices there is one part. The next part overwrites the values.
    """
    steps = torch.arange(1, num + 1, device=keys.device) * _signed(_GOLDEN)
    block = _BLOCK if keys.device.type == "cpu" else max(len(keys) * num, 1)
    columns = max(min(num, block), 1)
    rows = max(block // columns, 1)
    space = torch.empty(2, min(rows, len(keys)), columns, dtype=torch.int64, device=keys.device)
    for top in range(0, len(keys), rows):
        own = keys[top : top + rows, None]
        for left in range(0, num, columns):
            step = steps[left : left + columns]
            x, shifted = space[:, : len(own), : len(step)]
            _mix_(torch.add(own, step, out=x), shifted)
            yield slice(top, top + len(own)), slice(left, left + len(step)), x


def _mix_(x: Tensor, shifted: Tensor) -> Tensor:
    """SplitMix64's mix of int64, in place, with a second tensor to work in."""
    for bits, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB), (31, 1)):
        # PyTorch shifts signed numbers arithmetically; the mask makes the shift a logical one.
        torch.bitwise_right_shift(x, bits, out=shifted).bitwise_and_((1 << (64 - bits)) - 1)
        x.bitwise_xor_(shifted)
        if factor != 1:
            x.mul_(_signed(factor))
    return x


def _signed(value: int) -> int:
    """An unsigned 64-bit number as the int64 of the same bits."""
    return value - (1 << 64) if value >= 1 << 63 else value
