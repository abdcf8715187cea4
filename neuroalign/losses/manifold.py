"""Manifold guidance: match the size and the directions of a region's category manifolds, not its responses."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from neuroalign.config import build, describe, is_description
from neuroalign.functional.distributed import gather_batch, world_size
from neuroalign.functional.manifold import check_features, check_labels, class_centers


class CategoryManifolds(nn.Module):
    r"""Centre, radius and principal directions of every category in a space of responses.

    For class c with members :math:`x_i`: centre :math:`\mu_c`, radius :math:`R_c = \sqrt{\mathrm{mean}|x_i-\mu_c|^2}`,
    basis :math:`U_c` of the leading principal directions that hold ``variance`` of the variance.

    Build it with :meth:`from_features`; :meth:`save` and :meth:`load` keep it in a safetensors file.

    Attributes:
        centers: (class, feature).
        radii: (class,).
        ranks: (class,) int64, number of directions of each class.
        padded_bases: (class, feature, largest rank): orthonormal columns, then zeros.

    Example:
        >>> manifolds = CategoryManifolds.from_features(torch.randn(60, 5), torch.arange(60) % 3)
        >>> manifolds.radii.shape, len(manifolds.bases)
        (torch.Size([3]), 3)

    Source:
        Shao et al. 2024, arXiv 2405.02564 (manifold guidance).
    """

    centers: Tensor
    radii: Tensor
    ranks: Tensor
    padded_bases: Tensor

    def __init__(self, centers: Tensor, radii: Tensor, padded_bases: Tensor, ranks: Tensor) -> None:
        super().__init__()
        num_classes, num_features = centers.shape
        if radii.shape != (num_classes,) or ranks.shape != (num_classes,):
            raise ValueError(f"radii and ranks must be ({num_classes},), one for each row of centers")
        if padded_bases.shape[:2] != (num_classes, num_features):
            raise ValueError(
                f"padded_bases must be ({num_classes}, {num_features}, rank); got {tuple(padded_bases.shape)}"
            )
        self.register_buffer("centers", centers.detach())
        self.register_buffer("radii", radii.detach())
        self.register_buffer("padded_bases", padded_bases.detach())
        self.register_buffer("ranks", ranks.detach().long())
        self.config = describe(
            "neuroalign.losses.CategoryManifolds.zeros", num_features=num_features, ranks=self.ranks.tolist()
        )

    @classmethod
    def from_features(
        cls, features: Tensor, labels: Tensor, *, variance: float = 0.95, num_classes: int | None = None
    ) -> CategoryManifolds:
        """Measure the manifolds of labelled features.

        Args:
            features: (stimulus, feature), for instance a predictor's responses to the training images.
            labels: (stimulus,), integers from 0.
            variance: Share of each class's variance that its directions must hold, in (0, 1].
            num_classes: C; default the largest label plus one.

        Raises:
            ValueError: If a class has no members, a label is out of range, features hold NaN, or shapes don't match.

        Example:
            >>> features, labels = torch.randn(60, 5), torch.arange(60) % 3
            >>> manifolds = CategoryManifolds.from_features(features, labels)
            >>> manifolds.centers.shape, manifolds.bases[0].shape[0]
            (torch.Size([3, 5]), 5)
        """
        check_features(features, labels)
        if not 0 < variance <= 1:
            raise ValueError(f"variance must be in (0, 1]; got {variance}")
        features = features.detach()
        features = features if features.dtype == torch.float64 else features.float()
        if not bool(features.isfinite().all()):
            raise ValueError("features hold NaN or infinite values; remove those stimuli or features first")
        num_classes = int(labels.max()) + 1 if num_classes is None else num_classes
        check_labels(labels, num_classes)
        centers, counts = class_centers(features, labels, num_classes)
        empty = (counts == 0).nonzero().flatten().tolist()
        if empty:
            raise ValueError(f"no image of class {empty[0]}" + (f" (nor of {empty[1:]})" if empty[1:] else ""))
        bases, radii = [], []
        for c in range(num_classes):
            x = features[labels == c] - centers[c]
            radii.append(x.square().sum(1).mean().sqrt())
            # The smaller Gram matrix would square the condition number; the thin SVD keeps small directions exact.
            _, s, vh = torch.linalg.svd(x, full_matrices=False)
            s = torch.where(s > s.new_tensor(max(x.shape)) * torch.finfo(s.dtype).eps * s[:1], s, 0)
            energy = s.square().cumsum(0)
            total = energy[-1]
            rank = int((energy < variance * total * (1 - 1e-6)).sum()) + 1 if total > 0 else 0
            bases.append(vh[:rank].T)
        return cls(centers, torch.stack(radii), *_pad(bases, features))

    @classmethod
    def zeros(cls, num_features: int, ranks: list[int]) -> CategoryManifolds:
        """Empty manifolds of given shape, to be filled by ``load_state_dict``."""
        num_classes = len(ranks)
        return cls(
            torch.zeros(num_classes, num_features),
            torch.zeros(num_classes),
            torch.zeros(num_classes, num_features, max(ranks, default=0)),
            torch.tensor(ranks),
        )

    @property
    def num_classes(self) -> int:
        """C."""
        return self.centers.shape[0]

    @property
    def num_features(self) -> int:
        """Width of the space the manifolds lie in."""
        return self.centers.shape[1]

    @property
    def bases(self) -> list[Tensor]:
        """Orthonormal columns of each class: a list of (feature, rank of the class)."""
        return [self.padded_bases[c, :, :rank] for c, rank in enumerate(self.ranks.tolist())]

    def randomized(self, seed: int = 0, *, centers: bool = True, bases: bool = True) -> CategoryManifolds:
        """The control with random geometry: the same ranks and radii, but random directions and random centres.

        Centres are drawn from a Gaussian with the total variance and mean of the real ones. (A random *rotation* of
        everything would be no control: a linear head can undo it.)

        Args:
            seed: Of the generator.
            centers: Whether to replace the centres.
            bases: Whether to replace the directions.
        """
        generator = torch.Generator().manual_seed(seed)

        def draw(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=generator, dtype=torch.float64).to(self.centers)

        new_centers, new_bases = self.centers, self.bases
        if centers:
            mean = self.centers.mean(0)
            spread = (self.centers - mean).square().mean().sqrt()
            new_centers = mean + spread * draw(*self.centers.shape)
        if bases:
            new_bases = [torch.linalg.qr(draw(self.num_features, rank))[0] for rank in self.ranks.tolist()]
        return CategoryManifolds(new_centers, self.radii, *_pad(new_bases, self.centers))

    def shared(self, *, centers: bool = False, bases: bool = False) -> CategoryManifolds:
        """The ablations with one geometry for all classes.

        Args:
            centers: One centre (their mean) and one radius (their RMS) for all.
            bases: One basis for all: the leading directions of the pooled bases, as many as the mean rank.
        """
        new_centers, new_radii, new_bases = self.centers, self.radii, self.bases
        if centers:
            new_centers = self.centers.mean(0).expand_as(self.centers)
            new_radii = self.radii.square().mean().sqrt().expand_as(self.radii)
        if bases:
            rank = round(float(self.ranks.double().mean()))
            u, _, _ = torch.linalg.svd(torch.cat(self.bases, 1), full_matrices=False)
            new_bases = [u[:, :rank]] * self.num_classes
        return CategoryManifolds(new_centers.clone(), new_radii.clone(), *_pad(new_bases, self.centers))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a safetensors file: under a temporary name first, so that no half-written file is left."""
        from safetensors.torch import save_file

        path = Path(path)
        temporary = path.with_name(path.name + ".part")
        save_file({k: v.contiguous().cpu() for k, v in self.state_dict().items()}, temporary)
        temporary.replace(path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> CategoryManifolds:
        """Read what :meth:`save` wrote.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If the file holds something else.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            state = load_file(Path(path))
            return cls(**{k: state[k] for k in ("centers", "radii", "padded_bases", "ranks")})
        except (KeyError, SafetensorError) as error:
            raise ValueError(f"{path} is not a file of category manifolds ({error})") from error

    def extra_repr(self) -> str:
        """Shown in ``repr``."""
        return f"classes={self.num_classes}, features={self.num_features}, largest_rank={self.padded_bases.shape[2]}"


def _pad(bases: list[Tensor], like: Tensor) -> tuple[Tensor, Tensor]:
    ranks = torch.tensor([b.shape[1] for b in bases])
    padded = like.new_zeros(len(bases), like.shape[1], max(int(ranks.max()), 1))
    for c, basis in enumerate(bases):
        padded[c, :, : basis.shape[1]] = basis
    return padded, ranks


def _group(labels: Tensor, num_classes: int) -> tuple[Tensor, int]:
    """Where each sample goes in a (class, position) grid, and the grid's width."""
    counts = labels.bincount(minlength=num_classes)
    order = labels.argsort(stable=True)
    starts = counts.cumsum(0) - counts
    position = torch.empty_like(labels)
    position[order] = torch.arange(len(labels), device=labels.device) - starts[labels[order]]
    return position, int(counts.max())


class _ClassLoss(nn.Module):
    """What the losses over labelled embeddings share: the checks, float32, the global batch, the weighted sum of terms."""

    def __init__(self, num_features: int | None, num_classes: int | None, distributed: bool, **weights: float) -> None:
        super().__init__()
        for name, weight in weights.items():
            if weight < 0:
                raise ValueError(f"{name}_weight must not be negative; got {weight}")
        self.num_features, self.num_classes, self.distributed = num_features, num_classes, distributed
        self.weights = weights

    def forward(self, embedding: Tensor, labels: Tensor) -> Tensor:
        """The weighted sum of the terms, for an embedding (stimulus, feature) and labels (stimulus,)."""
        terms = self.terms(embedding, labels)
        return sum((self.weights[name] * value for name, value in terms.items()), 0 * embedding.float().sum())

    def terms(self, embedding: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """The terms by name, unweighted scalars."""
        check_features(embedding, labels)
        if self.num_features is not None and embedding.shape[1] != self.num_features:
            raise ValueError(f"the manifolds have {self.num_features} features, the embedding {embedding.shape[1]}")
        if self.num_classes is not None:
            check_labels(labels, self.num_classes)
        with torch.autocast(embedding.device.type, enabled=False):
            z = embedding if embedding.dtype == torch.float64 else embedding.float()
            if self.distributed and world_size() > 1:
                z, labels = gather_batch(z), gather_batch(labels)
            return self._terms(z, labels) if len(z) else dict.fromkeys(self.weights, 0 * z.sum())

    def _terms(self, z: Tensor, labels: Tensor) -> dict[str, Tensor]:
        raise NotImplementedError

    def extra_repr(self) -> str:
        """Shown in ``repr``."""
        return ", ".join(f"{name}_weight={weight}" for name, weight in self.weights.items())


def _safe_sqrt(x: Tensor, floor: Tensor | float = 0.0) -> Tensor:
    """Square root with gradient 0 at or below the floor, where the true one is infinite or rounding."""
    positive = x > floor
    return torch.where(positive, torch.where(positive, x, 1).sqrt(), 0 * x)


class ManifoldGuidanceLoss(_ClassLoss):
    r"""Pull each class of an embedding inside a region's category manifold.

    For a batch of embeddings z with labels, over the classes c present in it:

    .. math::
        \text{radius} &= \mathrm{mean}_c\; \mathrm{relu}\!\big(\sqrt{\mathrm{mean}_{i\in c}|z_i-\mu_c|^2} - R_c\big) \\
        \text{subspace} &= 1 - \mathrm{mean}_c\, \mathrm{mean}_{i\in c} \mathrm{VAF}_i, \qquad
        \mathrm{VAF}_i = 1 - |\tilde z_i - U_cU_c^\top\tilde z_i| / |\tilde z_i|

    with :math:`\tilde z = z -` batch mean. No projector :math:`UU^\top` is formed: the residual's squared norm is
    :math:`|\tilde z|^2 - |U^\top\tilde z|^2`, and all samples of a class share one product with its basis. A sample at
    the batch mean has no direction and counts as fully accounted for. Computed in float32 or wider; in distributed
    training over the global batch, whose processes must then call it equally often.

    Args:
        manifolds: The region's manifolds, in the space of the embedding.
        radius_weight: Weight of the radius term.
        subspace_weight: Weight of the subspace term.
        distributed: Whether to see the global batch where training is distributed.

    Shapes:
        embedding (stimulus, feature), labels (stimulus,) -> scalar.

    Raises:
        ValueError: If a label is out of range, or the widths of embedding and manifolds differ.

    Example:
        >>> features, labels = torch.randn(60, 5), torch.arange(60) % 3
        >>> loss = ManifoldGuidanceLoss(CategoryManifolds.from_features(features, labels, variance=1.0))
        >>> {name: round(float(value), 3) for name, value in loss.terms(features, labels).items()}
        {'radius': 0.0, 'subspace': 0.0}

    Source:
        Shao et al. 2024, arXiv 2405.02564 (manifold guidance).
    """

    def __init__(
        self,
        manifolds: CategoryManifolds | dict[str, Any],
        *,
        radius_weight: float = 1.0,
        subspace_weight: float = 1.0,
        distributed: bool = True,
    ) -> None:
        if is_description(manifolds):
            manifolds = build(manifolds)
        super().__init__(
            manifolds.num_features,
            manifolds.num_classes,
            distributed,
            radius=float(radius_weight),
            subspace=float(subspace_weight),
        )
        self.manifolds = manifolds
        self.config = describe(
            "neuroalign.losses.ManifoldGuidanceLoss",
            manifolds=manifolds,
            radius_weight=radius_weight,
            subspace_weight=subspace_weight,
            distributed=distributed,
        )

    def _terms(self, z: Tensor, labels: Tensor) -> dict[str, Tensor]:
        m, num_classes = self.manifolds, self.manifolds.num_classes
        counts = labels.bincount(minlength=num_classes)
        present = counts > 0
        counts = counts.clamp_min(1).to(z.dtype)

        def mean_over_classes(values: Tensor) -> Tensor:
            per_class = z.new_zeros(num_classes).index_add(0, labels, values) / counts
            return per_class[present].mean()

        squared = (z - m.centers.to(z.dtype)[labels]).square().sum(1)
        rms = _safe_sqrt(z.new_zeros(num_classes).index_add(0, labels, squared) / counts)
        radius = (rms - m.radii.to(z.dtype)).relu()[present].mean()

        centered = z - z.mean(0)
        norm2 = centered.square().sum(1)
        explained = self._project(centered, labels, present).square().sum(1)
        # What is left of a difference of equals is rounding: no direction to follow.
        residual = _safe_sqrt(norm2 - explained, 4 * torch.finfo(z.dtype).eps * norm2.detach())
        has_direction = norm2 > 0
        ratio = torch.where(has_direction, residual / torch.where(has_direction, _safe_sqrt(norm2), 1), 0 * norm2)
        return {"radius": radius, "subspace": mean_over_classes(ratio)}

    def _project(self, x: Tensor, labels: Tensor, present: Tensor) -> Tensor:
        """Coordinates of every sample in its class's basis, (stimulus, largest rank)."""
        bases = self.manifolds.padded_bases.to(x.dtype)
        if int(present.sum()) * 2 < len(present):  # copying few bases is cheaper than multiplying by many
            bases = bases[present]
            labels = (present.long().cumsum(0) - 1)[labels]
        position, width = _group(labels, len(bases))
        grid = x.new_zeros(len(bases), width, x.shape[1]).index_put((labels, position), x)
        return torch.bmm(grid, bases)[labels, position]


class NonNeuralManifoldLoss(_ClassLoss):
    r"""The control without a brain: small, low-dimensional class manifolds of the network's own making.

    .. math::
        \text{radius} &= \mathrm{mean}_c\; \mathrm{relu}\!\big(\sqrt{\mathrm{mean}_{i\in c}|z_i-\bar z_c|^2} - R\big) \\
        \text{nuclear} &= \mathrm{mean}_c\; \|Z_c - \bar z_c\|_*

    over the classes present in the batch, with batch class means :math:`\bar z_c`. If manifold guidance by a region does
    not beat this, the region's geometry was not what helped. Singular values at rounding level send no gradient.

    Args:
        radius: R, in units of the embedding.
        radius_weight: Weight of the radius term.
        nuclear_weight: Weight of the nuclear-norm term.
        distributed: Whether to see the global batch where training is distributed.

    Shapes:
        embedding (stimulus, feature), labels (stimulus,) -> scalar.

    Raises:
        ValueError: If ``radius`` or a weight is negative, or shapes don't match.

    Example:
        >>> loss = NonNeuralManifoldLoss(radius=1.0)
        >>> loss(torch.zeros(4, 3), torch.tensor([0, 0, 1, 1]))
        tensor(0.)

    Source:
        Shao et al. 2024, arXiv 2405.02564 (non-neural regularisers).
    """

    def __init__(
        self,
        radius: float = 1.0,
        *,
        radius_weight: float = 1.0,
        nuclear_weight: float = 1.0,
        distributed: bool = True,
    ) -> None:
        if radius < 0:
            raise ValueError(f"radius must not be negative; got {radius}")
        super().__init__(None, None, distributed, radius=float(radius_weight), nuclear=float(nuclear_weight))
        self.radius = float(radius)
        self.config = describe(
            "neuroalign.losses.NonNeuralManifoldLoss",
            radius=radius,
            radius_weight=radius_weight,
            nuclear_weight=nuclear_weight,
            distributed=distributed,
        )

    def _terms(self, z: Tensor, labels: Tensor) -> dict[str, Tensor]:
        present, labels = labels.unique(return_inverse=True)
        centers, counts = class_centers(z, labels, len(present))
        x = z - centers[labels]
        squared = z.new_zeros(len(present)).index_add(0, labels, x.square().sum(1))
        radius = (_safe_sqrt(squared / counts) - self.radius).relu().mean()
        position, width = _group(labels, len(present))
        grid = z.new_zeros(len(present), width, z.shape[1]).index_put((labels, position), x)
        s = torch.linalg.svdvals(grid)
        floor = max(grid.shape[1:]) * torch.finfo(z.dtype).eps * z.detach().abs().amax()
        return {"radius": radius, "nuclear": torch.where(s > floor, s, 0 * s).sum(1).mean()}
