"""Geometry of category manifolds over a data set."""

from __future__ import annotations

import warnings
from typing import Any, Literal

import torch
from torch import Tensor

from neuroalign.functional import (
    manifold_capacity,
    manifold_radius,
    participation_ratio,
    random_projection,
    separability,
)
from neuroalign.functional.capacity import CenterAtMeanError
from neuroalign.functional.checks import all_finite, check_choice
from neuroalign.metrics.base import check_tensors
from neuroalign.metrics.sampling import sample
from neuroalign.metrics.stimuli import StimulusMetric

__all__ = ["ManifoldGeometry"]

_MEAN_FIELD = (
    "capacity", "radius", "dimension", "capacity_error", "radius_error", "dimension_error", "center_correlation",
)  # fmt: skip
_NAMES = (*_MEAN_FIELD, "rms_radius", "participation_ratio", "separability")


class ManifoldGeometry(StimulusMetric):
    """Geometry of category manifolds over a data set: capacity, radius, dimension and simpler measures.

    A dict of scalars:

    - ``capacity``, ``radius``, ``dimension``: mean-field, with their Monte-Carlo standard errors ``capacity_error``,
      ``radius_error`` and ``dimension_error``, and ``center_correlation`` before any direction is removed; see
      :func:`neuroalign.functional.manifold_capacity`. In units of the length of each class's centre.
    - ``rms_radius``: :func:`neuroalign.functional.manifold_radius`, relative to the distance between classes.
    - ``participation_ratio``: :func:`neuroalign.functional.participation_ratio`, mean over classes.
    - ``separability``: :func:`neuroalign.functional.separability`.

    Capacity, dimension and participation ratio depend on the number of images per class (the documentation's page on geometry
    has a table), so all classes give the same number, and only values from equal numbers can be compared. The choice of
    classes and images depends on the seed and each image's ``index`` alone, not on batches, their order or processes. Images
    without an index are numbered in order of arrival, process after process. If a number of images or classes is given and
    images have an index, images that can't be chosen any more are dropped while data arrive. Classes with a single image are
    left out.

    Args:
        num_per_class: Number of images per class, chosen by ``seed``: ``"equal"`` takes the size of the smallest class; a
            number takes this number, or the size of the smallest class if that is less; None takes all images, however
            unequal the classes are.
        num_classes: At most this number of classes, chosen by ``seed``; None means all.
        num_samples: Number of Gaussian draws per manifold.
        center_correlation: ``"remove"`` or ``"keep"`` the directions that the centres share.
        num_components: Project features that are wider than this to this number of components at random; None keeps them. See
            :func:`neuroalign.functional.random_projection` for the error.
        seed: Seed of the choice of images, of the draws and of the projection.
        **kwargs: Of ``torchmetrics.Metric``.

    Shapes:
        update(features (stimulus, feature), labels (stimulus,), index (stimulus,)) -> dict of scalars. A wrapper that wants
        one number takes ``metric["capacity"]``. ``forward`` gives NaN for a batch with fewer than two classes of two images.

    Raises:
        ValueError: If an argument is out of range or a feature is not finite; in ``compute``, if no data were added, fewer
            than two classes have two images, or images are to be chosen and only some have an index.

    Warns:
        UserWarning: In ``compute``, if the smallest class has less than half of the images that most classes could give, so
            that all classes are cut to its size; and if features are constant or a class's centre is the mean of all, in
            which case capacity, radius and dimension are NaN.

    Example:
        >>> metric = ManifoldGeometry()
        >>> features = torch.tensor([[-1.0], [1.0], [9.0], [11.0]])
        >>> metric.update(features, torch.tensor([0, 0, 1, 1]))
        >>> found = metric.compute()
        >>> round(float(found["rms_radius"]), 3), round(float(found["separability"]), 3)
        (0.2, 0.962)
    """

    kept = ("features", "labels")
    features: list[Tensor]
    labels: list[Tensor]

    def __init__(
        self,
        *,
        num_per_class: int | Literal["equal"] | None = "equal",
        num_classes: int | None = None,
        num_samples: int = 200,
        center_correlation: Literal["remove", "keep"] = "remove",
        num_components: int | None = None,
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if isinstance(num_per_class, str) and num_per_class != "equal":
            raise ValueError(f'num_per_class must be a number, "equal" or None; got {num_per_class!r}')
        if isinstance(num_per_class, int) and num_per_class < 2:
            raise ValueError(f"a manifold needs at least 2 images per class; got num_per_class={num_per_class}")
        if num_classes is not None and num_classes < 2:
            raise ValueError(f"the geometry of manifolds needs at least 2 classes; got num_classes={num_classes}")
        if num_components is not None and num_components < 1:
            raise ValueError(f"num_components must be at least 1; got {num_components}")
        check_choice("center_correlation", center_correlation, ("remove", "keep"))
        self.num_per_class, self.num_classes, self.num_samples = num_per_class, num_classes, num_samples
        self.center_correlation, self.num_components, self.seed = center_correlation, num_components, seed
        self._enough = 0

    def update(self, features: Tensor, labels: Tensor, index: Tensor | None = None) -> None:
        """Add a batch; features beyond two axes are flattened."""
        check_tensors(features=features, labels=labels)
        if features.ndim < 2:
            raise ValueError(f"features must be (stimulus, feature); got {tuple(features.shape)}")
        features = features.detach().flatten(1).float()
        if labels.shape != features.shape[:1]:
            raise ValueError(f"{len(features)} rows of features but labels of shape {tuple(labels.shape)}")
        if not all_finite(features):
            raise ValueError("features have NaN or infinite values: has the network diverged?")
        if self.num_components is not None:
            features = random_projection(features, self.num_components, seed=self.seed)
        self.add(index, features=features, labels=labels.to(features.device))
        if self._chooses and index is not None and self._num_rows() > 2 * self._enough + 512:
            self._drop_unchosen()

    def reset(self) -> None:
        """Remove all data."""
        super().reset()
        self._enough = 0

    @property
    def _most(self) -> int | None:
        """Largest number of images per class that can be needed, known before all data have arrived; None means all."""
        return self.num_per_class if isinstance(self.num_per_class, int) else None

    @property
    def _chooses(self) -> bool:
        return self._most is not None or self.num_classes is not None

    def _num_rows(self) -> int:
        return sum(len(labels) for labels in self.labels)

    def _drop_unchosen(self) -> None:
        if self.seen().named is not True:  # the order of arrival over processes is known only at the end
            return
        rows, number, _ = self.seen()
        features, labels = self.joined("features")[rows], self.joined("labels")[rows]
        kept = self._sampled(labels, number, self._most)
        self.features, self.labels = [features[kept]], [labels[kept]]
        self.identity = [torch.stack([number[kept], torch.ones_like(number[kept])], 1)]
        self._enough = self._num_rows()

    def _sampled(self, labels: Tensor, number: Tensor, num_per_class: int | None) -> Tensor:
        return sample(labels, number, num_classes=self.num_classes, num_per_class=num_per_class, seed=self.seed)

    def chosen(self) -> tuple[Tensor, Tensor, Tensor]:
        """Features, labels and numbers of the images chosen from those added so far, by rising number.

        Raises:
            ValueError: If no data were added, or images are to be chosen and only some have an index.
        """
        rows, number, named = self.seen()
        features, labels = self.joined("features")[rows], self.joined("labels")[rows]
        kept = self._sampled(labels, number, self._most)
        if self.num_per_class is not None:
            sizes = labels[kept].unique(return_counts=True)[1]
            several = sizes[sizes > 1]
            if len(several) and bool((sizes > several.min()).any()):
                kept = self._sampled(labels, number, int(several.min()))
        if named is None and (self._chooses or len(kept) < len(labels)):
            raise ValueError(
                "a choice of images that is the same in every run needs an index for all of them, or for none: only "
                "some have one"
            )
        return features[kept], labels[kept], number[kept]

    def _tell_of_small_classes(self) -> None:
        """Warn if a class with few images forces all other classes to drop most of theirs."""
        if self.num_per_class is None or self.in_forward:
            return
        rows, number, _ = self.seen()
        labels = self.joined("labels")[rows]
        present, sizes = labels[self._sampled(labels, number, self._most)].unique(return_counts=True)
        present, sizes = present[sizes > 1], sizes[sizes > 1]
        small = sizes < sizes.float().quantile(0.5) / 2
        if bool(small.any()):
            named = ", ".join(f"{c} ({n})" for c, n in zip(present[small].tolist(), sizes[small].tolist()))
            warnings.warn(
                f"classes with few images limit all classes to {int(sizes.min())} images each, where most have "
                f"{int(sizes.float().quantile(0.5))}: class (images) {named}; leave them out, or pass num_per_class=None",
                stacklevel=3,
            )

    def compute(self) -> dict[str, Tensor]:
        """The measures over all chosen images."""
        x, y, _ = self.chosen()
        _, inverse, sizes = y.unique(return_inverse=True, return_counts=True)
        several = sizes[inverse] > 1
        if int((sizes > 1).sum()) < 2:
            if self.in_forward:
                return dict.fromkeys(_NAMES, x.new_tensor(torch.nan))
            raise ValueError(
                f"the geometry of manifolds needs at least two classes with two images each; got {len(x)} images of "
                f"{len(sizes)} classes, {int((sizes > 1).sum())} with two or more"
            )
        self._tell_of_small_classes()
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
        try:
            found = manifold_capacity(
                x, y, num_samples=self.num_samples, center_correlation=self.center_correlation, seed=self.seed
            )
        except CenterAtMeanError as error:  # a layer without information must not stop a training
            warnings.warn(f"no capacity, radius and dimension of these features: {error}", stacklevel=2)
            return dict.fromkeys(_MEAN_FIELD, x.new_tensor(torch.nan))
        values = {name: getattr(found, name) for name in _MEAN_FIELD[:-1]}
        return values | {"center_correlation": found.initial_center_correlation}
