"""Geometry of category manifolds over a data set."""

from __future__ import annotations

import warnings
from typing import Any, Literal

import torch
from torch import Tensor
from torchmetrics import Metric

from neuroalign.functional import (
    manifold_capacity,
    manifold_radius,
    participation_ratio,
    random_projection,
    separability,
)
from neuroalign.functional.capacity import CenterAtMeanError
from neuroalign.metrics.sampling import sample
from neuroalign.metrics.stimuli import first_of_each, joined


class ManifoldGeometry(Metric):
    """Geometry of category manifolds over a data set: capacity, radius, dimension and simpler measures.

    A dict of scalars:

    - ``capacity``, ``radius``, ``dimension``: mean-field, with their Monte-Carlo standard errors ``capacity_error``,
      ``radius_error`` and ``dimension_error``, and ``center_correlation`` before any direction was removed; see
      :func:`neuroalign.functional.manifold_capacity`. Relative to each class's centre.
    - ``rms_radius``: :func:`neuroalign.functional.manifold_radius`, relative to the distance between classes.
    - ``participation_ratio``: :func:`neuroalign.functional.participation_ratio`, mean over classes.
    - ``separability``: :func:`neuroalign.functional.separability`.

    Dimension and participation ratio grow with the number of images, so compare networks on the same ones. The choice of
    classes and images depends on the seed and their numbers alone, not on batches, their order or processes; what is not
    chosen is dropped as data come in. Classes with a single image are left out.

    Args:
        num_per_class: Use so many images of a class, chosen by ``seed``; None uses all.
        num_classes: Use so many classes, chosen by ``seed``; None uses all.
        num_samples: Gaussian draws a manifold.
        center_correlation: ``"remove"`` or ``"keep"`` the directions that the centres share.
        num_components: Project wider features to so many components at random; None keeps them. See
            :func:`neuroalign.functional.random_projection` for the error.
        seed: Of the choice, the draws and the projection.
        **kwargs: Of ``torchmetrics.Metric``.

    Shapes:
        update(features (stimulus, feature), labels (stimulus,), index (stimulus,)) -> dict of scalars.

    Raises:
        ValueError: If an argument is out of range; in ``compute``, if fewer than two classes have two images.

    Warns:
        UserWarning: In ``compute``, where features are constant or a class's centre lies at the mean of all: capacity, radius
            and dimension are NaN then.

    Example:
        >>> metric = ManifoldGeometry()
        >>> metric.update(torch.tensor([[-1.0], [1.0], [9.0], [11.0]]), torch.tensor([0, 0, 1, 1]))
        >>> {name: round(float(metric.compute()[name]), 3) for name in ("rms_radius", "separability")}
        {'rms_radius': 0.2, 'separability': 0.962}
    """

    full_state_update = True  # stimuli without a number get those after all that came before
    features: list[Tensor]
    labels: list[Tensor]
    index: list[Tensor]
    seen: Tensor

    def __init__(
        self,
        *,
        num_per_class: int | None = None,
        num_classes: int | None = None,
        num_samples: int = 200,
        center_correlation: Literal["remove", "keep"] = "remove",
        num_components: int | None = None,
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if num_per_class is not None and num_per_class < 2:
            raise ValueError(f"a manifold needs at least 2 images a class; got num_per_class={num_per_class}")
        if num_classes is not None and num_classes < 2:
            raise ValueError(f"the geometry of manifolds needs at least 2 classes; got num_classes={num_classes}")
        if num_components is not None and num_components < 1:
            raise ValueError(f"num_components must be at least 1; got {num_components}")
        if center_correlation not in ("remove", "keep"):
            raise ValueError(f'center_correlation must be "remove" or "keep"; got {center_correlation!r}')
        self.num_per_class, self.num_classes, self.num_samples = num_per_class, num_classes, num_samples
        self.center_correlation, self.num_components, self.seed = center_correlation, num_components, seed
        self._enough = 0
        for name in ("features", "labels", "index"):
            self.add_state(name, [], dist_reduce_fx="cat")
        self.add_state("seen", torch.zeros((), dtype=torch.long), dist_reduce_fx="sum")

    def update(self, features: Tensor, labels: Tensor, index: Tensor | None = None) -> None:
        """Add a batch; features beyond two axes are flattened."""
        if index is None:
            # Counted apart from the rows that are kept: dropped ones have had their numbers.
            index = torch.arange(len(labels), device=labels.device) + self.seen
        self.seen = self.seen + len(labels)  # not in place: inside Lightning's validation it is an inference tensor
        features = features.detach().flatten(1).float()
        if self.num_components is not None:
            features = random_projection(features, self.num_components, seed=self.seed)
        self.features.append(features)
        self.labels.append(labels)
        self.index.append(index.to(labels.device).long())
        if (self.num_per_class is not None or self.num_classes is not None) and self._rows() > 2 * self._enough + 512:
            for name, value in zip(("features", "labels", "index"), self.chosen()):
                setattr(self, name, [value])
            self._enough = self._rows()

    def reset(self) -> None:
        """Forget everything."""
        super().reset()
        self._enough = 0

    def _rows(self) -> int:
        return sum(len(labels) for labels in self.labels)

    def chosen(self) -> tuple[Tensor, Tensor, Tensor]:
        """Features, labels and numbers of the images that are chosen so far, by rising number."""
        features, labels, index = map(joined, (self.features, self.labels, self.index))
        first = first_of_each(index)
        kept = first[
            sample(
                labels[first],
                index[first],
                num_classes=self.num_classes,
                num_per_class=self.num_per_class,
                seed=self.seed,
            )
        ]
        return features[kept], labels[kept], index[kept]

    def compute(self) -> dict[str, Tensor]:
        """The measures over all chosen images."""
        x, y, _ = self.chosen()
        _, inverse, sizes = y.unique(return_inverse=True, return_counts=True)
        several = sizes[inverse] > 1
        if int((sizes > 1).sum()) < 2:
            raise ValueError(
                f"the geometry of manifolds needs at least two classes with two images each; got {len(x)} images of "
                f"{len(sizes)} classes, {int((sizes > 1).sum())} with two or more"
            )
        x, y = x[several], y[several]
        values = self._mean_field(x, y)
        x = x.double()
        values |= {
            "rms_radius": manifold_radius(x, y).mean(),
            "participation_ratio": participation_ratio(x, y).nanmean(),
            "separability": separability(x, y),
        }
        return {name: value.float() for name, value in values.items()}

    def _mean_field(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        names = ("capacity", "radius", "dimension")
        names = (*names, *(f"{name}_error" for name in names))
        try:
            found = manifold_capacity(
                x, y, num_samples=self.num_samples, center_correlation=self.center_correlation, seed=self.seed
            )
        except CenterAtMeanError as error:  # a layer that says nothing is no reason to stop a training
            warnings.warn(f"no capacity, radius and dimension of these features: {error}", stacklevel=2)
            return dict.fromkeys((*names, "center_correlation"), x.new_tensor(torch.nan))
        return {name: getattr(found, name) for name in names} | {"center_correlation": found.initial_center_correlation}
