"""Images per second of CPU, as floats and as stored bytes: ``python -m tests.benchmarks.images``.

Shuffled batches of 64 uint8 images of 224 pixels from memory, and JPEG files of 500 x 375 pixels that are resized to 224; one
thread. The peers are what reading a batch took while images were converted to floats on the way; the limit of memory is
indexing alone, that of files decoding alone.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torchvision.transforms import v2

from neuroalign.data.image_files import read_image
from neuroalign.data.images import ArrayDataset, class_folders, stored

IMAGES, FILES, SIZE, BATCH, REPEATS = 512, 64, 224, 64, 7
Ways = Mapping[str, Callable[[list[int]], object]]


def memory() -> Ways:
    images = torch.randint(0, 256, (IMAGES, 3, SIZE, SIZE), dtype=torch.uint8)
    data = ArrayDataset(images)
    return {
        "peer": lambda rows: images[torch.as_tensor(rows)].float() / 255,
        "floats": data.__getitems__,
        "bytes": stored(data).__getitems__,
        "limit": lambda rows: images[torch.as_tensor(rows)],
    }


def files(root: Path) -> Ways:
    (root / "class").mkdir()
    rng = np.random.default_rng(0)
    paths = [root / "class" / f"{i:02d}.jpg" for i in range(FILES)]
    for path in paths:
        coarse = Image.fromarray(rng.integers(0, 256, (48, 64, 3), dtype=np.uint8))
        coarse.resize((500, 375), Image.Resampling.BICUBIC).save(path, quality=90)
    data = class_folders(root, SIZE)
    steps = [v2.ToImage(), v2.Resize(SIZE, antialias=True), v2.CenterCrop(SIZE), v2.ToDtype(torch.float32, scale=True)]
    transform = v2.Compose(steps)
    return {
        "peer": lambda rows: torch.stack([transform(read_image(paths[i])) for i in rows]),
        "floats": data.__getitems__,
        "bytes": stored(data).__getitems__,
        "limit": lambda rows: [np.asarray(read_image(paths[i])) for i in rows],
    }


def compare(name: str, ways: Ways, batches: list[list[int]], asked: str = "") -> None:
    rates = np.empty((REPEATS, len(ways)))
    for repeat in range(REPEATS):
        for column, way in enumerate(ways.values()):
            start = time.process_time()
            for rows in batches:
                way(rows)
            rates[repeat, column] = sum(map(len, batches)) / (time.process_time() - start)
    found = ", ".join(f"{way} {rate:,.0f}" for way, rate in zip(ways, np.median(rates, 0)))
    _, floats, as_bytes, limit = np.median(rates / rates[:, :1], 0)
    print(f"{name}, images per second of CPU: {found}; bytes / peer {as_bytes:.1f}x{asked}, floats / peer {floats:.1f}x, "
          f"limit / peer {limit:.1f}x")  # fmt: skip


def main() -> None:
    torch.set_num_threads(1)
    compare("memory", memory(), torch.randperm(IMAGES).view(-1, BATCH).tolist(), " (asked: 6x)")
    with tempfile.TemporaryDirectory() as root:
        compare("files", files(Path(root)), [list(range(FILES))])
    print(f"moved to the device: {3 * SIZE**2:,} bytes an image, {12 * SIZE**2:,} as floats")


if __name__ == "__main__":
    main()
