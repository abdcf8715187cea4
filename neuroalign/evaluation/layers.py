"""Geometry of a network's category manifolds, layer by layer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal

import pandas as pd
import torch
from torch import nn

from neuroalign.evaluation.images import device_of, evaluation_batches
from neuroalign.evaluation.result_table import result_table
from neuroalign.metrics import ManifoldGeometry
from neuroalign.models import record_layers, resolve_layer
from neuroalign.state import evaluating

__all__ = ["layer_geometry"]


def layer_geometry(
    model: nn.Module,
    dataloader: Iterable[Any],
    layers: str | Sequence[str],
    *,
    num_per_class: int | Literal["equal"] | None = 50,
    num_classes: int | None = None,
    num_samples: int = 200,
    center_correlation: Literal["remove", "keep"] = "remove",
    num_components: int | None = None,
    seed: int = 0,
    limit_batches: int | None = None,
    progress: bool = True,
) -> pd.DataFrame:
    """Capacity, radius, dimension and simpler measures of the class manifolds at each layer of a model.

    All layers see the same images, in one pass, in eval mode; the model is not changed.

    Args:
        model: Network that takes images (stimulus, channel, height, width).
        dataloader: Batches, dicts with ``image``, ``label`` and optionally ``stimulus`` (the image's number, by which images
            are chosen), or pairs of images and labels.
        layers: Dotted names of submodules in the order of depth, or their last parts where only one layer has them, such as
            ``"layer3"``: see :func:`neuroalign.models.resolve_layer`.
        num_per_class: Number of images per class, chosen by ``seed``, or the size of the smallest class if that is smaller;
            ``"equal"`` means the size of the smallest class; None uses all images, however unequal the classes. Capacity and
            dimension depend on it: compare only tables of equal numbers.
        num_classes: Number of classes, chosen by ``seed``; None uses all.
        num_samples: Gaussian draws per manifold.
        center_correlation: ``"remove"`` or ``"keep"`` the directions that the centres share.
        num_components: Number of components to which wider layers are projected; None projects none. See
            :func:`neuroalign.functional.random_projection` for the error.
        seed: Seed of the choice of images and classes, of the draws and of the projection.
        limit_batches: Maximum number of batches; None means all.
        progress: Show a progress bar.

    Returns:
        One row per layer: ``layer`` (the given name), ``capacity``, ``radius``, ``dimension``, ``depth`` (0 first to 1 last),
        ``num_features``, ``num_classes``, ``num_images`` and the other quantities of :class:`neuroalign.ManifoldGeometry`.

    Raises:
        ValueError: If a layer doesn't exist (the message has near matches), there are no layers, or fewer than two classes
            have two images.

    Example:
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(12, 6), nn.ReLU(), nn.Linear(6, 3))
        >>> batches = [(torch.rand(30, 3, 2, 2), torch.arange(30) % 3)]
        >>> table = layer_geometry(model, batches, ["1", "2", "3"], progress=False)
        >>> table[["layer", "depth", "num_images"]].values.tolist()
        [['1', 0.0, 30], ['2', 0.5, 30], ['3', 1.0, 30]]
    """
    layers = [layers] if isinstance(layers, str) else list(layers)
    if not layers:
        raise ValueError("name at least one layer")
    if len({resolve_layer(model, layer) for layer in layers}) < len(layers):
        raise ValueError(f"a layer is named twice: {', '.join(layers)}")
    metrics = {
        layer: ManifoldGeometry(
            num_per_class=num_per_class,
            num_classes=num_classes,
            num_samples=num_samples,
            center_correlation=center_correlation,
            num_components=num_components,
            seed=seed,
        )
        for layer in layers
    }
    device = device_of(model)
    widths: dict[str, int] = {}
    with evaluating(model), torch.no_grad(), record_layers(model, layers) as features:
        text = "recording" if progress else None
        for batch in evaluation_batches(dataloader, device, limit_batches=limit_batches, progress=text, pixels=False):
            model(batch.images)
            for layer, metric in metrics.items():
                metric.update(features[layer].cpu(), batch.labels.cpu(), batch.index)
                widths[layer] = features[layer][0].numel()
    rows = []
    for i, (layer, metric) in enumerate(metrics.items()):
        with metric.sync_context():  # so that several processes count all images
            _, labels, _ = metric.chosen()
        rows.append(
            {
                "layer": layer,
                "depth": i / max(len(layers) - 1, 1),
                "num_features": widths[layer],
                "num_classes": len(labels.unique()),
                "num_images": len(labels),
            }
            | {name: float(value) for name, value in metric.compute().items()}
        )
        metric.reset()
    return result_table(pd.DataFrame(rows), ["layer", "capacity", "radius", "dimension"])
