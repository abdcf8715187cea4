"""Batches as an evaluation sees them: on a device, checked, each image with its identity, shared out over processes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.data import DistributedSampler, RandomSampler

from neuroalign.functional.distributed import world_size
from neuroalign.types import as_batch, check_images


class EvaluationBatch(NamedTuple):
    """A batch on its device.

    Attributes:
        images: (stimulus, channel, height, width) float32 in [0, 1].
        labels: (stimulus,) int64.
        index: (stimulus,) int64 identity of each image, on the CPU.
    """

    images: Tensor
    labels: Tensor
    index: Tensor


def evaluation_batches(
    dataloader: Iterable[Any],
    device: torch.device,
    *,
    limit_batches: int | None = None,
    progress: str | None = None,
) -> Iterator[EvaluationBatch]:
    """The batches of a loader that this process evaluates.

    In distributed training a plain loader is shared out batch by batch; one with a DistributedSampler is already.
    An image without a ``stimulus`` in its batch is known by its place in the data set.

    Args:
        dataloader: Batches as dicts with ``image``, ``label`` and perhaps ``stimulus``, or pairs.
        device: Where the tensors go.
        limit_batches: At most so many.
        progress: Text of a progress bar; None for none.

    Raises:
        ValueError: If images are not in [0, 1], labels don't match them, or a shuffled distributed loader gives no
            ``stimulus``.
    """
    world = world_size()
    rank = torch.distributed.get_rank() if world > 1 else 0
    sampler = getattr(dataloader, "sampler", None)
    shared_out = world > 1 and isinstance(sampler, DistributedSampler)
    place, num_given = 0, 0
    batches: Iterable[Any] = islice(dataloader, limit_batches)
    if progress is not None and rank == 0:
        batches = _with_progress(batches, dataloader, limit_batches, progress)
    for i, item in enumerate(batches):
        batch = as_batch(item)
        for key in ("image", "label"):
            if key not in batch:
                raise ValueError(f"a batch needs 'image' and 'label'; this one has {', '.join(map(repr, batch))}")
        size = len(batch["image"])
        mine = shared_out or world == 1 or i % world == rank
        if "stimulus" in batch:
            index = batch["stimulus"].long().cpu()
        else:
            index = torch.arange(place, place + size)
            if shared_out:
                _refuse_shuffled(sampler)
                index = index * world + rank
                keep = index < len(sampler.dataset)  # the sampler repeats images to even the shares out
                batch = {"image": batch["image"][keep], "label": batch["label"][keep]}
                index = index[keep]
            elif isinstance(sampler, RandomSampler) and world > 1:
                _refuse_shuffled(sampler)
        place += size
        num_given += 1
        if not mine or not len(index):
            continue
        images, labels = batch["image"], batch["label"]
        check_images(images)
        if labels.shape != images.shape[:1]:
            raise ValueError(f"{len(images)} images but labels of shape {tuple(labels.shape)}")
        yield EvaluationBatch(images.to(device).clone().float(), labels.to(device).clone().long(), index)
    if not num_given:
        raise ValueError("the dataloader gave no batch")


def _refuse_shuffled(sampler: Any) -> None:
    if getattr(sampler, "shuffle", True):
        raise ValueError(
            "a shuffled loader in several processes must give 'stimulus', each image's identity, in its batches: without "
            "it images can't be told apart"
        )


def device_of(model: nn.Module, device: torch.device | str | None = None) -> torch.device:
    """The given device, or the one of the model's first parameter.

    Raises:
        TypeError: If the model is a class.
    """
    if isinstance(model, type):
        raise TypeError(f"the model is a class: make an object of it, {model.__name__}(...)")
    if device is not None:
        return torch.device(device)
    parameter = next(model.parameters(), None)
    return parameter.device if parameter is not None else torch.device("cpu")


def _with_progress(
    batches: Iterable[Any], dataloader: Iterable[Any], limit: int | None, description: str
) -> Iterable[Any]:
    from rich.progress import track

    total = len(dataloader) if hasattr(dataloader, "__len__") else None  # type: ignore[arg-type]
    total = limit if total is None or (limit is not None and limit < total) else total
    return track(batches, description, total=total)
