"""Options of a pass of images through a model: each public function makes them once and passes them on as one object."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from neuroalign.evaluation.images import EvaluationBatch, device_of, evaluation_batches
from neuroalign.perturbations.pixel_classifier import PIXELS_TO_LOGITS, ModelInterface

__all__: list[str] = []


@dataclass(frozen=True)
class PassOptions:
    """How the images of a loader are passed through a model.

    Attributes:
        interface: How the loader's images are normalised, and where the model's output holds the logits.
        limit_batches: Maximum number of batches; None means all.
        seed: Seed of the global random generator, for perturbations that draw from it.
        device: Device to compute on; None means the model's.
        progress: Show a progress bar.
        checkpoint: File to which each batch's results are added; images in it are not attacked again. None means no file.

    Example:
        >>> options = PassOptions(limit_batches=2)
        >>> device, classifier = options.prepare(nn.Sequential(nn.Flatten(), nn.Linear(12, 3)))
        >>> loader = [(torch.rand(8, 3, 2, 2), torch.randint(3, (8,)))] * 3
        >>> [len(batch.images) for batch in options.batches(loader, device, "attack")]
        [8, 8]
    """

    interface: ModelInterface = PIXELS_TO_LOGITS
    limit_batches: int | None = None
    seed: int = 0
    device: torch.device | str | None = None
    progress: bool = False
    checkpoint: str | Path | None = None

    def prepare(self, model: nn.Module) -> tuple[torch.device, nn.Module]:
        """The device to compute on, and the model as a classifier of pixels.

        Raises:
            TypeError: If the model is a class.
            ValueError: If the model is on the meta device and no other is given.
        """
        return device_of(model, self.device), self.interface.classifier(model)

    def batches(self, dataloader: Iterable[Any], device: torch.device, text: str) -> Iterator[EvaluationBatch]:
        """The batches that this process evaluates; see :func:`neuroalign.evaluation.images.evaluation_batches`.

        Args:
            dataloader: Batches.
            device: Device of the tensors.
            text: Text of the progress bar.
        """
        return evaluation_batches(
            dataloader, device, limit_batches=self.limit_batches, progress=text if self.progress else None,
            interface=self.interface,
        )  # fmt: skip

    def with_checkpoint(self, path: Path | None) -> PassOptions:
        """The same options with another checkpoint."""
        return replace(self, checkpoint=path)
