"""Geometry of category manifolds in a network's layers, measured during training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import lightning as L
import torch
from torch import Tensor

from neuroalign.callbacks.base import EvaluationCallback
from neuroalign.metrics import ManifoldGeometry
from neuroalign.models import record_layers
from neuroalign.models.precision import as_dtype_of
from neuroalign.models.taps import check_layer
from neuroalign.state import evaluating

__all__ = ["ManifoldGeometryCallback"]


class ManifoldGeometryCallback(EvaluationCallback):
    """Log capacity, radius, dimension and simpler measures of class manifolds at named layers.

    Works inside ``trainer.fit``, ``validate`` and ``test`` on any LightningModule that can be called on images, on several
    processes and under autocast, and does not change the training. Logs ``geometry/<layer>/<quantity>``; see
    :class:`neuroalign.ManifoldGeometry` for the quantities (errors are not logged; ``callback.metrics`` has them until the
    next epoch).

    Args:
        layers: Dotted names of layers of the LightningModule, such as ``"network.trunk.backbone.layer4"``, or their last
            parts where only one layer has them, ``"layer4"``: see :func:`neuroalign.models.resolve_layer`. The log has the
            given name.
        every_n_epochs: In ``fit``, measure in the first epoch that is validated and in every n-th; ``validate`` and ``test``
            always measure. In between, the last value stays for callbacks that monitor it, so ``EarlyStopping`` needs a
            patience of at least n.
        num_per_class: Number of images per class, chosen by ``seed``: ``"equal"`` takes the size of the smallest class; a
            number takes this number, or the size of the smallest class if that is less (images that are not needed are then
            not kept); None takes all images, however unequal the classes are.
        num_classes: At most this number of classes, chosen by ``seed``; None means all.
        num_samples: Number of Gaussian draws per manifold.
        num_components: Project layers that are wider than this to this number of components at random; None keeps them.
        seed: Seed of the choice of images, of the draws and of the projection.
        limit_batches: Largest number of batches to measure; None means all.

    Raises:
        ValueError: When training starts (else on the first batch), if a layer doesn't exist (with near matches) or a short
            name means several; at the end of the epoch, if fewer than two classes have two images.

    Example:
        >>> layer = "network.trunk.backbone.layer3"
        >>> callback = ManifoldGeometryCallback(layer, num_per_class=50)
        >>> callback.layers
        ['network.trunk.backbone.layer3']
    """

    def __init__(
        self,
        layers: str | Sequence[str],
        *,
        every_n_epochs: int = 1,
        num_per_class: int | Literal["equal"] | None = "equal",
        num_classes: int | None = None,
        num_samples: int = 200,
        num_components: int | None = None,
        seed: int = 0,
        limit_batches: int | None = None,
    ) -> None:
        super().__init__(every_n_epochs, limit_batches)
        self.layers = [layers] if isinstance(layers, str) else list(layers)
        if not self.layers:
            raise ValueError("give at least one layer")
        self.metrics = {
            layer: ManifoldGeometry(
                num_per_class=num_per_class,
                num_classes=num_classes,
                num_samples=num_samples,
                num_components=num_components,
                seed=seed,
            )
            for layer in self.layers
        }

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Refuse a layer that the module lacks before it is trained for an epoch."""
        super().on_fit_start(trainer, pl_module)
        for layer in self.layers:
            check_layer(pl_module, layer)

    def look(
        self, trainer: L.Trainer, module: L.LightningModule, images: Tensor, labels: Tensor, index: Tensor
    ) -> None:
        """Record one batch's features."""
        with evaluating(module), torch.no_grad(), record_layers(module, self.layers) as features:
            module(as_dtype_of(images, module))
        for layer, metric in self.metrics.items():
            metric.to(labels.device).update(features[layer], labels, index)

    def results(self) -> dict[str, Tensor]:
        """Geometry, by layer and quantity."""
        return {
            f"geometry/{layer}/{name}": value
            for layer, metric in self.metrics.items()
            for name, value in metric.compute().items()
            if not name.endswith("_error")
        }
