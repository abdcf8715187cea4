"""Category manifolds: centre, radius and principal directions of each class in a space of responses."""

from __future__ import annotations

import os
from typing import Any

import torch
from torch import Tensor, nn

from neuroalign.checksums import damaged
from neuroalign.config import Described, refuse_if_described
from neuroalign.files import whole
from neuroalign.functional.checks import check_devices, check_features, check_labels
from neuroalign.functional.classes import class_centers
from neuroalign.functional.directions import leading_directions
from neuroalign.functional.variation import power_of_two
from neuroalign.losses.kernel import RandomFourierFeatures
from neuroalign.sharing import HubMixin
from neuroalign.sharing.kinds import CATEGORY_MANIFOLDS
from neuroalign.tensor_files import load_tensors, stamp_tensors

__all__ = ["CategoryManifolds"]


class CategoryManifolds(HubMixin, Described, nn.Module):
    r"""Centre, radius and principal directions of every category in a space of responses.

    For class c with members :math:`x_i`: centre :math:`\mu_c`, radius :math:`R_c = \sqrt{\mathrm{mean}|x_i-\mu_c|^2}`,
    basis :math:`U_c` of the leading principal directions that hold ``variance`` of the variance.

    Build it with :meth:`from_features`; :meth:`save` and :meth:`load` keep it in a safetensors file.

    Attributes:
        centers: (class, feature).
        radii: (class,).
        ranks: (class,) int64, number of directions of each class.
        padded_bases: (class, feature, largest rank): orthonormal columns, then zeros.
        feature_map: Maps embeddings to the space of the manifolds; None where the spaces are the same.

    Example:
        >>> features, labels = torch.randn(60, 5), torch.arange(60) % 3
        >>> manifolds = CategoryManifolds.from_features(features, labels)
        >>> manifolds.radii.shape, len(manifolds.bases)
        (torch.Size([3]), 3)

    Source:
        Shao et al. 2024, arXiv 2405.02564 (manifold guidance).
    """

    _model_kind = CATEGORY_MANIFOLDS

    centers: Tensor
    radii: Tensor
    ranks: Tensor
    padded_bases: Tensor

    feature_map: RandomFourierFeatures | None
    _rebuilt_by = "zeros"  # the state dict holds the values

    def __init__(
        self,
        centers: Tensor,
        radii: Tensor,
        padded_bases: Tensor,
        ranks: Tensor,
        feature_map: RandomFourierFeatures | None = None,
    ) -> None:
        super().__init__()
        num_classes, num_features = centers.shape
        if radii.shape != (num_classes,) or ranks.shape != (num_classes,):
            raise ValueError(f"radii and ranks must be ({num_classes},), one for each row of centers")
        if padded_bases.shape[:2] != (num_classes, num_features):
            raise ValueError(
                f"padded_bases must be ({num_classes}, {num_features}, rank); got {tuple(padded_bases.shape)}"
            )
        if feature_map is not None and feature_map.num_components != num_features:
            raise ValueError(f"feature_map gives {feature_map.num_components} components, centers have {num_features}")
        self.feature_map = feature_map
        self.register_buffer("centers", centers.detach())
        self.register_buffer("radii", radii.detach())
        self.register_buffer("padded_bases", padded_bases.detach())
        self.register_buffer("ranks", ranks.detach().long())

    def _described(self, arguments: dict[str, Any]) -> dict[str, Any]:
        ranks, feature_map = self.ranks.tolist(), self.feature_map
        return {"num_features": self.num_features, "ranks": ranks, "feature_map": feature_map}

    @classmethod
    def from_features(
        cls,
        features: Tensor,
        labels: Tensor,
        *,
        variance: float = 0.95,
        num_classes: int | None = None,
        feature_map: RandomFourierFeatures | None = None,
    ) -> CategoryManifolds:
        """Measure the manifolds of labelled features.

        Args:
            features: (stimulus, feature), for instance a predictor's responses to the training images.
            labels: (stimulus,), integers from 0.
            variance: Share of each class's variance that its directions must hold, in (0, 1].
            num_classes: Number of classes; None takes the largest label plus one.
            feature_map: Map to a kernel's space: centres, radii and directions are then those of the mapped features, and the
                losses map embeddings in the same way. None measures the features as they are.

        Raises:
            ValueError: If a class has no members, or there are no features at all, a label is out of range, features hold
                NaN, or shapes don't match.

        Example:
            >>> features, labels = torch.randn(60, 5), torch.arange(60) % 3
            >>> manifolds = CategoryManifolds.from_features(features, labels)
            >>> manifolds.centers.shape, manifolds.bases[0].shape[0]
            (torch.Size([3, 5]), 5)
        """
        check_features(features, labels)
        check_devices(features=features, labels=labels)
        if not 0 < variance <= 1:
            raise ValueError(f"variance must be in (0, 1]; got {variance}")
        if not features.numel():
            raise ValueError(f"there are no features to measure manifolds of: their shape is {tuple(features.shape)}")
        features = features.detach()
        features = features if features.dtype == torch.float64 else features.float()
        if not bool(features.isfinite().all()):
            raise ValueError("features hold NaN or infinite values; remove those stimuli or features first")
        if feature_map is not None:
            features = feature_map(features)
        num_classes = int(labels.max()) + 1 if num_classes is None else num_classes
        check_labels(labels, num_classes)
        unit = power_of_two(features)
        features = features / unit
        centers, counts = class_centers(features, labels, num_classes)
        empty = (counts == 0).nonzero().flatten().tolist()
        if empty:
            raise ValueError(f"no image of class {empty[0]}" + (f" (nor of {empty[1:]})" if empty[1:] else ""))
        bases, radii = [], []
        for c in range(num_classes):
            x = features[labels == c] - centers[c]
            radii.append(x.square().sum(1).mean().sqrt())
            bases.append(leading_directions(x, variance).T)
        return cls(centers * unit, torch.stack(radii) * unit, *_pad(bases, features), feature_map)

    @classmethod
    def zeros(
        cls, num_features: int, ranks: list[int], feature_map: RandomFourierFeatures | None = None
    ) -> CategoryManifolds:
        """Empty manifolds of given shape, to be filled by ``load_state_dict``."""
        num_classes = len(ranks)
        return cls(
            torch.zeros(num_classes, num_features),
            torch.zeros(num_classes),
            torch.zeros(num_classes, num_features, max(ranks, default=0)),
            torch.tensor(ranks),
            feature_map,
        )

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return self.centers.shape[0]

    @property
    def num_features(self) -> int:
        """Width of the space of the manifolds."""
        return self.centers.shape[1]

    @property
    def num_inputs(self) -> int:
        """Width of the embeddings that are compared with the manifolds."""
        return self.num_features if self.feature_map is None else self.feature_map.num_inputs

    @property
    def bases(self) -> list[Tensor]:
        """Basis of each class: a list of (feature, rank of the class) with orthonormal columns."""
        return [self.padded_bases[c, :, :rank] for c, rank in enumerate(self.ranks.tolist())]

    def randomized(self, seed: int = 0, *, centers: bool = True, bases: bool = True) -> CategoryManifolds:
        """Control with random geometry: the same ranks and radii, but random directions and random centres.

        Centres are drawn from a Gaussian with the total variance and mean of the real ones. (A random *rotation* of
        everything would be no control: a linear head can undo it.)

        Args:
            seed: Seed of the random centres and directions.
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
        return CategoryManifolds(new_centers, self.radii, *_pad(new_bases, self.centers), self.feature_map)

    def shared(self, *, centers: bool = False, bases: bool = False) -> CategoryManifolds:
        """Ablations in which all classes share a part of their geometry.

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
        bases_and_ranks = _pad(new_bases, self.centers)
        return CategoryManifolds(new_centers.clone(), new_radii.clone(), *bases_and_ranks, self.feature_map)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a safetensors file with a checksum: under a temporary name first, so that no half-written file is left."""
        from safetensors.torch import save_file

        state = {k: v.contiguous().cpu() for k, v in self.state_dict().items()}
        with whole(path) as temporary:
            save_file(state, temporary, metadata=stamp_tensors(state, {}))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> CategoryManifolds:
        """Read what :meth:`save` wrote.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If the file holds something else, is cut short, or differs from its checksum.
        """
        refuse_if_described("reading a file")
        state, _ = load_tensors(path, "category manifolds")
        missing = {"centers", "radii", "padded_bases", "ranks"} - set(state)
        if missing:
            raise ValueError(f"{path} is not a file of category manifolds: it has no {', '.join(sorted(missing))}")
        try:
            weight = state.get("feature_map.weight")
            feature_map = None if weight is None else RandomFourierFeatures.from_weight(weight)
            return cls(state["centers"], state["radii"], state["padded_bases"], state["ranks"], feature_map)
        except (ValueError, RuntimeError, IndexError) as error:  # wrong shapes in a file without a checksum
            raise damaged(path, str(error)) from error

    def _card_rows(self) -> dict[str, Any]:
        ranks, mapped = self.ranks.tolist(), self.feature_map is not None
        return {
            "Classes": self.num_classes,
            "Width of the space": f"{self.num_features}, random Fourier features" if mapped else self.num_features,
            "Directions per class": f"{min(ranks, default=0)} to {max(ranks, default=0)}",
        }

    def extra_repr(self) -> str:
        """Shown in ``repr``."""
        return f"classes={self.num_classes}, features={self.num_features}, largest_rank={self.padded_bases.shape[2]}"


def _pad(bases: list[Tensor], like: Tensor) -> tuple[Tensor, Tensor]:
    ranks = torch.tensor([b.shape[1] for b in bases])
    padded = like.new_zeros(len(bases), like.shape[1], max(int(ranks.max()), 1))
    for c, basis in enumerate(bases):
        padded[c, :, : basis.shape[1]] = basis
    return padded, ranks
