"""Guidance by responses: match what a predictor says a region would answer, or what was measured."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from neuroalign.config import build, describe
from neuroalign.losses import NeuralAlignmentLoss
from neuroalign.models import Frozen, NeuralPredictor
from neuroalign.types import Batch, unknown


def check_heads(preds: Mapping[str, Tensor], wanted: Mapping[str, Any]) -> None:
    """Refuse guidance of a head that the network doesn't have."""
    for name in wanted:
        if name not in preds:
            raise ValueError(
                unknown("response head", name, preds)
                + ". The network needs a head for every name that guides it: GuidedNetwork(heads={...})"
            )


class TargetGuidance(nn.Module, ABC):
    """Guidance toward target responses: subclasses say in :meth:`targets` where these come from.

    Called as ``guidance(preds, batch)`` with the network's responses by head and the batch; returns the loss terms by
    name, ``<head>/<measure>``. Knows no trainer: use it in any LightningModule or plain loop.

    Args:
        loss: A measure's name or a loss ``(preds, target) -> scalar``.
    """

    def __init__(self, loss: str | nn.Module | dict[str, Any] = "mse") -> None:
        super().__init__()
        if isinstance(loss, str):
            loss = NeuralAlignmentLoss(loss)
        self.loss: nn.Module = build(loss)

    @abstractmethod
    def targets(self, batch: Batch) -> dict[str, Tensor]:
        """Target responses (stimulus, voxel) by head; NaN where there is none."""

    def forward(self, preds: Mapping[str, Tensor], batch: Batch) -> dict[str, Tensor]:
        """Loss terms by name, for responses by head (stimulus, voxel) and the batch they came from."""
        targets = self.targets(batch)
        check_heads(preds, targets)
        name = getattr(self.loss, "name", type(self.loss).__name__)
        return {f"{head}/{name}": self.loss(preds[head], target) for head, target in targets.items()}


class PredictedGuidance(TargetGuidance):
    """Neural guidance: match what a frozen predictor says a region would answer to the very images of the batch.

    Args:
        predictors: A predictor (images to responses) for each head it guides, by the head's name; a path is read with
            :meth:`NeuralPredictor.load`. They are frozen: eval mode, no gradients, buffers unmoved.
        loss: A measure's name or a loss ``(preds, target) -> scalar``; the paper's is "mse".

    Raises:
        ValueError: On the first batch, if the network has no head of that name.

    Example:
        >>> from neuroalign import GuidedNetwork, NeuralPredictor
        >>> predictor = NeuralPredictor("small_resnet", num_voxels=30, image_shape=(3, 8, 8))
        >>> network = GuidedNetwork("small_resnet", 10, heads={"V4": (None, 30)}, image_shape=(3, 8, 8))
        >>> batch = {"image": torch.rand(4, 3, 8, 8), "label": torch.arange(4)}
        >>> logits, responses = network.forward_with_responses(batch["image"])
        >>> terms = PredictedGuidance({"V4": predictor})(responses, batch)
        >>> sorted(terms)
        ['V4/mse']

    Source:
        Shao et al. 2024, arXiv 2405.02564 (neural guidance).
    """

    def __init__(
        self,
        predictors: Mapping[str, str | os.PathLike[str] | nn.Module | dict[str, Any]],
        loss: str | nn.Module | dict[str, Any] = "mse",
    ) -> None:
        super().__init__(loss)
        if not predictors:
            raise ValueError("give at least one predictor, by the name of the head it guides")
        loaded = {}
        for head, predictor in predictors.items():
            if isinstance(predictor, (str, os.PathLike)):
                predictor = NeuralPredictor.load(predictor)
            else:
                predictor = build(predictor)
            loaded[head] = predictor if isinstance(predictor, Frozen) else Frozen(predictor)
        self.predictors = nn.ModuleDict(loaded)
        self.config = describe(
            "neuroalign.guidance.PredictedGuidance", predictors=dict(self.predictors.items()), loss=self.loss
        )

    def targets(self, batch: Batch) -> dict[str, Tensor]:
        """Predicted responses to the batch's images, by head."""
        return {head: predictor(batch["image"]) for head, predictor in self.predictors.items()}


class MeasuredGuidance(TargetGuidance):
    """Match responses that were measured for the very images of the batch; images without any have NaN rows.

    Args:
        heads: The head that the batch's ``response`` (stimulus, voxel) guides, or for several heads the columns of the
            response that belong to each.
        loss: A measure's name or a loss ``(preds, target) -> scalar``.

    Raises:
        ValueError: If a batch holds no ``response``.

    Example:
        >>> guidance = MeasuredGuidance({"V1": [0, 1], "V4": [2]})
        >>> preds = {"V1": torch.zeros(4, 2), "V4": torch.zeros(4, 1)}
        >>> terms = guidance(preds, {"response": torch.ones(4, 3)})
        >>> {name: float(value) for name, value in terms.items()}
        {'V1/mse': 1.0, 'V4/mse': 1.0}
    """

    def __init__(
        self, heads: str | Mapping[str, list[int]] = "response", loss: str | nn.Module | dict[str, Any] = "mse"
    ) -> None:
        super().__init__(loss)
        self.columns: dict[str, list[int] | None]
        self.columns = {heads: None} if isinstance(heads, str) else {h: list(map(int, c)) for h, c in heads.items()}
        self.config = describe(
            "neuroalign.guidance.MeasuredGuidance",
            heads=heads if isinstance(heads, str) else self.columns,
            loss=self.loss,
        )

    def targets(self, batch: Batch) -> dict[str, Tensor]:
        """Columns of the batch's ``response``, by head."""
        response = batch.get("response")
        if response is None:
            raise ValueError("this batch holds no 'response': give the DataModule responses, or use PredictedGuidance")
        width = response.shape[1]
        for head, columns in self.columns.items():
            if columns and max(columns) >= width:
                raise ValueError(f"head {head!r} wants column {max(columns)} of responses with {width} voxels")
        return {head: response if c is None else response[:, c] for head, c in self.columns.items()}


def nothing(preds: Mapping[str, Tensor]) -> Tensor:
    """A zero that keeps every head in the graph, so that distributed training finds no unused parameter."""
    zero = torch.zeros(())
    for value in preds.values():
        zero = zero.to(value.device) + 0 * value.float().sum()
    return zero
