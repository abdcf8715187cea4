"""Batches for evaluations: on a device, checked, each image with its identity, split among processes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sized
from itertools import chain, islice
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.utils.data import DistributedSampler

from neuroalign.functional.distributed import gather_batch, world_size
from neuroalign.functional.identities import first_of_each
from neuroalign.perturbations.attacks.classes import as_classes
from neuroalign.perturbations.pixel_classifier import PIXELS_TO_LOGITS, ModelInterface
from neuroalign.progress import track
from neuroalign.types import Batch, as_batch

__all__: list[str] = []


class EvaluationBatch(NamedTuple):
    """A batch on its device.

    Attributes:
        images: (stimulus, channel, height, width) float32 in [0, 1].
        labels: (stimulus,) int64.
        index: (stimulus,) int64 identity of each image, on the CPU.
    """

    images: Tensor
    labels: Tensor
    index: Tensor  # type: ignore[assignment]  # hides a method of tuples that nobody calls here


def evaluation_batches(
    dataloader: Iterable[Any],
    device: torch.device,
    *,
    limit_batches: int | None = None,
    progress: str | None = None,
    pixels: bool = True,
    interface: ModelInterface = PIXELS_TO_LOGITS,
) -> Iterator[EvaluationBatch]:
    """The batches of a loader that this process evaluates.

    In distributed training a loader that gives every process the same batches is split batch by batch; a loader that is
    split already (by a DistributedSampler, Accelerate or a dispatcher) is used as it is. Without a ``stimulus`` in its
    batch, an image is identified by its place in the data set.

    Args:
        dataloader: Batches as dicts with ``image``, ``label`` (integers of any type: a tensor, an array or a list) and
            perhaps ``stimulus``, or pairs.
        device: Device of the tensors.
        limit_batches: Maximum number of batches; None means all.
        progress: What is being done, for a progress bar or, in a log, a line a minute; None shows nothing.
        pixels: Whether images must be in [0, 1], and become float32; False uses them as they are.
        interface: How the loader's images are normalised.

    Raises:
        ValueError: If images are not in [0, 1], labels are not integers or not one per image, or a loader whose images can't
            be identified (shuffled, or split by other means than a DistributedSampler) gives no ``stimulus``.
    """
    world = world_size()
    rank = torch.distributed.get_rank() if world > 1 else 0
    batches: Iterable[Any] = islice(dataloader, limit_batches)
    if progress is not None and rank == 0:
        batches = _with_progress(batches, dataloader, limit_batches, progress)
    batches = iter(batches)
    first = next(batches, None)
    shared_out = world > 1 and _is_shared_out(dataloader, first, device)
    known = sampled_images(dataloader) is not None and not cast(Any, dataloader).sampler.shuffle
    share: dict[str, Any] = {}
    if shared_out:
        share = {"rank": rank, "num_processes": world, "num_images": sampled_images(dataloader)}
    place, looked_at = 0, False
    for i, item in enumerate(chain([] if first is None else [first], batches)):
        batch = as_batch(item)
        for key in ("image", "label"):
            if key not in batch:
                raise ValueError(f"a batch needs 'image' and 'label'; this one has {', '.join(map(repr, batch))}")
        size = len(batch["image"])
        labels = as_classes(batch["label"], size, device)
        if shared_out and not known and "stimulus" not in batch:
            raise ValueError(_UNKNOWN)
        index, counts = which_images(batch, place, **share)
        place += size
        if (world > 1 and not shared_out and i % world != rank) or not bool(counts.any()):
            continue
        images, index = batch["image"], index.long().cpu()
        if not bool(counts.all()):
            images, labels, index = images[counts], labels[counts.to(device)], index[counts]
        if pixels:
            images = interface.pixels(images, first=not looked_at)
            looked_at = True
        yield EvaluationBatch(images.to(device).clone(), labels, index)
    if first is None and not shared_out:
        raise ValueError("the dataloader gave no batches")


def which_images(
    batch: Batch, num_seen: int, *, rank: int = 0, num_processes: int = 1, num_images: int | None = None
) -> tuple[Tensor, Tensor]:
    """The identity of each image of a batch, and whether it counts.

    An image is identified by its ``stimulus``; without one, by its place in an unshuffled data set, of which a
    DistributedSampler gives a process every ``num_processes``-th image. At the end the sampler repeats images so that all
    processes get the same number; these repeats don't count. Repeated images with a ``stimulus`` are removed later: see
    :func:`gathered_once`.

    Args:
        batch: A batch with ``image``, and perhaps ``stimulus``.
        num_seen: Number of images that this process had in earlier batches.
        rank: Rank of this process, if each process gets other images.
        num_processes: Number of processes among which the images are split.
        num_images: Number of images in the data set, if a DistributedSampler splits it; None otherwise.

    Returns:
        Identities (stimulus,), and whether each counts, (stimulus,) bool on the CPU.

    Example:
        >>> which_images(
        ...     {"image": torch.rand(2, 3, 4, 4)}, 2, rank=1, num_processes=2, num_images=7
        ... )
        (tensor([5, 7]), tensor([ True, False]))
    """
    if "stimulus" in batch:
        index = torch.as_tensor(batch["stimulus"])
        return index, torch.ones(len(index), dtype=torch.bool)
    index = torch.arange(num_seen, num_seen + len(batch["image"])) * num_processes + rank
    return index, torch.ones_like(index, dtype=torch.bool) if num_images is None else index < num_images


def sampled_images(dataloader: Any) -> int | None:
    """Number of images that a loader's DistributedSampler splits, without repeats; None without such a sampler."""
    sampler = getattr(dataloader, "sampler", None)
    return len(cast(Sized, sampler.dataset)) if isinstance(sampler, DistributedSampler) else None


_UNKNOWN = (
    "the processes get different images from this loader, and these can't be identified: it is shuffled, or split by other "
    "means than an unshuffled DistributedSampler (perhaps Accelerate). Give the loader as it was before it was prepared, "
    "which is split here, or give each image's identity as 'stimulus' in its batches"
)


def _is_shared_out(dataloader: Iterable[Any], first: Any, device: torch.device) -> bool:
    """Whether each process gets other images, according to the loader's sampler or a comparison of the first batches."""
    samplers = [getattr(dataloader, name, None) for name in ("sampler", "batch_sampler")]
    known = any(isinstance(s, DistributedSampler) or hasattr(s, "process_index") for s in samplers)
    content = torch.full((1, 4), -1.0, dtype=torch.float64, device=device)
    if first is not None:
        batch = as_batch(first)
        images, labels = (torch.as_tensor(batch[key]).detach().double().flatten() for key in ("image", "label"))
        places = torch.arange(1, len(images) + 1, dtype=torch.float64, device=images.device)
        content[0] = torch.stack([images.sum(), images @ places.sin(), labels.sum(), places[-1] + len(labels)])
    everyones = gather_batch(content)
    return known or not bool((everyones == everyones[:1]).all())


def gathered_once(index: Tensor, *rows: Tensor) -> tuple[Tensor, ...]:
    """Rows of all processes by increasing index, each image once: a sampler may have given it to two processes.

    Args:
        index: (stimulus,) int64 identities.
        *rows: (stimulus, ...), on the same device.

    Example:
        >>> gathered_once(torch.tensor([7, 5, 7]), torch.tensor([1.0, 2.0, 1.0]))
        (tensor([5, 7]), tensor([2., 1.]))
    """
    index, *gathered = (gather_batch(x) for x in (index, *rows))
    first = first_of_each(index)
    return tuple(x[first] for x in (index, *gathered))


def device_of(model: nn.Module, device: torch.device | str | None = None) -> torch.device:
    """The given device, or the one of the model's first parameter.

    Raises:
        TypeError: If the model is a class.
        ValueError: If the model is on the meta device and no other is given.
    """
    if isinstance(model, type):
        raise TypeError(f"the model is a class: make an object of it, {model.__name__}(...)")
    if device is not None:
        return torch.device(device)
    parameter = next(model.parameters(), None)
    if parameter is not None and parameter.device.type == "meta":
        raise ValueError(
            "the model is on the device 'meta', where it has no weights: load it on a real device, or, if it fetches its "
            "weights by itself, pass device=..."
        )
    return parameter.device if parameter is not None else torch.device("cpu")


def _with_progress(
    batches: Iterable[Any], dataloader: Iterable[Any], limit: int | None, description: str
) -> Iterable[Any]:
    total = len(dataloader) if isinstance(dataloader, Sized) else None
    total = limit if total is None or (limit is not None and limit < total) else total
    return track(batches, description, total)
