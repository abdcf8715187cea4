"""Geometry of category manifolds over a data set."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from neuroalign.functional.manifold import manifold_radius, participation_ratio, separability
from neuroalign.metrics.stimuli import first_of_each, joined, next_index


class ManifoldGeometry(Metric):
    """Geometry of category manifolds over a data set: radius, participation ratio, separability.

    See :func:`neuroalign.functional.manifold_radius`, :func:`~neuroalign.functional.participation_ratio` and
    :func:`~neuroalign.functional.separability`; the first two are means over classes. The participation ratio grows with
    the number of images, so compare networks on the same ones.

    Args:
        num_per_class: Use at most so many images of a class, the first by index; None uses all.
        **kwargs: Of ``torchmetrics.Metric``.

    Shapes:
        update(features (stimulus, feature), labels (stimulus,), index (stimulus,)) -> dict of scalars.

    Example:
        >>> metric = ManifoldGeometry()
        >>> metric.update(torch.tensor([[-1.0], [1.0], [9.0], [11.0]]), torch.tensor([0, 0, 1, 1]))
        >>> {name: round(float(value), 3) for name, value in metric.compute().items()}
        {'radius': 0.2, 'participation_ratio': 1.0, 'separability': 0.962}
    """

    full_state_update = False
    features: list[Tensor]
    labels: list[Tensor]
    index: list[Tensor]

    def __init__(self, *, num_per_class: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if num_per_class is not None and num_per_class < 2:
            raise ValueError(f"a manifold needs at least 2 images a class; got num_per_class={num_per_class}")
        self.num_per_class = num_per_class
        for name in ("features", "labels", "index"):
            self.add_state(name, [], dist_reduce_fx="cat")

    def update(self, features: Tensor, labels: Tensor, index: Tensor | None = None) -> None:
        """Add a batch; features beyond two axes are flattened."""
        if index is None:
            index = next_index(self.index, len(labels), labels.device)
        self.features.append(features.detach().flatten(1).float())
        self.labels.append(labels)
        self.index.append(index.to(labels.device).long())

    def compute(self) -> dict[str, Tensor]:
        """Radius, participation ratio and separability over all images."""
        features, labels, index = map(joined, (self.features, self.labels, self.index))
        kept = first_of_each(index)
        kept = kept[index[kept].argsort()]
        if self.num_per_class is not None:
            kept = kept[self._rank_in_class(labels[kept]) < self.num_per_class]
        x, y = features[kept].double(), labels[kept]
        return {
            "radius": manifold_radius(x, y).mean().float(),
            "participation_ratio": participation_ratio(x, y).nanmean().float(),
            "separability": separability(x, y).float(),
        }

    @staticmethod
    def _rank_in_class(labels: Tensor) -> Tensor:
        order = labels.argsort(stable=True)
        sizes = labels[order].unique_consecutive(return_counts=True)[1]
        rank = torch.empty_like(labels)
        rank[order] = torch.cat([torch.arange(int(n), device=labels.device) for n in sizes])
        return rank
