"""Metrics over an epoch: the formulas as torchmetrics, exact in any order of batches and over several processes."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor
from torchmetrics import Metric

from neuroalign.functional.correlation import check_pair, pearson
from neuroalign.functional.manifold import manifold_radius, participation_ratio, separability

Reduction = Literal["median", "mean", "none"]


def _reduce(values: Tensor, reduction: Reduction) -> Tensor:
    if reduction == "median":
        return values.nanmedian() if values.numel() else values.new_tensor(torch.nan)
    return values.nanmean() if reduction == "mean" else values


def _merge_moments(parts: Tensor) -> Tensor:
    """Pool (part, 6, voxel) moments: count, two means, two sums of squares, the sum of products (Chan et al. 1979)."""
    total = parts[0]
    for part in parts[1:]:
        n = total[0] + part[0]
        dx, dy = part[1] - total[1], part[2] - total[2]
        share = part[0] / n.clamp_min(1)
        cross = total[0] * share
        total = torch.stack(
            [
                n,
                total[1] + dx * share,
                total[2] + dy * share,
                total[3] + part[3] + dx * dx * cross,
                total[4] + part[4] + dy * dy * cross,
                total[5] + part[5] + dx * dy * cross,
            ]
        )
    return total


class VoxelCorrelation(Metric):
    """Pearson correlation between predicted and measured responses over a whole data set.

    NaN targets are left out of their own voxel. A voxel whose correlation is undefined (constant, or fewer than two
    valid stimuli) is NaN, and left out of the median and mean; ``num_undefined`` counts such voxels.

    Args:
        over: "stimuli" gives one value a voxel, "voxels" one a stimulus (pattern correlation).
        reduction: "median", "mean" or "none" of these values.

    Shapes:
        preds (stimulus, voxel), target (stimulus, voxel) -> scalar, or (voxel,) / (stimulus,) with "none".

    Example:
        >>> metric = VoxelCorrelation(reduction="none")
        >>> x = torch.tensor([[1.0, 5.0], [2.0, 5.0], [3.0, 5.0]])
        >>> metric.update(x[:2], x[:2])
        >>> metric.update(x[2:], x[2:])
        >>> metric.compute(), metric.num_undefined
        (tensor([1., nan]), 1)
    """

    full_state_update = True
    is_differentiable = False
    higher_is_better = True
    moments: Tensor
    patterns: list[Tensor]

    def __init__(
        self, *, over: Literal["stimuli", "voxels"] = "stimuli", reduction: Reduction = "median", **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        if over not in ("stimuli", "voxels"):
            raise ValueError(f"over must be 'stimuli' or 'voxels'; got {over!r}")
        if reduction not in ("median", "mean", "none"):
            raise ValueError(f"reduction must be 'median', 'mean' or 'none'; got {reduction!r}")
        self.over, self.reduction = over, reduction
        self.num_undefined = 0
        if over == "stimuli":
            self.add_state("moments", torch.zeros(6, 1, dtype=torch.float64), dist_reduce_fx=_merge_moments)
        else:
            self.add_state("patterns", [], dist_reduce_fx="cat")

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Add a batch."""
        check_pair(preds, target)
        if self.over == "voxels":
            self.patterns.append(pearson(preds.detach(), target.detach(), dim=1).double())
            return
        x, y = preds.detach().double(), target.detach().double()
        valid = ~y.isnan()
        n = valid.sum(0).double()
        x, y = torch.where(valid, x, 0), torch.where(valid, y, 0)
        mx, my = x.sum(0) / n.clamp_min(1), y.sum(0) / n.clamp_min(1)
        dx, dy = torch.where(valid, x - mx, 0), torch.where(valid, y - my, 0)
        batch = torch.stack([n, mx, my, (dx * dx).sum(0), (dy * dy).sum(0), (dx * dy).sum(0)])
        seen = self.moments.double().expand(6, batch.shape[1])
        self.moments = _merge_moments(torch.stack([seen, batch]))

    def merge_state(self, incoming_state: dict[str, Any] | Metric) -> None:
        """Add what another metric of the same kind has seen."""
        other = incoming_state if isinstance(incoming_state, dict) else incoming_state.metric_state
        if self.over == "voxels":
            self.patterns.extend(other["patterns"])
            return
        width = max(self.moments.shape[1], other["moments"].shape[1])
        both = [state.double().expand(6, width) for state in (self.moments, other["moments"])]
        self.moments = _merge_moments(torch.stack(both))
        self._update_count += 1
        self._computed = None

    def _per_voxel(self) -> Tensor:
        n, mx, my, xx, yy, xy = self.moments.double()
        eps = 4 * torch.finfo(torch.float32).eps  # inputs are float32: below this a voxel is constant
        defined = (n >= 2) & (xx > n * (eps * mx) ** 2 * 1e-2) & (yy > n * (eps * my) ** 2 * 1e-2)
        return torch.where(defined, xy / torch.where(defined, xx * yy, 1).sqrt(), torch.nan)

    def compute(self) -> Tensor:
        """The correlation over all that was added."""
        if self.over == "stimuli":
            values = self._per_voxel()
        else:
            parts = self.patterns
            values = torch.cat(list(parts)) if isinstance(parts, list) else parts
        self.num_undefined = int(values.isnan().sum())
        return _reduce(values, self.reduction).float()


class NoiseNormalizedCorrelation(VoxelCorrelation):
    r"""Correlation over stimuli as a share of what noise allows: :math:`r / \sqrt{\mathrm{NC}}` per voxel.

    Args:
        noise_ceiling: (voxel,) in [0, 1], of the responses that are the target (their average over repeats).
        min_ceiling: Voxels at or below it are left out: there the ratio is noise over nearly nothing.
        reduction: "median", "mean" or "none" over voxels.

    Example:
        >>> metric = NoiseNormalizedCorrelation(torch.tensor([0.25, 0.0]), reduction="none")
        >>> x, y = torch.tensor([[1.0, 1.0], [2.0, 2.0], [3.0, 3.0]]), torch.tensor([[1.0, 1.0], [0.0, 0.0], [2.0, 2.0]])
        >>> metric.update(x, y)
        >>> metric.compute()
        tensor([1., nan])
    """

    noise_ceiling: Tensor

    def __init__(
        self, noise_ceiling: Tensor, *, min_ceiling: float = 0.05, reduction: Reduction = "median", **kwargs: Any
    ) -> None:
        super().__init__(reduction=reduction, **kwargs)
        self.register_buffer("noise_ceiling", torch.as_tensor(noise_ceiling).double(), persistent=False)
        self.min_ceiling = min_ceiling

    def _per_voxel(self) -> Tensor:
        r, ceiling = super()._per_voxel(), self.noise_ceiling.double()
        if r.numel() != ceiling.numel() and r.numel() > 1:
            raise ValueError(f"noise_ceiling has {ceiling.numel()} voxels, the responses {r.numel()}")
        used = ceiling > self.min_ceiling
        return torch.where(used, r / torch.where(used, ceiling, 1).sqrt(), torch.nan)


def _first_of_each(index: Tensor) -> Tensor:
    """Positions of the first occurrence of every index: distributed samplers repeat images to even out."""
    unique, inverse = index.unique(return_inverse=True)
    first = torch.full((len(unique),), len(index), dtype=torch.long, device=index.device)
    positions = torch.arange(len(index), device=index.device)
    return first.scatter_reduce(0, inverse, positions, "amin").sort().values


class RobustAccuracy(Metric):
    """Share of *all* images that are classified right after a perturbation; a clean error counts as an error.

    Args:
        **kwargs: Of ``torchmetrics.Metric``.

    Shapes:
        update(logits (stimulus, class), labels (stimulus,), index (stimulus,)) -> scalar in [0, 1].

    ``index`` is each image's identity; an image that comes twice, as distributed samplers make it, counts once.

    Example:
        >>> metric = RobustAccuracy()
        >>> metric.update(torch.eye(3), torch.tensor([0, 1, 1]))
        >>> metric.compute(), metric.num_images
        (tensor(0.6667), 3)
    """

    full_state_update = False
    is_differentiable = False
    higher_is_better = True
    correct: list[Tensor]
    index: list[Tensor]

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("correct", [], dist_reduce_fx="cat")
        self.add_state("index", [], dist_reduce_fx="cat")
        self.num_images = 0

    def update(self, preds: Tensor, labels: Tensor, index: Tensor | None = None) -> None:
        """Add a batch of logits on perturbed images."""
        if len(preds) != len(labels):
            raise ValueError(f"{len(preds)} rows of logits but {len(labels)} labels")
        if index is None:
            start = sum(len(i) for i in self.index) if isinstance(self.index, list) else len(self.index)
            index = torch.arange(start, start + len(preds), device=preds.device)
        # NaN logits argmax to something; a network that says nothing is not right.
        right = (preds.argmax(1) == labels) & ~preds.isnan().any(1)
        self.correct.append(right.long())
        self.index.append(index.to(preds.device).long())

    def compute(self) -> Tensor:
        """The accuracy over all images."""
        correct = torch.cat(list(self.correct)) if isinstance(self.correct, list) else self.correct
        index = torch.cat(list(self.index)) if isinstance(self.index, list) else self.index
        kept = correct[_first_of_each(index)]
        self.num_images = len(kept)
        return kept.float().mean()


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
            start = sum(len(i) for i in self.index) if isinstance(self.index, list) else len(self.index)
            index = torch.arange(start, start + len(labels), device=labels.device)
        self.features.append(features.detach().flatten(1).float())
        self.labels.append(labels)
        self.index.append(index.to(labels.device).long())

    def compute(self) -> dict[str, Tensor]:
        """Radius, participation ratio and separability over all images."""
        features, labels, index = (
            torch.cat(list(state)) if isinstance(state, list) else state
            for state in (self.features, self.labels, self.index)
        )
        kept = _first_of_each(index)
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
