"""Geometry of a network's category manifolds, measured while it trains."""

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
from neuroalign.state import evaluating


class ManifoldGeometryCallback(EvaluationCallback):
    """Log capacity, radius, dimension and simpler measures of class manifolds at named layers.

    Works inside ``trainer.fit``, ``validate`` and ``test`` on any LightningModule that can be called on images, on several
    processes and under autocast, and leaves no trace. Logs ``geometry/<layer>/<quantity>``; see
    :class:`neuroalign.ManifoldGeometry` for the quantities (errors are not logged; ``callback.metrics`` has them until the
    next epoch).

    Args:
        layers: Dotted names of layers of the LightningModule, such as ``"network.trunk.backbone.layer4"``.
        every_n_epochs: In ``fit``, measure in the first epoch that is validated and in every n-th; ``validate`` and ``test``
            always measure. In between, the last value stays for callbacks that monitor it, so that
            ``EarlyStopping`` wants a patience of n or more.
        num_per_class: Images of a class, chosen by ``seed`` from all that come: ``"equal"``, as many as the smallest class
            has; a number, so many or as many as the smallest class has (the images that are not needed are then not kept);
            None, all images, however unequal the classes.
        num_classes: Use so many classes, chosen by ``seed``; None uses all.
        num_samples: Gaussian draws a manifold.
        num_components: Project wider layers to so many components at random; None keeps them.
        seed: Of the choice, the draws and the projection.
        limit_batches: Use only so many batches; None all.

    Raises:
        ValueError: On the first batch, if a layer doesn't exist (with near matches); at the end of the epoch, if fewer than
            two classes have two images.

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
        num_per_class: int | Literal["equal"] | None = "equal",
        num_classes: int | None = None,
        num_samples: int = 200,
        num_components: int | None = None,
        seed: int = 0,
        limit_batches: int | None = None,
    ) -> None:
        super().__init__(every_n_epochs, limit_batches)
        self.layers = [layers] if isinstance(layers, str) else list(layers)
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
