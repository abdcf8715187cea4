"""Geometry of a network's category manifolds, measured while it trains."""

from __future__ import annotations

from collections.abc import Sequence

import lightning as L
import torch
from torch import Tensor

from neuroalign.callbacks.base import EvaluationCallback
from neuroalign.metrics import ManifoldGeometry
from neuroalign.models import record_layers
from neuroalign.perturbations.evaluation import attacking


class ManifoldGeometryCallback(EvaluationCallback):
    """Log radius, participation ratio and separability of class manifolds at named layers.

    Works inside ``trainer.fit``, ``validate`` and ``test`` on any LightningModule that can be called on images, and
    leaves no trace. Logs ``geometry/<layer>/<quantity>``; see :class:`neuroalign.ManifoldGeometry` for the quantities.

    Args:
        layers: Dotted names of layers of the LightningModule, such as ``"network.trunk.backbone.layer4"``.
        every_n_epochs: In ``fit``, measure in every n-th epoch; ``validate`` and ``test`` always measure.
        num_per_class: Use at most so many images of a class, the first by index; None uses all.
        limit_batches: Use only so many batches; None all.

    Raises:
        ValueError: On the first batch, if a layer doesn't exist (with near matches).

    Example:
        >>> callback = ManifoldGeometryCallback("network.trunk.backbone.layer3", num_per_class=50)
        >>> callback.layers
        ['network.trunk.backbone.layer3']
    """

    def __init__(
        self,
        layers: str | Sequence[str],
        *,
        every_n_epochs: int = 1,
        num_per_class: int | None = None,
        limit_batches: int | None = None,
    ) -> None:
        super().__init__(every_n_epochs, limit_batches)
        self.layers = [layers] if isinstance(layers, str) else list(layers)
        self.metrics = {layer: ManifoldGeometry(num_per_class=num_per_class) for layer in self.layers}

    def look(
        self, trainer: L.Trainer, module: L.LightningModule, images: Tensor, labels: Tensor, index: Tensor
    ) -> None:
        """Record one batch's features."""
        with attacking(module), torch.no_grad(), record_layers(module, self.layers) as features:
            module(images)
        for layer, metric in self.metrics.items():
            metric.to(labels.device).update(features[layer], labels, index)

    def results(self) -> dict[str, Tensor]:
        """Geometry, by layer and quantity."""
        return {
            f"geometry/{layer}/{name}": value
            for layer, metric in self.metrics.items()
            for name, value in metric.compute().items()
        }
