"""Networks as programs of ``torch.export``: they run wherever PyTorch does, without this package."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from neuroalign.export.equality import TOLERANCE, check_equal
from neuroalign.export.plain import plain_network
from neuroalign.export.tracing import check_ending, traced, trial_batches
from neuroalign.files import whole

__all__ = ["export_program"]


def export_program(
    network: nn.Module,
    path: str | os.PathLike[str] | None = None,
    *,
    batch_size: int | None = None,
    images: Tensor | None = None,
    image_shape: Sequence[int] | None = None,
    class_names: Sequence[str] | None = None,
    tolerance: float = TOLERANCE,
    seed: int = 0,
) -> torch.export.ExportedProgram:
    """Export a network by ``torch.export``: a program of PyTorch's own operations, with the normalisation inside.

    A guided network becomes an ordinary classifier, without heads; a predictor keeps its responses. The program takes
    ``images`` (stimulus, channel, height, width), float32 in [0, 1], and gives the outputs of eval mode. Its outputs are
    compared with the network's before the file gets its name. The network is left as it is: mode, hooks and gradients.

    The file is read by ``torch.export.load(path).module()``. With it goes a JSON text, to be read by
    ``torch.export.load(path, extra_files=texts)`` into ``texts = {"neuroalign.json": ""}``: the shape of images, the mean and
    standard deviation inside, the number of outputs and the names of classes.

    Args:
        network: A :class:`GuidedNetwork` or a predictor, a task that holds one, or any module from images to one tensor
            (stimulus, output).
        path: A file ending in ``.pt2``; None writes none.
        batch_size: The only number of images that the program will take; None means any.
        images: Images (stimulus, channel, height, width) in [0, 1] on which outputs are compared; None takes random ones.
        image_shape: (channel, height, width), needed for modules without an attribute of this name.
        class_names: Names of the classes in the order of the logits, kept in the file.
        tolerance: Largest difference that passes, as a share of the largest output.
        seed: Seed of the random images.

    Returns:
        The program; ``program.module()`` is called on images.

    Raises:
        TypeError: If it is no module.
        ValueError: If the network can't be exported, as one whose steps depend on pixels; if outputs differ; if images don't
            fit; or if the file has another ending.

    Example:
        >>> from neuroalign import GuidedNetwork
        >>> heads = {"V4": ("layer2", 20)}
        >>> network = GuidedNetwork("small_resnet", 10, heads, image_shape=(3, 8, 8))
        >>> program = export_program(network)
        >>> program.module()(torch.rand(5, 3, 8, 8)).shape
        torch.Size([5, 10])
    """
    if path is not None:
        check_ending(path, ".pt2")
    module, facts = plain_network(network, image_shape, class_names)
    batches = trial_batches(images, facts.image_shape, batch_size, seed)
    program = traced(module, batches[-1], batch_size is None)
    check_equal(module, program.module(), batches, tolerance, "the program of torch.export")
    if path is not None:
        with whole(path) as temporary:
            torch.export.save(program, temporary, extra_files={"neuroalign.json": json.dumps(facts.as_dict())})
    return program
