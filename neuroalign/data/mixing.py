"""An order of the images in which every batch holds enough images that have responses."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DistributedSampler

__all__ = ["MinValidSampler"]


def check_min_valid(min_valid: int, batch_size: int, valid: np.ndarray, num_processes: int = 1) -> None:
    """Refuse a number of images with responses that a batch can't hold.

    Raises:
        ValueError: If it can't; the message says why.
    """
    there, others = int(valid.sum()), int((~valid).sum())
    if not 1 <= min_valid <= batch_size:
        raise ValueError(f"min_valid must be from 1 to the batch size, {batch_size}; got {min_valid}")
    if min_valid * num_processes > there:
        batches = "a batch" if num_processes == 1 else f"the {num_processes} processes' batches of a step"
        raise ValueError(
            f"min_valid={min_valid} asks for {min_valid * num_processes} different images with responses in {batches}, but "
            f"only {there} of {len(valid)} have any"
        )
    if min_valid == batch_size and others:
        raise ValueError(
            f"min_valid={min_valid} fills every batch of {batch_size}, which leaves no place for the {others} images without "
            "responses: leave them out, or use larger batches"
        )


class MinValidSampler(DistributedSampler):
    """A random order in which every batch of a DataLoader holds at least ``min_valid`` images with responses.

    Give it to a DataLoader as ``sampler``, with the same ``batch_size``. Every image comes once per epoch, as long as enough
    images have responses for all batches. If not, images with responses are repeated as often as necessary, and about
    equally often, while the others come once; the epoch then has more batches. An image comes twice in a batch, or in the
    batches of several processes that belong to one step, only if no other image with responses is left.

    The order depends on the seed and the epoch alone. Under a distributed strategy each process gets its share. The class is
    a torch ``DistributedSampler``, so that Lightning keeps it and sets its epoch.

    Args:
        valid: (stimulus,) bool, which images have responses.
        min_valid: Smallest number of images with responses in a batch (of each process).
        batch_size: Batch size of the DataLoader.
        num_replicas: Number of processes.
        rank: Number of this process.
        seed: Seed of the order.

    Raises:
        ValueError: If ``min_valid`` is larger than the number of images with responses, or than a batch.

    Example:
        >>> valid = torch.arange(100) < 10  # one in ten
        >>> sampler = MinValidSampler(valid, min_valid=4, batch_size=20)
        >>> [int(valid[batch].sum()) for batch in torch.tensor(list(sampler)).split(20)]
        [4, 4, 4, 4, 4, 4]
    """

    def __init__(
        self,
        valid: Sequence[bool] | np.ndarray | Tensor,
        min_valid: int,
        batch_size: int,
        *,
        num_replicas: int = 1,
        rank: int = 0,
        seed: int = 0,
    ) -> None:
        self.valid = np.asarray(valid, dtype=bool)
        check_min_valid(min_valid, batch_size, self.valid, num_replicas)
        super().__init__(self.valid, num_replicas, rank, seed=seed)  # type: ignore[arg-type]
        self.min_valid, self.batch_size = min_valid, batch_size
        others, step = int((~self.valid).sum()), num_replicas * batch_size
        needed = -(-others // (num_replicas * (batch_size - min_valid))) if others else 0
        self.num_batches = max(-(-len(self.valid) // step), needed)
        rows = others + max(len(self.valid) - others, num_replicas * min_valid * self.num_batches)
        last = -(-rows // num_replicas) - (self.num_batches - 1) * batch_size
        self.num_samples = (self.num_batches - 1) * batch_size + max(last, min_valid)
        self.total_size = self.num_samples * num_replicas

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed + self.epoch)

        def shuffled(rows: np.ndarray) -> np.ndarray:
            return rows[torch.randperm(len(rows), generator=generator).numpy()]

        measured, world, k = shuffled(np.flatnonzero(self.valid)), self.num_replicas, self.num_batches
        # Reserved places are filled first, evenly over the batches, with images that have responses; then the others.
        kept = np.full(k * world * self.min_valid, -1)
        first = min(len(measured), len(kept))
        place = np.arange(first) * len(kept) // first
        kept[place] = measured[:first]
        rest = shuffled(np.concatenate([np.flatnonzero(~self.valid), measured[first:]]))
        free = self.total_size - len(kept)
        rest = np.concatenate([rest, np.full(free - len(rest), -1)])
        kept_places = kept.reshape(k, world, self.min_valid)
        # Images to repeat, ordered by how often they were repeated, then at random.
        lots = iter(torch.rand(len(measured) + self.total_size - len(self.valid), generator=generator).tolist())
        again = [(0, next(lots), image) for image in measured.tolist()]
        heapq.heapify(again)
        for b in range(k):
            start = b * world * (self.batch_size - self.min_valid)
            stop = free if b == k - 1 else start + world * (self.batch_size - self.min_valid)
            batches = np.concatenate([kept_places[b], rest[start:stop].reshape(world, -1)], 1)
            open_places = np.argwhere(batches < 0).tolist()
            present = set(batches.ravel().tolist()) if open_places else set()
            back = []
            for w, i in open_places:
                while again and again[0][2] in present:
                    back.append(heapq.heappop(again))
                times, _, image = heapq.heappop(again) if again else back.pop(0)  # all others are in this batch already
                batches[w, i] = image
                back.append((times + 1, next(lots), image))
                present.add(image)
            for entry in back:
                heapq.heappush(again, entry)
            yield from shuffled(batches[self.rank]).tolist()
