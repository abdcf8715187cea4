"""Corruptions and random draws against named peers: ``python -m tests.benchmarks.corruptions``.

CPU time of one thread, the two sides in turn, medians of the ratios. Corruptions: 8 images of 224 pixels as one batch,
against imagecorruptions image by image, at severities 1, 3 and 5. Random starts of attacks: against one generator per image,
and against a plain ``torch.rand`` or ``torch.randn`` of the same size, which gives other numbers in another batch.
"""

from __future__ import annotations

import argparse
import importlib.util
import math
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from neuroalign import Corruption
from neuroalign.perturbations import COMMON_CORRUPTIONS, EXTRA_CORRUPTIONS
from neuroalign.perturbations.attacks.budget import random_points

SEVERITIES = (1, 3, 5)


def imagecorruptions_peer() -> Callable[..., np.ndarray] | None:
    """imagecorruptions 1.1.2, made to run on current NumPy and scikit-image, whose names it still has wrong."""
    if importlib.util.find_spec("imagecorruptions") is None:
        print("skipped: imagecorruptions is not installed")
        return None
    vars(np).setdefault("float_", np.float64)
    try:
        import imagecorruptions
        from imagecorruptions import corruptions
    except ImportError as error:
        print(f"skipped: imagecorruptions can't be imported ({error})")
        return None
    blur = corruptions.gaussian
    corruptions.gaussian = lambda *a, multichannel=False, **k: blur(*a, channel_axis=-1 if multichannel else None, **k)
    return imagecorruptions.corrupt


def seconds(call: Callable[[], object]) -> float:
    start = time.process_time()
    call()
    return time.process_time() - start


def in_turn(ours: Callable[[], object], theirs: Callable[[], object], times: int) -> tuple[float, float, float]:
    """Median seconds of either side, and the median of the ratios theirs / ours."""
    ours(), theirs()
    pairs = [(seconds(ours), seconds(theirs)) for _ in range(times)]
    return *(statistics.median(side) for side in zip(*pairs)), statistics.median(b / a for a, b in pairs)


def against_peer(times: int = 5) -> None:
    peer = imagecorruptions_peer()
    if peer is None:
        return
    images = torch.rand(8, 3, 14, 14, generator=torch.Generator().manual_seed(0))
    images = nn.functional.interpolate(images, size=224, mode="bicubic").clamp(0, 1)
    arrays = (images.permute(0, 2, 3, 1) * 255).byte().numpy()
    print("corruptions at 224 pixels, ms of CPU an image, mean of severities 1, 3, 5 (limit 1x each, 3x together):")
    ratios: dict[str, float] = {}
    for name in COMMON_CORRUPTIONS + EXTRA_CORRUPTIONS:
        found = []
        for severity in SEVERITIES:
            corruption = Corruption(name, severity)
            few = arrays[:1] if name == "glass_blur" else arrays

            def theirs(severity: int = severity, few: np.ndarray = few, name: str = name) -> None:
                for array in few:
                    peer(array, severity=severity, corruption_name=name)

            a, b, _ = in_turn(lambda c=corruption: c(images), theirs, 1 if name == "glass_blur" else times)  # type: ignore[misc]
            found.append((1000 * a / len(images), 1000 * b / len(few)))
        ours, peers = (statistics.mean(side) for side in zip(*found))
        ratios[name] = peers / ours
        slow = "" if ratios[name] >= 1 else "  SLOWER"
        print(f"  {name:20s} {ours:7.2f}  theirs {peers:8.2f}  {ratios[name]:6.2f}x{slow}", flush=True)
    mean = math.exp(statistics.mean(math.log(r) for r in ratios.values()))
    below = [name for name, ratio in ratios.items() if ratio < 1]
    print(
        f"  geometric mean {mean:.2f}x (limit 3: {'ok' if mean >= 3 else 'BELOW'}), slower: {', '.join(below) or 'none'}"
    )


def by_generators(images: Tensor, eps: float, norm: str) -> Tensor:
    """The same points by one generator per image."""
    noise = torch.empty_like(images)
    for i, own in enumerate(noise):
        generator = torch.Generator().manual_seed(i)
        if norm == "linf":
            own.uniform_(-1, 1, generator=generator)
        else:
            own.normal_(generator=generator)
            own *= float(torch.rand((), generator=generator)) ** (1 / own.numel()) / own.norm()
    return (images + eps * noise).clamp(0, 1)


def starts() -> None:
    print("random starts, ns of CPU a pixel value; one generator per image / ours, and ours / plain numbers (limit 5):")
    for norm, plain in (("linf", torch.rand), ("l2", torch.randn)):
        for side, num in ((8, 512), (32, 256), (224, 16)):
            images, index = torch.rand(num, 3, side, side), torch.arange(num)
            radius = torch.full((num, 1, 1, 1), 8 / 255)
            ours = lambda: random_points(images, radius, norm, index, seed=0, stream=0)  # type: ignore[arg-type]  # noqa: B023, E731
            a, _, generators = in_turn(ours, lambda: by_generators(images, 8 / 255, norm), 9)  # noqa: B023
            _, _, numbers = in_turn(ours, lambda: plain(images.shape), 9)  # noqa: B023
            print(f"  {norm:4s} {side:4d} px  {1e9 * a / images.numel():6.2f}  {generators:6.2f}x  {1 / numbers:5.2f}x")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=5, help="pairs of measurements")
    args = parser.parse_args()
    torch.set_num_threads(1)
    starts()
    against_peer(args.times)


if __name__ == "__main__":
    main()
