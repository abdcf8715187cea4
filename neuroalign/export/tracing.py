"""Programs of ``torch.export`` from networks: what is traced, on which images, and why it may fail."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import warnings
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from neuroalign.export.equality import trial_images
from neuroalign.export.plain import first_sentence

__all__: list[str] = []

_REASONS = (
    ("data-dependent", "what it computes depends on values of pixels, as by an `if` on a tensor"),
    ("Constraints violated (batch)", "it takes batches of one size only: give batch_size=..."),
)
"""Words in messages of torch.export, and what they mean for the person who wrote the network."""


def traced(module: nn.Module, images: Tensor, any_batch: bool) -> torch.export.ExportedProgram:
    """The program of a module, for batches of any size or of that of the images.

    Raises:
        ValueError: If torch.export can't export it; with the first sentence of its reason.
    """
    sizes = ({0: torch.export.Dim("batch")},) if any_batch else None
    try:
        with quiet(), torch.no_grad():
            return torch.export.export(module, (images,), dynamic_shapes=sizes)
    except Exception as error:
        sentence = first_sentence(error)
        reason = next((f"{meaning} ({sentence})" for words, meaning in _REASONS if words in sentence), sentence)
        raise ValueError(f"torch.export can't export this network: {reason}") from error


def trial_batches(images: Tensor | None, shape: tuple[int, ...], batch_size: int | None, seed: int) -> list[Tensor]:
    """Batches on which outputs are compared: of the one size that is allowed, or of one, all and two images.

    The last is the example that is traced: a batch of one would be taken for the only size.

    Raises:
        ValueError: If the size is below 1, or the images don't fit.
    """
    if batch_size is not None and batch_size < 1:
        raise ValueError(f"batch_size must be at least 1; got {batch_size}")
    found = trial_images(images, shape, seed)
    if batch_size is not None:
        return [found[torch.arange(batch_size) % len(found)]]
    return [found[:1], *([found] if len(found) > 2 else []), found[torch.arange(2) % len(found)]]


def check_ending(path: str | os.PathLike[str], ending: str) -> None:
    """Refuse a file name with another ending than readers of the format expect.

    Raises:
        ValueError: Saying which ending.
    """
    if Path(path).suffix != ending:
        raise ValueError(f"the file's name must end in {ending}; got {Path(path).name!r}")


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Hide what exporters print, log and warn of on their way: pages about their own internals."""
    before = logging.root.manager.disable
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        warnings.simplefilter("ignore")
        logging.disable(logging.CRITICAL)
        try:
            yield
        finally:
            logging.disable(before)
