"""Images per second of CPU, as floats and as stored bytes: ``python -m tests.benchmarks.images``.

Shuffled batches of 64 uint8 images of 224 pixels from memory, one thread. The peer is what reading a batch took while images
were converted to floats by ``float() / 255``; the limit is indexing alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np
import torch

from neuroalign.data.images import ArrayDataset, stored

IMAGES, SIZE, BATCH, REPEATS = 512, 224, 64, 7


def main() -> None:
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (IMAGES, 3, SIZE, SIZE), dtype=torch.uint8, generator=generator)
    batches = torch.randperm(IMAGES, generator=generator).view(-1, BATCH).tolist()
    data = ArrayDataset(images)
    ways: dict[str, Callable[[Sequence[int]], object]] = {
        "peer": lambda rows: images[torch.as_tensor(rows)].float() / 255,
        "floats": data.__getitems__,
        "bytes": stored(data).__getitems__,
        "limit": lambda rows: images[torch.as_tensor(rows)],
    }

    def rate(way: Callable[[Sequence[int]], object]) -> float:
        start = time.process_time()
        for rows in batches:
            way(rows)
        return IMAGES / (time.process_time() - start)

    rates = np.array([[rate(way) for way in ways.values()] for _ in range(REPEATS)])
    for name, median in zip(ways, np.median(rates, 0)):
        print(f"{name:<7} {median:8,.0f} images per second")
    _, floats, as_bytes, limit = np.median(rates / rates[:, :1], 0)
    print(f"bytes / peer {as_bytes:.1f}x (asked: 6x), floats / peer {floats:.1f}x, limit / peer {limit:.1f}x")
    print(f"moved to the device: {images[0].numel():,} bytes an image, {4 * images[0].numel():,} as floats")


if __name__ == "__main__":
    main()
